"""FedLC against its oracle and FedAvg."""

import numpy as np
import pytest

from fl_research import registry
from fl_research.algorithms.optimization import fed_lc
from tests import contexts
from tests.algorithms import harness
from tests.oracles import losses_of_examples as oracle


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


def test_equals_oracle():
  rounds = _rounds()
  expected = oracle.fed_lc(harness.model().initial_weights[0], rounds, harness.RATE, 0.8)
  harness.assert_same(harness.run(harness.build(fed_lc.build(tau=0.8)), rounds), expected)


def test_no_calibration_is_fed_avg():
  rounds = _rounds()
  found = harness.run(harness.build(fed_lc.build(tau=0.0)), rounds)
  harness.assert_same(found, harness.run(harness.plain(), rounds), 1e-6)


def test_tasks_without_classes_are_refused():
  with pytest.raises(registry.UsageError, match=r'--algorithm=fedlc: .* accepted are tasks with'):
    harness.build(fed_lc.build(tau=1.0), model=harness.tagger())
