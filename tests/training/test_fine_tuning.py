"""Fine-tuning evaluation: what is adapted on, what is tested on, and what is found."""

import numpy as np
import pytest

from fl_research import client_data, metrics, settings
from fl_research.datasets import federated_data
from fl_research.registry import UsageError
from fl_research.soundness import validation
from fl_research.training import fine_tuning
from tests import contexts
from tests.algorithms import harness
from tests.oracles import flat

PLAN = fine_tuning.Plan(epochs=2, learning_rate=0.3, batch_size=4, fraction=0.5, seed=7)
SIZES = (9, 1, 5, 14)


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@pytest.fixture(scope='module')
def clients():
  """Four clients, of which the second has one example only."""
  rng = np.random.default_rng(0)
  x = rng.normal(size=(sum(SIZES), 4)).astype(np.float32)
  y = rng.integers(0, 3, sum(SIZES)).astype(np.int32)
  offsets = np.concatenate([[0], np.cumsum(SIZES)])
  return federated_data.ContiguousClients({'x': x, 'y': y}, offsets, ['a', 'b', 'c', 'd'])


@pytest.fixture(scope='module')
def tuned(clients):
  return fine_tuning.FineTuning(
    harness.model(), clients, federated_data.Problem.CLASSIFICATION, PLAN
  )


def _loss(vector, examples):
  kernel, bias = flat.split(vector)
  logits = examples['x'] @ kernel + bias
  logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
  return -logits[np.arange(len(logits)), examples['y']].mean()


@pytest.mark.parametrize(('count', 'fraction', 'adapt'), [(9, 0.5, 4), (2, 0.1, 1), (5, 0.99, 4)])
def test_parts_are_disjoint_whole_and_the_same_every_time(count, fraction, adapt):
  examples = {'x': np.arange(count), 'y': 10 * np.arange(count)}
  plan = fine_tuning.Plan(1, 0.1, 4, fraction, seed=3)
  first, second = fine_tuning.split(examples, plan, 5)
  assert len(first['y']) == adapt
  assert sorted([*first['x'], *second['x']]) == list(range(count))
  np.testing.assert_array_equal(second['y'], 10 * second['x'])
  np.testing.assert_array_equal(fine_tuning.split(examples, plan, 5)[0]['x'], first['x'])


def test_parts_differ_between_clients():
  examples = {'x': np.arange(50), 'y': np.arange(50)}
  parts = [set(fine_tuning.split(examples, PLAN, k)[0]['x']) for k in range(2)]
  assert parts[0] != parts[1]


def test_losses_before_and_after_are_the_oracles(clients, tuned):
  assert list(tuned.ids) == ['a', 'c', 'd']
  weights = harness.model().initial_weights[0]
  tables = tuned.evaluate(weights)
  start = flat.join(weights)
  for row, position in enumerate((0, 2, 3)):
    adapt, test = fine_tuning.split(clients.examples(position), PLAN, position)
    data = client_data.client_data(
      adapt, batch_size=4, epochs=2, seed=7, round_num=0, client=position
    )
    adapted, _ = flat.descend(start, data, PLAN.learning_rate)
    before, after = tables[fine_tuning.BEFORE], tables[fine_tuning.AFTER]
    assert before['num_examples'][row] == after['num_examples'][row] == len(test['y'])
    np.testing.assert_allclose(before['loss'][row], _loss(start, test), rtol=1e-5)
    np.testing.assert_allclose(after['loss'][row], _loss(adapted, test), rtol=1e-5)
    assert abs(before['loss'][row] - after['loss'][row]) > 1e-3


def test_share_made_worse(tuned):
  tables = tuned.evaluate(harness.model().initial_weights[0])
  before, after = tables[fine_tuning.BEFORE], tables[fine_tuning.AFTER]
  before['loss'], after['loss'] = [1.0, 2.0, 3.0], [1.5, 2.0, 1.0]
  before['accuracy'], after['accuracy'] = [0.5, 0.5, np.nan], [0.4, 0.6, 0.5]
  shares = fine_tuning.shares_worsened(tables, ['loss', 'accuracy'])
  assert shares == {
    'loss_worsened': pytest.approx(1 / 3),
    'accuracy_worsened': pytest.approx(1 / 2),
  }


def test_a_larger_share_made_worse_is_no_improvement():
  falling = [
    metrics.improves_by_falling(f'fine_tuned_clients/accuracy_{s}')
    for s in ('mean', 'sd', 'worsened')
  ]
  assert falling == [False, True, True]


@pytest.mark.parametrize('flags', [{'fine_tune_fraction': 1.0}, {'fine_tune_epochs': -1}])
def test_bad_values_are_refused(flags):
  with pytest.raises(UsageError, match=f'--{next(iter(flags))}='):
    validation.validate(settings.Settings(task='digits', experiment_name='x', **flags))


def _run_data(**given):
  class Data:
    test_clients = None
    held_out = None
    problem = federated_data.Problem.CLASSIFICATION

  for name, value in given.items():
    setattr(Data, name, value)
  return Data


def test_the_group_is_the_held_out_clients_else_the_test_clients(clients):
  chosen = settings.Settings(task='digits', experiment_name='x', fine_tune_epochs=1)
  build = lambda **given: fine_tuning.build(chosen, harness.model(), _run_data(**given))
  assert build(held_out=clients.select([3]), test_clients=clients).ids == ['d']
  assert build(test_clients=clients.select([0, 2])).ids == ['a', 'c']
  for nobody in ({}, {'held_out': clients.select([1])}):
    with pytest.raises(UsageError, match='--fine_tune_epochs=1: no clients with two examples'):
      build(**nobody)
  off = settings.Settings(task='digits', experiment_name='x')
  assert fine_tuning.build(off, harness.model(), _run_data()) is None
