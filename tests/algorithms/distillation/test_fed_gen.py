"""FedGen against its oracle and FedAvg."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from fl_research import models, random_streams, registry
from fl_research.algorithms.distillation import fed_gen
from fl_research.algorithms.optimization import fed_avg
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_gen as oracle
from tests.oracles import softmax_regression as problem

STEPS, ADAM_RATE = 5, 0.01


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


START = harness.two_layers().initial_weights[0]


@functools.cache
def _build(strength=0.7, steps=STEPS):
  method = fed_gen.build(regularization=strength, steps=steps, learning_rate=ADAM_RATE)
  return harness.build(method, model=harness.two_layers(), client_weighting='uniform')


def _drawn(of_run, who, index, shares, number):
  """What the method draws, of which the paper says no more than its distribution."""
  fold_in = tf.random.experimental.stateless_fold_in
  if number:
    seed, size = fold_in(fold_in(who['seed'], fed_gen.PURPOSE), index), number
  else:
    seed, size = fold_in(fold_in(of_run, who), index), fed_gen.BATCH
  both = fed_gen.drawn(seed, tf.constant(shares, tf.float32), size)
  return [part.numpy().astype(np.float64) for part in both]


def test_equals_its_oracle():
  process, rounds = _build(), harness.uneven_rounds()
  state, history = process.initialize(), []
  np.testing.assert_allclose(state['server']['method']['shares'], 1.0 / problem.CLASSES)
  first = [np.array(w) for w in state['server']['method']['generator']]
  assert not np.any(first[1]) and not np.any(first[3])
  for cohort in rounds:
    state = process.run_round(state, cohort).state
    history.append(process.model_weights(state))
  drawn = functools.partial(_drawn, random_streams.stateless_seed(0, 'made features'))
  expected, generator, shares = oracle.run(
    START, first, rounds, harness.RATE, 0.7, STEPS, ADAM_RATE, drawn
  )
  harness.assert_same(history, expected)
  harness.assert_same([state['server']['method']['generator']], [generator])
  np.testing.assert_allclose(state['server']['method']['shares'], shares, rtol=1e-6)
  assert max(np.abs(a - b).max() for a, b in zip(generator, first)) > 0.01
  # Down go model, generator, shares and the rate's factor; up a delta, counts and a weight.
  model = sum(w.size for w in START)
  more = sum(w.size for w in first) + problem.CLASSES
  assert process.bytes_down_per_client == 4 * (model + more + 1)
  assert process.bytes_up_per_client == 4 * (model + problem.CLASSES + 1)


def test_made_features_that_count_nothing_leave_fed_avg():
  rounds = harness.uneven_rounds()
  plain = harness.build(fed_avg.build(), model=harness.two_layers(), client_weighting='uniform')
  harness.assert_same(harness.run(_build(0.0), rounds), harness.run(plain, rounds), 1e-6)


def test_features_are_of_their_classes_in_the_end():
  """The server has seen no example: what it makes of a class, the clients' heads take for it."""
  process = _build(steps=200)
  state = process.initialize()
  for cohort in harness.uneven_rounds():
    state = process.run_round(state, cohort).state
  own, head = state['server']['method'], process.model_weights(state)[2:]
  labels, noise = fed_gen.drawn(tf.constant([3, 4]), tf.constant(own['shares']), 500)
  made = fed_gen.made(tuple(map(tf.constant, own['generator'])), labels, noise)
  taken_for = np.argmax(made @ head[0] + head[1], axis=1)
  assert np.mean(taken_for == np.argmax(labels, axis=1)) > 0.9


def test_drawn_are_classes_by_their_shares_and_noise():
  shares = tf.constant([0.5, 0.0, 0.3, 0.2])
  labels, noise = fed_gen.drawn(tf.constant([1, 2]), shares, 20_000)
  np.testing.assert_allclose(np.mean(labels, axis=0), shares, atol=0.02)
  assert np.sum(labels, axis=0)[1] == 0
  assert abs(np.mean(noise)) < 0.01 and abs(np.std(noise) - 1) < 0.01
  assert noise.shape == (20_000, fed_gen.NOISE)


def test_what_has_no_linear_head_is_refused():
  build = functools.partial(fed_gen.build, regularization=1.0, steps=1, learning_rate=0.1)
  with pytest.raises(registry.UsageError, match='accepted are tasks with one'):
    harness.build(build(), model=harness.tagger())
  last = harness.two_layers().weight_names[-1].rpartition('/')[0]
  frozen = models.build('mlp', harness.two_layers().spec, 3, freeze=last)
  with pytest.raises(registry.UsageError, match=r'=fedgen: .*do not --freeze its last layer'):
    harness.build(build(), model=frozen)
