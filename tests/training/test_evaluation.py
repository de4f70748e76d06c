"""Evaluation goes through all examples, in their order, whatever their number."""

import functools

import numpy as np
import pytest

from fl_research import settings
from fl_research.algorithms.personal import local
from fl_research.datasets import federated_data
from fl_research.training import client_states, evaluation
from tests import contexts
from tests.algorithms import harness
from tests.oracles import softmax_regression as problem


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _examples(size):
  model = harness.model()
  x, y = model.input_spec
  draw = np.random.default_rng(size)
  return {
    'x': draw.normal(size=(size, *x.shape[1:])).astype(np.float32),
    'y': draw.integers(0, 2, size).astype(y.dtype.as_numpy_dtype),
  }


@pytest.fixture(scope='module')
def evaluator():
  return evaluation.Evaluator(harness.model())


@pytest.mark.parametrize('size', [0, 1, 255, 256, 257, 1024, 1025, 2700])
def test_every_example_once_and_in_order(evaluator, size):
  examples = _examples(size)
  weights = harness.model().initial_weights[0]
  found = evaluator.columns(weights, evaluation.ExampleSet(examples))
  assert {len(column) for column in found.values()} == {size}
  if not size:
    return
  output = harness.model().predict_on_batch((weights, ()), examples['x'], False)
  expected = harness.model().example_metrics(output, examples['y'])
  assert set(found) == set(expected)
  for name, column in expected.items():
    np.testing.assert_allclose(found[name], column, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'size, slices', [(0, 0), (1, 1), (257, 2), (1024, 4), (1025, 3), (9999, 4)]
)
def test_slices_are_few_and_of_whole_steps(size, slices):
  """What a client's own model is made of is computed once a slice."""
  found = evaluation.ExampleSet(_examples(size)).slices
  assert len(found) == slices
  assert all(len(one['y']) % 256 == 0 for one in list(found)[:-1])
  assert [int(one['first_row']) for one in found] == list(
    np.cumsum([0, *(len(o['y']) for o in found)])[:-1]
  )


@functools.cache
def _own_models():
  """Evaluates three clients that each have a model of their own; their models."""
  process = harness.build(local.build())
  state, kept = process.initialize(), client_states.build(process)
  state = process.run_round(state, harness.cohorts(epochs=2)[0], kept).state
  parts = problem.clients()
  pool = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  clients = federated_data.ContiguousClients(pool, np.cumsum([0, *problem.SIZES]))
  flags = settings.Settings(task='digits', experiment_name='x')
  columns = evaluation.PersonalEvaluator(process, clients, flags).at(state, kept)
  return columns, [each['method'] for each in kept.get(range(3))]


@pytest.mark.parametrize('room', [1, 30_000, 1 << 30])
@pytest.mark.parametrize(
  ('positions', 'sizes'),
  [
    ([2, 0, 1], None),
    ([1], None),
    ([0, 1, 2], [300, 257, 1143]),
    ([2, 0], [0, 1700]),
    ([1, 0], [0, 0]),
  ],
)
def test_many_models_at_once_are_as_one_after_the_other(monkeypatch, room, positions, sizes):
  monkeypatch.setattr(evaluation, '_BYTES_AT_ONCE', room)
  examples = _examples(1700)
  columns, models = _own_models()
  size = None if sizes is None else np.array(sizes)
  found = list(columns(positions, evaluation.ExampleSet(examples), size))
  ends = [1700] * len(positions) if sizes is None else np.cumsum(sizes)
  assert len(found) == len(positions)
  for k, (position, end) in enumerate(zip(positions, ends)):
    own = slice(0 if sizes is None else end - sizes[k], end)
    output = harness.model().predict_on_batch((models[position], ()), examples['x'][own], False)
    expected = harness.model().example_metrics(output, examples['y'][own])
    assert set(found[k]) == set(expected)
    for name, column in expected.items():
      np.testing.assert_allclose(found[k][name], column, rtol=1e-5, atol=1e-6)
