"""FedDF, FedMD and FD against their oracles, FedAvg and training alone."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research import client_data, registry
from fl_research.algorithms.distillation import fed_df, fed_distill, fed_md, soft_labels
from fl_research.algorithms.personal import local
from fl_research.training import client_states
from tests import contexts
from tests.algorithms import harness
from tests.oracles import distillation as oracle
from tests.oracles import flat
from tests.oracles import softmax_regression as problem

START = harness.model().initial_weights[0]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _known():
  """Seven examples of nobody's, in batches of four, two passes."""
  x = np.random.default_rng(2).normal(size=(7, problem.DIMENSION)).astype(np.float32)
  examples = {'x': x, 'y': np.zeros(7, np.int32)}
  return client_data.client_data(
    examples, batch_size=problem.BATCH, epochs=2, seed=1, round_num=0, client=9
  )


def _rounds():
  """The first client is away in the second round."""
  rounds = harness.cohorts(epochs=2)
  rounds[1] = rounds[1][1:]
  return rounds


def _build(method, **parts):
  return harness.build(method, server_data=_known(), **parts)


def test_feddf_equals_its_oracle():
  process = _build(fed_df.build(passes=3, learning_rate=0.01))
  expected = oracle.fed_df(START, _rounds(), harness.RATE, _known(), 3, 0.01)
  harness.assert_same(harness.run(process, _rounds()), expected)
  logits = 4 * 7 * problem.CLASSES
  assert process.bytes_up_per_client == harness.plain().bytes_up_per_client + logits
  assert process.bytes_down_per_client == harness.plain().bytes_down_per_client


def test_feddf_without_a_pass_is_fed_avg():
  process = _build(fed_df.build(passes=0, learning_rate=0.05))
  found = harness.run(process, _rounds())
  harness.assert_same(found, harness.run(harness.plain(), _rounds()), 0)


@pytest.mark.parametrize(('agreement', 'temperature'), [('scores', None), ('era', 0.3)])
def test_fedmd_equals_its_oracle(agreement, temperature):
  method = fed_md.build(agreement=agreement, temperature=temperature or 9.0, passes=3)
  process = _build(method, client_weighting='uniform')
  state, kept = process.initialize(), client_states.build(process)
  expected, models = oracle.fed_md(START, _rounds(), harness.RATE, _known(), 3, temperature)
  for cohort, agreed in zip(_rounds(), expected, strict=True):
    state = process.run_round(state, cohort, kept).state
    found = state['server']['method']['agreed']
    np.testing.assert_allclose(found, agreed, rtol=1e-5, atol=1e-6)
  for client, own in models.items():
    harness.assert_same([kept.get([client])[0]['method']['model']], [own])
  assert process.bytes_up_per_client == 4 * (7 * problem.CLASSES + 1)


def test_fedmds_first_round_is_training_alone():
  process = _build(fed_md.build(agreement='era', temperature=1.0, passes=5))
  cohort = harness.cohorts(epochs=2)[0]
  _, kept = harness.run_with_clients(process, [cohort])
  for client, data in enumerate(cohort):
    alone, _ = flat.descend(flat.join(START), data, harness.RATE)
    harness.assert_same([kept[client]['method']['model']], [flat.split(alone)])


def _lacking():
  """As `_rounds`, and the first client lacks a class, which the second round's others have."""
  rounds = _rounds()
  for cohort in (rounds[0], rounds[2]):
    labels = cohort[0]['examples']['y']
    labels[:] = np.where(labels == 1, 2, labels)
  return rounds


def _teach_each_other(gamma):
  """The process, the server's state by round, and clients' models."""
  process = harness.build(fed_distill.build(gamma=gamma), client_weighting='uniform')
  state, kept, history = process.initialize(), client_states.build(process), []
  for cohort in _lacking():
    state = process.run_round(state, cohort, kept).state
    history.append(state['server']['method'])
  return process, history, [each['method']['model'] for each in kept.get(range(3))]


def test_feddistill_equals_its_oracle():
  process, history, models = _teach_each_other(1.5)
  expected, taught = oracle.fed_distill(START, _lacking(), harness.RATE, 1.5)
  harness.assert_same(models, [taught[client] for client in range(3)])
  for own, sent in zip(history, expected, strict=True):
    for c in range(problem.CLASSES):
      answers = [each[c] for each in sent.values() if c in each]
      assert own['there'][c] == len(answers)
      np.testing.assert_allclose(own['answers'][c], np.sum(answers, axis=0), rtol=1e-5, atol=1e-5)
  assert process.bytes_up_per_client == 4 * (problem.CLASSES * (problem.CLASSES + 1) + 1)
  # The round, and the rate's factor.
  assert process.bytes_down_per_client == 4 * (problem.CLASSES * (problem.CLASSES + 1) + 2)
  _, alone = oracle.fed_distill(START, _lacking(), harness.RATE, 0.0)
  assert np.abs(models[2][0] - alone[2][0]).max() > 1e-2


def test_feddistill_of_nobody_is_training_alone():
  _, _, models = _teach_each_other(0.0)
  process = harness.build(local.build())
  _, kept = harness.run_with_clients(process, _lacking())
  harness.assert_same(models, [kept[client]['method'] for client in range(3)], 1e-6)


def test_tasks_without_classes_are_refused():
  for method in (
    fed_df.build(passes=1, learning_rate=0.1),
    fed_md.build(agreement='era', temperature=1.0, passes=1),
    fed_distill.build(gamma=1.0),
  ):
    with pytest.raises(registry.UsageError, match='accepted are tasks with one'):
      harness.build(method, model=harness.tagger())


def test_answers_are_those_of_a_model_that_drops_nothing():
  asked = []

  class Model:
    def predict_on_batch(self, weights, x, training=True, seed=None):
      asked.append((training, seed))
      return x

  soft_labels.answers(Model(), START, {'examples': {'x': tf.zeros([2, 3])}})
  assert asked == [(False, None)]
