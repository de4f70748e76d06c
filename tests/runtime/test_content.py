"""Computations that are built anew have the same digest, those that differ another."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import algorithms
from fl_research.runtime import content
from tests.algorithms import harness


def _digest(computation):
  return content.digest(tff.framework.ConcreteComputation.get_proto(computation))


def _counting(steps, inner=2.0):
  """A loop with a condition in it, each of which is a function with a number in its name."""

  def body(i, x):
    return i + 1, tf.cond(x > 0.0, lambda: x * inner, lambda: x - 1.0)

  return tff.tensorflow.computation(
    lambda x: tf.while_loop(lambda i, _: i < steps, body, (0, x))[1], np.float32
  )


def test_what_is_built_anew_is_the_same():
  assert _digest(_counting(3)) == _digest(_counting(3))


@pytest.mark.parametrize('other', [{'steps': 4}, {'steps': 3, 'inner': 3.0}])
def test_what_differs_deep_inside_a_function_is_another(other):
  assert _digest(_counting(3)) != _digest(_counting(**other))


def _called(first, second):
  """Two functions, called in this order: their bodies are the same set in either order."""
  functions = [tf.function(lambda x: x + 1.0), tf.function(lambda x: x * 2.0)]
  return tff.tensorflow.computation(lambda x: functions[second](functions[first](x)), np.float32)


def test_the_order_of_calls_matters():
  assert _digest(_called(0, 1)) == _digest(_called(0, 1)) != _digest(_called(1, 0))


def test_rounds_of_all_methods_are_told_apart():
  build = lambda name: _digest(harness.build(algorithms.build(name, {})).next)
  names = ('fedavg', 'fedprox', 'scaffold')
  digests = [build(name) for name in names]
  assert digests == [build(name) for name in names] and len(set(digests)) == 3


def test_the_computation_is_left_as_it_is():
  proto = tff.framework.ConcreteComputation.get_proto(_counting(3))
  before = proto.SerializeToString(deterministic=True)
  content.digest(proto)
  assert proto.SerializeToString(deterministic=True) == before
