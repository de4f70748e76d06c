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


@pytest.fixture(scope='module')
def process():
  method = fed_bn.build(private_layers='normalization')
  return harness.build(method, model=_network(), client_weighting='uniform')


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

  for i, gradient in enumerate(oracle.gradient(weights, x, y)):
    for sign, at in ((1, 1e-6), (-1, -1e-6)):
      moved = [np.array(w) for w in weights]
      moved[i].flat[0] += at
      slope = sign * (oracle.loss(moved, x, y) - oracle.loss(weights, x, y)) / 1e-6
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


def test_under_feature_shift_clients_lose_less_than_with_fed_avg():
  # By the oracle, which the first test holds to the library.
  examples, rounds = _shifted()
  initial = _network().initial_weights[0]

  def mean_loss(private):
    history, own = oracle.run(initial, rounds, harness.RATE, private)
    losses = []
    for k, data in enumerate(examples):
      model = oracle.joined(history[-1], own[k], private)
      losses.append(oracle.loss(model, data['x'], data['y']))
    return np.mean(losses)

  assert mean_loss(oracle.NORM) < 0.7 * mean_loss(private=())
