"""FedBN against its oracle, FedAvg, and its claim: clients whose features differ."""

import numpy as np
import pytest

from fl_research import client_data, registry
from fl_research.algorithms.personal import fed_bn, private_layers
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_bn as oracle
from tests.oracles import softmax_regression as problem


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _network():
  return harness.model(name='mlp', hidden_units=6, hidden_layers=1, normalization='layer')


def _build(private='normalization'):
  method = fed_bn.build(private_layers=private)
  return harness.build(method, model=_network(), client_weighting='uniform')


@pytest.fixture(scope='module')
def process():
  return _build()


def test_fed_bn_equals_oracle(process):
  # A client each is missing in the first two rounds, so that what is kept outlives them.
  rounds = [cohort[:-1] if r == 0 else cohort[r:] for r, cohort in enumerate(harness.cohorts())]
  history, kept = harness.run_with_clients(process, rounds)
  expected, own = oracle.run(_network().initial_weights[0], rounds, harness.RATE)
  harness.assert_same(history, expected)
  harness.assert_same([kept[k]['method'] for k in range(3)], [own[k] for k in range(3)])


def test_the_oracles_gradient_is_that_of_differences():
  rng = np.random.default_rng(0)
  weights = [rng.normal(size=w.shape) for w in _network().initial_weights[0]]
  x, y = rng.normal(size=(5, problem.DIMENSION)), rng.integers(0, problem.CLASSES, 5)

  def loss(weights):
    z, _ = oracle._normalized(weights, x)
    logits = np.maximum(z * weights[2] + weights[3], 0.0) @ weights[4] + weights[5]
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(5), y])

  for i, gradient in enumerate(oracle.gradient(weights, x, y)):
    for sign, at in ((1, 1e-6), (-1, -1e-6)):
      moved = [np.array(w) for w in weights]
      moved[i].flat[0] += at
      slope = sign * (loss(moved) - loss(weights)) / 1e-6
      np.testing.assert_allclose(slope, gradient.flat[0], rtol=1e-3, atol=1e-5)


def test_what_normalises_stays_at_the_client(process):
  names = _network().weight_names
  assert [n for n, own in zip(names, process.method.private) if own] == [
    'group_norm_1/gamma',
    'group_norm_1/beta',
  ]
  weights = _network().initial_weights[0]
  assert process.bytes_up_per_client == sum(w.nbytes for w in weights) - 2 * 6 * 4 + 4


def test_layers_that_normalise_are_known_by_their_weights():
  names = ('a/bn/gamma', 'a/bn/beta', 'a/bn/moving_mean', 'ln/gamma', 'prelu/alpha', 'd/kernel')
  found = private_layers.is_private('f', 'normalization', names)
  assert found == (True, True, True, True, False, False)


def test_a_model_that_normalises_nothing_is_refused():
  with pytest.raises(registry.UsageError, match='--fedbn_private_layers=normalization: the model'):
    harness.build(fed_bn.build(private_layers='normalization'), model=harness.model())


def _shifted(rounds=12):
  """Two clients with the same labels of the same things, whose features another device has seen."""
  rng = np.random.default_rng(5)
  truth = rng.normal(size=(problem.DIMENSION, problem.CLASSES))
  seen = (lambda x: x, lambda x: 2.0 - 3.0 * x)
  made = []
  for see in seen:
    x = rng.normal(size=(24, problem.DIMENSION))
    made.append({'x': see(x).astype(np.float32), 'y': np.argmax(x @ truth, axis=1).astype('int32')})
  return made, [
    [
      client_data.client_data(d, batch_size=8, epochs=4, seed=7, round_num=r, client=k)
      for k, d in enumerate(made)
    ]
    for r in range(1, rounds + 1)
  ]


def test_under_feature_shift_clients_lose_less_than_with_fed_avg(process):
  examples, rounds = _shifted()

  def mean_loss(process):
    history, kept = harness.run_with_clients(process, rounds)
    losses = []
    for k, data in enumerate(examples):
      model = list(history[-1])
      if kept:
        model[2:4] = kept[k]['method']
      z, _ = oracle._normalized(model, data['x'])
      logits = np.maximum(z * model[2] + model[3], 0.0) @ model[4] + model[5]
      of_labels = logits[np.arange(len(logits)), data['y']]
      losses.append(np.mean(np.log(np.exp(logits).sum(axis=1)) - of_labels))
    return np.mean(losses)

  averaged = _build('none')  # FedAvg, as test_personal.py shows
  assert mean_loss(process) < 0.95 * mean_loss(averaged)
