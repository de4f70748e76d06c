"""The XLA-compiled loop over padded clients, and the choice of it."""

import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime  # before TensorFlow
from fl_research.runtime import padded, trial
from tests.runtime import rounds


def run(jit, computation, *arguments, chunks=2):
  with runtime.use_context('fused', chunks, jit) as context:
    return computation(*arguments), context.report()


@pytest.mark.parametrize('sizes', [(5,), (7, 0, 12, 3, 8), (30, 1, 1, 1)])
def test_gives_what_the_plain_loop_gives(sizes):
  data = rounds.clients(sizes)
  (plain, count), _ = run('off', rounds.next_round, rounds.first_weights(), data)
  (jit, jit_count), report = run('on', rounds.next_round, rounds.first_weights(), data)
  assert report['jit_choices'][0]['jit']
  assert count == jit_count
  for a, b in zip(plain, jit):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@tff.federated_computation(rounds.STATE, rounds.CLIENTS_DATA)
def keeps_updates(state, data):
  update, examples = tff.federated_map(rounds.client_update, (data, tff.federated_broadcast(state)))
  vector = tff.TensorType(np.float32, (1,))
  rows = tff.TensorType(np.float32, (None,))
  concatenate = lambda a, b: tf.concat([a, b], 0)
  as_row = tff.tensorflow.computation(lambda x: x[tf.newaxis], np.float32)
  joined = tff.federated_aggregate(
    tff.federated_map(as_row, examples),
    tff.tensorflow.computation(lambda: tf.zeros([0]))(),
    tff.tensorflow.computation(concatenate, rows, vector),
    tff.tensorflow.computation(concatenate, rows, rows),
    tff.tensorflow.computation(lambda a: a, rows),
  )
  return tff.federated_mean(update), update, joined


def test_keeps_rows_and_values_at_clients():
  data = rounds.clients((7, 2, 12))
  (mean, updates, joined), _ = run('off', keeps_updates, rounds.first_weights(), data)
  (jit_mean, jit_updates, jit_joined), report = run(
    'on', keeps_updates, rounds.first_weights(), data
  )
  assert report['jit_choices'][0]['jit']
  assert jit_joined.tolist() == joined.tolist()
  assert sorted(joined.tolist()) == [2.0, 7.0, 12.0]
  np.testing.assert_allclose(jit_mean[0], mean[0], rtol=1e-5, atol=1e-7)
  for a, b in zip(updates, jit_updates):
    np.testing.assert_allclose(a[0], b[0], rtol=1e-5, atol=1e-7)


