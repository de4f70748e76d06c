"""FedNTD against its oracle and FedAvg."""

import pytest

from fl_research import registry
from fl_research.algorithms.distillation import fed_ntd
from tests import contexts
from tests.algorithms import harness
from tests.oracles import losses_of_examples as oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


@pytest.mark.parametrize(('beta', 'tau'), [(3.0, 1.0), (2.0, 0.5)])
def test_equals_oracle(beta, tau):
  rounds = harness.cohorts(epochs=2)
  expected = oracle.fed_ntd(harness.model().initial_weights[0], rounds, harness.RATE, beta, tau)
  process = harness.build(fed_ntd.build(beta=beta, tau=tau))
  harness.assert_same(harness.run(process, rounds), expected)


def test_the_teacher_drops_nothing(monkeypatch):
  """Of what is told whether it is training, the global model is not, and the client's own is."""
  model = harness.model()
  told, predict = [], model.predict_on_batch

  def predicts(weights, x, training=False, *others):
    told.append(bool(training))
    return predict(weights, x, training, *others)

  object.__setattr__(model, 'predict_on_batch', predicts)
  harness.build(fed_ntd.build(beta=1.0, tau=1.0), model=model)
  assert set(told) == {True, False}


def test_no_distillation_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  found = harness.run(harness.build(fed_ntd.build(beta=0.0, tau=1.0)), rounds)
  harness.assert_same(found, harness.run(harness.plain(), rounds), 1e-6)


def test_tasks_without_classes_are_refused():
  with pytest.raises(registry.UsageError, match=r'--algorithm=fedntd: .* accepted are tasks with'):
    harness.build(fed_ntd.build(beta=1.0, tau=1.0), model=harness.tagger())
