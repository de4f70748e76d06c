"""APFL against its oracle, FedAvg and local training."""

import functools

import numpy as np
import pytest

from fl_research.algorithms.personal import apfl, local
from tests import contexts
from tests.algorithms import harness
from tests.oracles import apfl as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _some_clients():
  """Three rounds, clients 0 and 1 missing in the first two."""
  return [
    [data for data in cohort if int(data['client']) != missing]
    for missing, cohort in enumerate(harness.cohorts(epochs=2))
  ]


@functools.cache
def _process(alpha, adaptive=False):
  return harness.build(apfl.build(alpha=alpha, adaptive=adaptive))


def _models(kept):
  return [kept[k]['method']['model'] for k in range(3)]


@pytest.mark.parametrize('adaptive', [False, True])
def test_equals_oracle(adaptive):
  rounds = _some_clients()
  history, kept = harness.run_with_clients(_process(0.4, adaptive), rounds)
  expected, personal = oracle.run(START, rounds, harness.RATE, 0.4, adaptive)
  harness.assert_same(history, expected)
  harness.assert_same(_models(kept), [personal[k][0] for k in range(3)])
  shares = [float(kept[k]['method']['share']) for k in range(3)]
  np.testing.assert_allclose(shares, [personal[k][1] for k in range(3)], rtol=1e-5)
  assert (max(abs(share - 0.4) for share in shares) > 1e-4) == adaptive


def test_an_own_model_alone_is_local_training_beside_fed_avg():
  rounds = _some_clients()
  history, kept = harness.run_with_clients(_process(1.0), rounds)
  _, alone = harness.run_with_clients(harness.build(local.build()), rounds)
  harness.assert_same(_models(kept), [alone[k]['method'] for k in range(3)], 1e-6)
  harness.assert_same(history, harness.run(harness.plain(), rounds), 1e-6)