def test_few_compilations_in_a_thousand_rounds():
  rng = np.random.default_rng(0)
  population = np.clip((10 + 40 * rng.pareto(1.3, size=1000)).astype(int), 10, 2000)
  sizes, compilations = padded.Sizes(), 0
  for _ in range(1000):
    cohort = population[rng.choice(1000, rng.integers(50, 101), replace=False)]
    steps = -(-cohort // 10)
    compilations += sizes.grow(
      padded.Sizes(len(cohort), int(cohort.sum()), int(steps.sum()), int(steps.max()))
    )
  assert compilations <= 9


def test_compilations_are_counted_as_xla_makes_them():
  with runtime.use_context('fused', 1, 'on') as context:
    counts = []
    for sizes in ((4, 4), (3, 4), (4, 4, 4), (40,) * 9, (4, 4)):
      rounds.next_round(rounds.first_weights(), rounds.clients(sizes))
      counts.append(context.report()['compilations'])
  assert counts[0] == counts[1]
  assert counts[-1] == counts[-2] == counts[0] + 1


def test_other_ragged_data_is_not_padded():
  rows = tff.TensorType(np.float32, (None,))
  total = tff.tensorflow.computation(lambda x: tf.reduce_sum(x), rows)

  @tff.federated_computation(tff.FederatedType(rows, tff.CLIENTS))
  def computation(x):
    return tff.federated_sum(tff.federated_map(total, x))

  result, report = run('on', computation, [np.ones(3, np.float32), np.ones(2, np.float32)])
  assert result == 5
  (choice,) = report['jit_choices']
  assert not choice['jit']
  assert 'unknown shape' in choice['reason']


def loop(seconds, value=1.0):
  def run_loop(count):
    time.sleep(seconds * count)
    return [tf.constant(value)]

  return run_loop


def test_the_faster_loop_is_chosen():
  assert trial.choose(loop(0.02), loop(0.002), 4).jit
  assert not trial.choose(loop(0.002), loop(0.02), 4).jit
  assert not trial.choose(loop(0.005), loop(0.005), 4).jit


def test_a_lost_trial_is_not_repeated():
  counts = []

  def slow(count):
    counts.append(count)
    return loop(0.3)(count)

  choice = trial.choose(loop(0.002), slow, 4)
  assert counts == [0, 1]  # compiled, and run once
  assert (choice.jit, choice.reason) == (False, 'XLA is slower')
  assert choice.plain_seconds < 0.1 < 0.3 <= choice.jit_seconds


def test_other_results_are_refused():
  choice = trial.choose(loop(0.02), loop(0.002, value=1.1), 4)
  assert not choice.jit
  assert choice.reason == 'XLA gives other results'


def test_what_xla_cannot_compile_is_refused():
  def fails(count):
    raise tf.errors.InvalidArgumentError(None, None, 'not compilable')

  choice = trial.choose(loop(0.0), fails, 4)
  assert not choice.jit
  assert 'not compilable' in choice.reason


@tff.tensorflow.computation(rounds.DATA)
def number_of_rows(data):
  return tf.shape(data['examples']['x'])[0]


def test_work_that_breaks_the_padding_contract_is_refused_by_the_trial():
  @tff.federated_computation(rounds.CLIENTS_DATA)
  def computation(data):
    return tff.federated_sum(tff.federated_map(number_of_rows, data))

  result, report = run('auto', computation, rounds.clients((3, 9)))
  assert result == 12
  assert report['jit_choices'][0]['reason'] == 'XLA gives other results'


def test_auto_gives_the_same_round_as_its_choice():
  data = rounds.clients((7, 2, 12))
  result, report = run('auto', rounds.next_round, rounds.first_weights(), data)
  (choice,) = report['jit_choices']
  assert choice['plain_seconds'] > 0
  expected, _ = run(
    'on' if choice['jit'] else 'off', rounds.next_round, rounds.first_weights(), data
  )
  assert repr(result) == repr(expected)


@tff.tensorflow.computation(rounds.DATA)
def checked(data):
  with tf.control_dependencies([tf.debugging.assert_less(data['num_examples'], 10)]):
    return tf.identity(data['num_examples'])


def test_work_that_makes_assertions_is_not_compiled():
  @tff.federated_computation(rounds.CLIENTS_DATA)
  def computation(data):
    return tff.federated_sum(tff.federated_map(checked, data))

  result, report = run('on', computation, rounds.clients((3, 9)))
  assert result == 12
  assert 'assertions' in report['jit_choices'][0]['reason']
  with pytest.raises(runtime.ComputationError, match='client 1 of the cohort'):
    run('on', computation, rounds.clients((3, 10)))


def test_values_kept_from_one_step_to_the_next_are_not_padded():
  @tff.federated_computation(rounds.CLIENTS_DATA)
  def computation(data):
    number = tff.federated_map(number_of_rows, data)
    largest = tff.federated_broadcast(tff.federated_max(number))
    double = tff.tensorflow.computation(lambda a, b: a * b, np.int32, np.int32)
    return tff.federated_sum(tff.federated_map(double, (number, largest)))

  result, report = run('on', computation, rounds.clients((3, 9)))
  first, second = report['jit_choices']
  assert first['jit']  # padded, and it counts rows: `on` trusts the caller
  assert 'keep values' in second['reason']
  assert result > 0


@tff.tensorflow.computation(rounds.DATA)
def slope_of_a_convolution(data):
  images = tf.reshape(data['examples']['x'], [-1, 2, rounds.FEATURES // 2, 1])
  kernel = tf.ones([2, 2, 1, 1])
  with tf.GradientTape() as tape:
    tape.watch(kernel)
    loss = tf.reduce_sum(tf.nn.conv2d(images, kernel, 1, 'VALID'))
  return tf.reduce_sum(tape.gradient(loss, kernel))


def test_auto_holds_no_trial_of_a_convolutions_gradient():
  @tff.federated_computation(rounds.CLIENTS_DATA)
  def computation(data):
    return tff.federated_sum(tff.federated_map(slope_of_a_convolution, data))

  # It reads all rows, not those of its batches: with one client, XLA sees no others.
  data = rounds.clients((9,))
  result, report = run('auto', computation, data)
  (choice,) = report['jit_choices']
  assert (choice['jit'], choice['plain_seconds']) == (False, None)
  assert 'convolution' in choice['reason']
  compiled, report = run('on', computation, data)
  assert report['jit_choices'][0]['jit']
  np.testing.assert_allclose(compiled, result, rtol=1e-5)
