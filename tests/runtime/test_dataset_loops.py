"""Reductions of data sets are compiled with what surrounds them."""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime  # before TensorFlow
from fl_research.runtime import dataset_loops

SEQUENCE = tff.SequenceType(np.int32)


@tff.tensorflow.computation(SEQUENCE)
def total(dataset):
  return dataset.reduce(np.int32(0), lambda a, b: a + b)


@tf.function
def _counted(dataset):
  count = tf.constant(0)
  for _ in dataset.batch(2):
    count += 1
  return count


@tff.tensorflow.computation(SEQUENCE)
def number_of_batches(dataset):
  return _counted(dataset)


def operations(graph):
  bodies = [graph.node, *(function.node_def for function in graph.library.function)]
  return [node.op for body in bodies for node in body]


def test_no_reduction_is_left_whose_function_would_be_compiled_in_every_call():
  for computation in (total, number_of_batches):
    graph = tf.compat.v1.GraphDef()
    proto = tff.framework.ConcreteComputation.get_proto(computation)
    proto.tensorflow.graph_def.Unpack(graph)
    assert 'ReduceDataset' in operations(graph)
    dataset_loops.unroll_reductions(graph)
    assert 'ReduceDataset' not in operations(graph)
    assert {'While', 'StatelessWhile'} & set(operations(graph))


def test_every_call_reads_from_the_beginning_and_shuffles_anew():
  dataset = tf.data.Dataset.range(100).map(lambda x: tf.cast(x, tf.int32))
  first = tff.tensorflow.computation(
    lambda d: d.reduce(np.int32(0), lambda a, b: (3 * a + b) % 10_007), SEQUENCE
  )
  with runtime.use_context('fused', 1):
    assert {int(total(dataset)) for _ in range(3)} == {4950}
    shuffled = dataset.shuffle(100, seed=1)
    assert len({int(first(shuffled)) for _ in range(3)}) == 3
