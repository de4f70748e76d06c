"""Runs a method on the oracles' problem: three rounds, three clients of 9, 5 and 14 examples."""

import collections
import functools

import numpy as np
import tensorflow_federated as tff

from fl_research import client_data, models
from fl_research.algorithms.optimization import fed_avg
from fl_research.datasets.federated_data import Problem
from fl_research.federation import graph_check
from fl_research.models.specification import ModelSpec
from fl_research.round import composition
from fl_research.round.parts import Parts
from fl_research.training import client_states
from tests.oracles import softmax_regression as problem

ROUNDS = 3
RATE = 0.1
# How far TFF's worker may be from our process, on data whose norms are about one: it is another
# build of TensorFlow, and which of its kernels round as ours do is a matter of the processor.
ANOTHER_BUILD = 1e-6


def model(seed=3, name='softmax', **hyperparameters):
  """A model of the oracles' shapes, with initial weights that are not zero."""
  spec = ModelSpec(
    input_shape=(problem.DIMENSION,),
    x_dtype=np.dtype(np.float32),
    label_shape=(),
    label_dtype=np.dtype(np.int32),
    problem=Problem.CLASSIFICATION,
    num_classes=problem.CLASSES,
    hyperparameters=hyperparameters,
  )
  return models.build(name, spec, seed)


@functools.cache
def two_layers():
  """A network with a hidden layer of 8, of the same shapes otherwise."""
  return model(name='mlp', hidden_units=8, hidden_layers=1)


def tagger(seed=3):
  """A model for `tagged` clients: the gradient of its biases does not add up to zero."""
  spec = ModelSpec(
    input_shape=(problem.DIMENSION,),
    x_dtype=np.dtype(np.float32),
    label_shape=(problem.CLASSES,),
    label_dtype=np.dtype(np.float32),
    problem=Problem.MULTILABEL,
    num_classes=problem.CLASSES,
  )
  return models.build('softmax', spec, seed)


def tagged(data):
  """The same client, its class as the one tag that it has."""
  x, y = data['examples']['x'], data['examples']['y']
  tags = np.eye(problem.CLASSES, dtype=np.float32)[y]
  return collections.OrderedDict(data, examples=collections.OrderedDict(x=x, y=tags))


def cohorts(batch_size=problem.BATCH, epochs=1, rounds=ROUNDS, seed=7):
  """The D of all clients for every round."""
  return [
    [
      client_data.client_data(
        examples, batch_size=batch_size, epochs=epochs, seed=seed, round_num=r, client=k
      )
      for k, examples in enumerate(problem.clients())
    ]
    for r in range(1, rounds + 1)
  ]


def uneven_rounds():
  """The third client is away in the second round, and one lacks a class."""
  rounds = cohorts(epochs=2)
  rounds[1] = rounds[1][:2]
  for cohort in rounds:
    labels = cohort[0]['examples']['y']
    labels[:] = np.where(labels == 1, 2, labels)
  return rounds


def parts(algorithm, *, client_optimizer=None, server_optimizer=None, **others):
  """What a method is composed with, by default plain SGD on both sides."""
  sgdm = tff.learning.optimizers.build_sgdm
  others = {'model': model(), 'population_size': len(problem.SIZES), **others}
  return Parts(
    method=algorithm,
    client_optimizer=client_optimizer or sgdm(RATE),
    server_optimizer=server_optimizer or sgdm(1.0),
    **others,
  )


def build(algorithm, **given):
  """The process of a method, see `parts`."""
  return composition.build_process(parts(algorithm, **given))


@functools.cache
def plain(client_weighting='num_examples'):
  """FedAvg with nothing besides, built once for all tests."""
  return build(fed_avg.build(), client_weighting=client_weighting)


def run(process, rounds):
  """Global weights after every round."""
  return run_with_clients(process, rounds)[0]


def run_with_clients(process, rounds):
  """Global weights after every round, and the states kept by client, as the loop does."""
  state, kept, history = process.initialize(), client_states.build(process), []
  for cohort in rounds:
    state = process.run_round(state, cohort, kept).state
    history.append(process.model_weights(state))
  seen = sorted({int(data['client']) for cohort in rounds for data in cohort})
  return history, dict(zip(seen, kept.get(seen))) if kept else {}


def assert_same(first, second, tolerance=1e-5):
  """Asserts that two histories of weights agree, in every round and every number."""
  assert len(first) == len(second)
  for a, b in zip(first, second):
    for u, v in zip(a, b, strict=True):
      np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance)


def assert_allowed_at_sites(process):
  """What clients run of a process, compiled by the context in use, is what a site lets run."""
  context = tff.framework.get_context_stack().current
  steps = context.compiled(process.next).client_steps
  assert steps
  for step in steps:
    assert 'MatMul' in graph_check.check(step.exported.library)
