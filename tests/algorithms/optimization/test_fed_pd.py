"""FedPD against its oracle, FedDyn and FedProx."""

import functools

import numpy as np
import pytest

from fl_research import registry
from fl_research.algorithms.optimization import fed_dyn, fed_pd, fed_prox
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_pd as oracle
from tests.oracles import flat

START = harness.model().initial_weights[0]
ETA = 2.0


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@functools.cache
def _build(solves, start):
  method = fed_pd.build(eta=ETA, solves=solves, start=start)
  return harness.build(method, client_weighting='uniform')


@pytest.mark.parametrize(('solves', 'start'), [(3, fed_pd.OWN), (1, fed_pd.GLOBAL)])
def test_equals_oracle(solves, start):
  rounds = harness.cohorts(epochs=2)
  history, kept = harness.run_with_clients(_build(solves, start), rounds)
  own = start == fed_pd.OWN
  expected, duals = oracle.run(START, rounds, harness.RATE, ETA, solves, own)
  harness.assert_same(history, expected)
  found = [kept[k]['method']['dual'] for k in range(3)]
  harness.assert_same(found, [flat.split(duals[k]) for k in range(3)])
  assert max(np.abs(dual).max() for dual in duals.values()) > 0.02


def test_one_solve_from_the_global_model_is_fed_dyn():
  rounds = harness.cohorts(epochs=2)
  dyn = harness.build(fed_dyn.build(alpha=1 / ETA), client_weighting='uniform')
  ours = harness.run(_build(1, fed_pd.GLOBAL), rounds)
  harness.assert_same(ours, harness.run(dyn, rounds), 1e-5)


def test_the_first_round_goes_twice_as_far_as_fed_prox():
  rounds = harness.cohorts(epochs=2)[:1]
  prox = harness.build(fed_prox.build(mu=1 / ETA), client_weighting='uniform')
  theirs = harness.run(prox, rounds)[0]
  doubled = [w + 2.0 * (a - w) for w, a in zip(START, theirs)]
  harness.assert_same(harness.run(_build(1, fed_pd.GLOBAL), rounds), [doubled], 1e-5)


def test_only_models_are_sent():
  process, plain = _build(3, fed_pd.OWN), harness.plain('uniform')
  assert process.bytes_up_per_client == plain.bytes_up_per_client
  assert process.bytes_down_per_client == plain.bytes_down_per_client


def test_a_part_of_the_clients_is_refused():
  method = fed_pd.build(eta=ETA, solves=1, start=fed_pd.OWN)
  with pytest.raises(registry.UsageError, match=r'--clients_per_round=2: .*accepted is 3, their'):
    harness.build(method, cohort_size=2)
