"""Behaviour known from the papers: attackers ruin the mean, and robust rules hold."""

import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import aggregation, client_data, models
from fl_research.algorithms.optimization import fed_avg
from fl_research.datasets import digits, partition
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.models.specification import ModelSpec
from fl_research.population import attackers, attacks
from fl_research.round import composition
from fl_research.round.parts import Parts
from tests import contexts

CLIENTS, ROUNDS, FRACTION = 20, 15, 0.3

RULES = {
  'median': {},
  'trimmed_mean': {'fraction': 0.3},
  'krum': {'f': 6},
  'multi_krum': {'f': 6, 'm': 10},
  'geometric_median': {},
}


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _data():
  """The digits, dealt out to 20 clients at random."""
  pool = digits.load(DatasetOptions(data_dir=''))
  return pool, partition.partition(pool, 'iid', CLIENTS, 0)


def _accuracy(name, hyperparameters, fraction, seed):
  """Test accuracy of softmax regression after 15 rounds of all clients, some flipping signs."""
  pool, clients = _data()
  model = models.build('softmax', ModelSpec.from_data(pool), seed)
  process = composition.build_process(
    Parts(
      model=model,
      method=fed_avg.build(),
      client_optimizer=tff.learning.optimizers.build_sgdm(0.5),
      server_optimizer=tff.learning.optimizers.build_sgdm(1.0),
      aggregator=aggregation.build(name, hyperparameters),
      attack=attacks.build('sign_flip', None, {}),
      attackers=attackers.draw_attackers(CLIENTS, fraction, seed),
    )
  )
  state = process.initialize()
  for round_num in range(1, ROUNDS + 1):
    cohort = [
      client_data.client_data(
        clients.examples(k), batch_size=20, epochs=1, seed=seed, round_num=round_num, client=k
      )
      for k in range(CLIENTS)
    ]
    state = process.next(state, cohort)[0]
  weights = (process.model_weights(state), ())
  predicted = np.argmax(model.predict_on_batch(weights, pool.test['x'], False), axis=1)
  return np.mean(predicted == pool.test['y'])


@functools.cache
def _clean(seed):
  """Accuracy of the mean when nobody attacks."""
  return _accuracy('mean', {}, 0.0, seed)


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_the_mean_collapses_without_a_defence(seed):
  assert _clean(seed) > 0.9
  assert _accuracy('mean', {}, FRACTION, seed) < 0.3


@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('name', RULES)
def test_robust_rules_stay_near_the_clean_mean(name, seed):
  assert _accuracy(name, RULES[name], FRACTION, seed) > _clean(seed) - 0.05
