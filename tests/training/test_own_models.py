"""Clients' own models are evaluated many at a time, which no number shows."""

import functools

import numpy as np
import pytest

from fl_research import settings
from fl_research.algorithms.personal import knn_per, local
from fl_research.datasets import federated_data
from fl_research.training import client_states, evaluation, own_models
from tests import contexts
from tests.algorithms import harness
from tests.oracles import softmax_regression as problem

SIZE = 1700
FLAGS = settings.Settings(task='digits', experiment_name='x')


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _trained():
  """The evaluation of three clients that each have a model of their own; their models."""
  process = harness.build(local.build())
  state, kept = process.initialize(), client_states.build(process)
  state = process.run_round(state, harness.cohorts(epochs=2)[0], kept).state
  columns = own_models.PersonalEvaluator(process, _clients(), FLAGS).at(state, kept)
  return columns, [each['method'] for each in kept.get(range(3))]


def _clients():
  parts = problem.clients()
  pool = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  return federated_data.ContiguousClients(pool, np.cumsum([0, *problem.SIZES]))


@functools.cache
def _examples():
  draw = np.random.default_rng(5)
  x = draw.normal(size=(SIZE, problem.DIMENSION)).astype(np.float32)
  return {'x': x, 'y': draw.integers(0, problem.CLASSES, SIZE).astype(np.int32)}


def _expected(weights, rows):
  x, y = _examples()['x'][rows], _examples()['y'][rows]
  return harness.model().example_metrics(
    harness.model().predict_on_batch((weights, ()), x, False), y
  )


@pytest.mark.parametrize('room', [1, 30_000, 1 << 30])
@pytest.mark.parametrize(
  ('positions', 'sizes'),
  [
    ([2, 0, 1], None),
    ([1], None),
    ([0, 1, 2], [300, 257, 1143]),
    ([2, 0], [0, SIZE]),
    ([1, 0], [0, 0]),
  ],
)
def test_many_at_once_are_as_one_after_the_other(monkeypatch, room, positions, sizes):
  monkeypatch.setattr(own_models, '_BYTES_AT_ONCE', room)
  columns, models = _trained()
  found = list(columns(positions, evaluation.ExampleSet(_examples()), sizes and np.array(sizes)))
  assert len(found) == len(positions)
  ends = np.cumsum(sizes or [SIZE])
  for k, position in enumerate(positions):
    rows = slice(ends[k] - sizes[k], ends[k]) if sizes else slice(None)
    expected = _expected(models[position], rows)
    assert set(found[k]) == set(expected)
    for name, column in expected.items():
      np.testing.assert_allclose(found[k][name], column, rtol=1e-5, atol=1e-6)


def test_calls_are_few_and_as_large_as_they_may_be(monkeypatch):
  columns, _ = _trained()
  sizes = []
  run = own_models.PersonalEvaluator._of_some

  def counted(self, server, people, examples):
    sizes.append(len(people))
    return run(self, server, people, examples)

  monkeypatch.setattr(own_models.PersonalEvaluator, '_of_some', counted)
  for room in (1, 80_000, 1 << 30):
    monkeypatch.setattr(own_models, '_BYTES_AT_ONCE', room)
    list(columns([0, 1, 2], evaluation.ExampleSet(_examples())))
  # A client's columns here are 4 bytes for each of four or five numbers of 1,700 examples.
  assert sizes == [1, 1, 1, 2, 1, 3]


@pytest.mark.parametrize(
  ('method', 'read'),
  [
    (local.build(), []),
    (knn_per.build(neighbours=1, weight=1.0, scale=1.0), [2, 0]),
  ],
)
def test_examples_of_clients_are_read_where_a_method_looks_at_them(monkeypatch, method, read):
  process = harness.build(method, model=harness.two_layers())
  kept = client_states.build(process)
  clients, asked = _clients(), []
  examples = clients.examples
  monkeypatch.setattr(clients, 'examples', lambda number: asked.append(number) or examples(number))
  columns = own_models.PersonalEvaluator(process, clients, FLAGS).at(process.initialize(), kept)
  own = {name: array[:14] for name, array in problem.clients()[2].items()}
  found = list(columns([2, 0], evaluation.ExampleSet(own)))
  assert asked == read and len(found) == 2
  if asked:
    # A client that has these examples knows their labels; another one does not.
    assert found[0]['loss'].max() < 1e-3 < found[1]['loss'].max()
