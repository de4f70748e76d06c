"""HeteroFL against its oracle and FedAvg; narrow models, and weights that nobody has."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import models
from fl_research.algorithms import submodels
from fl_research.algorithms.optimization import fed_avg
from fl_research.algorithms.submodels import hetero_fl
from fl_research.registry import UsageError
from fl_research.round.method import Federation
from tests import contexts
from tests.algorithms import harness
from tests.models import test_architectures
from tests.oracles import hetero_fl as oracle

WIDTHS = (0.7, 0.4, 0.2)  # Of 7 units 5, 3 and 2: the last ones are nobody's.


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _network():
  return harness.model(name='mlp', hidden_units=7, hidden_layers=2)


def _build(widths=WIDTHS, scaler=True, **parts):
  text = ','.join(map(str, widths))
  method = hetero_fl.build(widths=text, shares='', scaler=scaler)
  return harness.build(method, model=_network(), client_weighting='uniform', **parts)


@pytest.mark.parametrize('scaler', [True, False])
def test_hetero_fl_equals_oracle(scaler):
  process = _build(scaler=scaler, seed=1)
  drawn = process.method.widths_of_clients
  assert len(set(drawn)) == 3  # with this seed
  width_of = [WIDTHS[number] for number in drawn]
  rounds = harness.cohorts(epochs=2)
  # The second round is without its widest client, so that what it alone has stays as it was.
  rounds[1].pop(int(np.argmax(width_of)))
  initial = _network().initial_weights[0]
  history = harness.run(process, rounds)
  harness.assert_same(history, oracle.run(initial, rounds, harness.RATE, width_of, scaler))
  for weights in history:
    np.testing.assert_array_equal(weights[2][5:], initial[2][5:])
  alone = (slice(3, 5), slice(3, 5))
  np.testing.assert_array_equal(history[1][2][alone], history[0][2][alone])
  assert np.all(history[2][2][alone] != history[1][2][alone])


def test_where_all_are_whole_it_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  plain = harness.build(fed_avg.build(), model=_network(), client_weighting='uniform')
  harness.assert_same(harness.run(_build(widths=(1,)), rounds), harness.run(plain, rounds), 1e-6)


def test_flattened_channels_go_with_their_layer():
  name, spec = test_architectures.SMALL['cnn']
  model = models.build(name, spec, 1)
  shapes = [w.shape for w in model.initial_weights[0]]
  method = hetero_fl.HeteroFL((0.25,), (1.0,), True)
  method.axes = hetero_fl._chain(model.weight_names, shapes)
  masks = method._masks(tf.constant(method._units(0.25)))
  assert [int(np.sum(mask)) for mask in masks[1::2]] == [8, 16, 128, 1]
  x, y = map(tf.constant, test_architectures.batch(spec, 8))
  # Channels and units that a narrow model has not are at zero here: what reads them, and so has no
  # gradient, must be what the masks leave out.
  weights = tuple(
    tf.constant(w) * (own if len(w.shape) == 1 else own[tf.newaxis])
    for w, own in zip(
      test_architectures.moved_weights(model), [m for m in masks[1::2] for _ in range(2)]
    )
  )
  with tf.GradientTape() as tape:
    tape.watch(weights)
    loss = model.loss(model.predict_on_batch((weights, ()), x), y)
  dense = np.asarray(tape.gradient(loss, weights)[4])
  has = np.asarray(masks[4]) > 0
  assert has.shape == dense.shape
  assert np.all(dense[~has] == 0)
  assert np.mean(dense[has] != 0) > 0.2


def test_widths_are_drawn_from_the_seed_by_their_shares():
  method = hetero_fl.build(widths='1,0.5', shares='0.1,0.9', scaler=True)
  federation = functools.partial(Federation, _network(), None, population_size=2000)
  draws = [method.bind(federation(seed=seed)).widths_of_clients for seed in (4, 4, 5)]
  np.testing.assert_array_equal(draws[0], draws[1])
  assert np.any(draws[0] != draws[2])
  assert 0.07 < np.mean(draws[0] == 0) < 0.13


def test_what_is_no_chain_is_refused():
  method = hetero_fl.build(widths='1', shares='', scaler=True)
  for model in (harness.model(), harness.model(name='mlp', normalization='layer')):
    with pytest.raises(UsageError, match='--algorithm=heterofl: cannot make this model narrower'):
      method.bind(Federation(model, None, population_size=3))


def test_widths_and_shares_are_checked():
  settings = submodels.METHODS['heterofl'].hyperparameters
  for good in ('1', '1,0.5', '0.5,0.25'):
    settings['widths'].check('f', good)
  for bad in ('', '0.5,1', '1,x', '1,0', '2,1', '1,1'):
    with pytest.raises(UsageError, match='the largest first'):
      settings['widths'].check('f', bad)
  settings['shares'].check('f', '0.3,0.7')
  for bad in ('0.3,0.6', 'x', '1,0', '1.5,-0.5'):
    with pytest.raises(UsageError, match='add up to 1'):
      settings['shares'].check('f', bad)
  with pytest.raises(UsageError, match='--heterofl_shares=1: are 1, and'):
    hetero_fl.build(widths='1,0.5', shares='1', scaler=True)
