"""FedAMP against its oracle, training alone, and what its messages cost."""

import functools

import numpy as np
import pytest

from fl_research.algorithms.personal import fed_amp
from fl_research.training import client_states
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_amp as oracle
from tests.oracles import flat

_NUMBERS = sum(w.size for w in harness.model().initial_weights[0])


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _rounds():
  """Four rounds; the first client, then the second, is away, so that rows and clients differ."""
  rounds = harness.cohorts(epochs=2, rounds=4)
  rounds[1] = rounds[1][1:]
  rounds[2] = rounds[2][::2]
  return rounds


@functools.cache
def _process(regularization=2.0, sigma=0.5, attention='distance'):
  method = fed_amp.build(
    regularization=regularization, sigma=sigma, attention=attention, own_share=0.3
  )
  return harness.build(method, client_weighting='uniform')


def _models(process, rounds):
  """What the server keeps of all clients after every round, and what they keep at the end."""
  state, kept, history = process.initialize(), client_states.build(process), []
  for cohort in rounds:
    state = process.run_round(state, cohort, kept).state
    rows = zip(*state['server']['method'])
    history.append(np.array([flat.join(row) for row in rows]))
    mean = flat.join(process.model_weights(state))
    np.testing.assert_allclose(mean, history[-1].mean(axis=0), rtol=1e-5, atol=1e-6)
  return history, [flat.join(each['method']) for each in kept.get(range(3))]


@pytest.mark.parametrize('attention', ['distance', 'cosine'])
def test_equals_oracle(attention):
  process = _process(attention=attention)
  own_share = 0.3 if attention == 'cosine' else None
  start = harness.model().initial_weights[0]
  expected = oracle.run(start, _rounds(), harness.RATE, 2.0, 0.5, own_share)
  # In another order than that of the clients: who sent what must not be told by the order.
  history, kept = _models(process, [cohort[::-1] for cohort in _rounds()])
  np.testing.assert_allclose(history, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(kept, history[-1], rtol=1e-6, atol=1e-6)
  # At these settings attention is neither all nor nothing.
  alone = oracle.run(start, _rounds(), harness.RATE, 2.0, 1e-6, 1.0 if own_share else None)
  assert np.abs(expected[-1] - alone[-1]).max() > 1e-2


def test_a_client_is_sent_its_own_mixture_and_no_other():
  process = _process()
  assert process.bytes_down_per_client == 4 * (_NUMBERS + 1)
  assert process.bytes_up_per_client == 4 * (_NUMBERS + 1)  # The weight.


def test_untied_clients_train_alone():
  found, _ = _models(_process(regularization=0.0), _rounds())
  models = [flat.join(harness.model().initial_weights[0])] * 3
  for cohort in _rounds():
    for data in cohort:
      client = int(data['client'])
      models[client], _ = flat.descend(models[client], data, harness.RATE)
  np.testing.assert_allclose(found[-1], models, rtol=1e-5, atol=1e-5)


def test_a_client_that_is_alone_attends_to_itself():
  [cohort, *_] = harness.cohorts(epochs=1)
  method = fed_amp.build(regularization=1.0, sigma=1.0, attention='cosine', own_share=0.3)
  process = harness.build(method, client_weighting='uniform', population_size=1)
  # Its mixture is its own model as it was: shares among nobody are 0, and not 0 / 0.
  start = harness.model().initial_weights[0]
  direction = lambda g, w: g + (w - flat.join(start))
  expected, _ = flat.descend(flat.join(start), cohort[0], harness.RATE, direction)
  [found] = harness.run(process, [cohort[:1]])
  np.testing.assert_allclose(flat.join(found), expected, rtol=1e-5, atol=1e-5)
