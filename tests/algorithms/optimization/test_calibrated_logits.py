"""FedLC and FedRS against their oracles and FedAvg."""

import numpy as np
import pytest

from fl_research import registry
from fl_research.algorithms.optimization import fed_lc, fed_rs
from tests import contexts
from tests.algorithms import harness
from tests.oracles import losses_of_examples as oracle

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _rounds():
  """One client lacks a class, and has one of the others more often."""
  rounds = harness.cohorts(epochs=2)
  for cohort in rounds:
    labels = cohort[0]['examples']['y']
    labels[:] = np.array([0, 2, 2, 2, 2, 0, 2, 2, 2])
  return rounds


@pytest.mark.parametrize(
  'method, expected',
  [
    (fed_lc.build(tau=0.8), lambda rounds: oracle.fed_lc(START, rounds, harness.RATE, 0.8)),
    (fed_rs.build(alpha=0.4), lambda rounds: oracle.fed_rs(START, rounds, harness.RATE, 0.4)),
    (fed_rs.build(alpha=0.0), lambda rounds: oracle.fed_rs(START, rounds, harness.RATE, 0.0)),
  ],
)
def test_equals_oracle(method, expected):
  rounds = _rounds()
  harness.assert_same(harness.run(harness.build(method), rounds), expected(rounds))


@pytest.mark.parametrize('method', [fed_lc.build(tau=0.0), fed_rs.build(alpha=1.0)])
def test_no_calibration_is_fed_avg(method):
  rounds = _rounds()
  found = harness.run(harness.build(method), rounds)
  harness.assert_same(found, harness.run(harness.plain(), rounds), 1e-6)


@pytest.mark.parametrize('method', [fed_lc.build(tau=1.0), fed_rs.build(alpha=0.5)])
def test_tasks_without_classes_are_refused(method):
  refused = rf'--algorithm={method.name}: .* accepted are tasks with'
  with pytest.raises(registry.UsageError, match=refused):
    harness.build(method, model=harness.tagger())
