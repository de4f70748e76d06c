"""Compressors in whole rounds: against the oracle, and the promises every one of them keeps."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime
from fl_research.aggregation import combiner, compression
from fl_research.aggregation.compression import compressor as compressor_lib
from fl_research.algorithms.optimization import fed_avg, fed_sgd
from fl_research.algorithms.personal import fed_per, fed_rep, local
from fl_research.optimizers import gradient_transforms
from fl_research.registry import UsageError
from tests import contexts
from tests.aggregation.compression import wire_checks
from tests.algorithms import harness
from tests.oracles import compression as oracle

CHAINS = {
  'low_rank:0.5': {'low_rank': {'rank': 0.5}},
  'low_rank:1': {'low_rank': {'rank': 1}},
  'random_mask:0.5': {'random_mask': {'fraction': 0.5}},
  'subsample:0.5': {'subsample': {'fraction': 0.5}},
  'rotation': {'rotation': {}},
  'quantize:2': {'quantize': {'bits': 2}},
  'qsgd:4': {'qsgd': {'levels': 4}},
  'top_k:0.25': {'top_k': {'fraction': 0.25}},
  'drive': {'drive': {}},
  'random_mask:0.5,drive': {'random_mask': {'fraction': 0.5}, 'drive': {}},
  'rotation,quantize:2': {'rotation': {}, 'quantize': {'bits': 2}},
  'subsample:0.5,rotation,quantize:2': {
    'subsample': {'fraction': 0.5},
    'rotation': {},
    'quantize': {'bits': 2},
  },
  'random_mask:0.5,rotation,quantize:4': {
    'random_mask': {'fraction': 0.5},
    'rotation': {},
    'quantize': {'bits': 4},
  },
  'top_k:0.25,quantize:8': {'top_k': {'fraction': 0.25}, 'quantize': {'bits': 8}},
}
# The gradient of softmax's biases sums to zero, so of three of them a rotation makes one exact
# zero, whose sign, which is all that drive sends of it, is a matter of rounding.
STABLE = [text for text in CHAINS if text != 'drive']
IDENTITIES = [
  'low_rank:4',
  'random_mask:1',
  'subsample:1',
  'rotation',
  'top_k:1',
  'subsample:1,rotation,quantize:16',
]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(1):
    yield


@functools.cache
def build(text):
  """FedAvg over a chain, built once for all tests."""
  return harness.build(fed_avg.build(), compressor=wire_checks.build(text))


def build_with(text, algorithm, **parts):
  """Another method, or other parts, over a chain."""
  return harness.build(algorithm, compressor=wire_checks.build(text), **parts)


def expected(stages, rounds, **optimizer):
  draw = lambda data, position, stage, kind, count: wire_checks.draws(
    data['seed'], position, stage, kind, count
  )
  weights = harness.model().initial_weights[0]
  return oracle.fed_avg(weights, rounds, harness.RATE, stages, draw, **optimizer)


def bytes_up(measured, process):
  column = process.report_columns.index('bytes_up')
  return np.asarray(measured['report']['values'])[:, column]


def test_every_compressor_is_tried():
  assert {name for stages in CHAINS.values() for name in stages} == set(compression.COMPRESSORS)


@pytest.mark.parametrize('text', STABLE)
def test_equals_oracle(text):
  rounds = harness.cohorts(epochs=2)
  weights, kept = harness.run_with_clients(build(text), rounds)
  history, memory = expected(CHAINS[text], rounds)
  harness.assert_same(weights, history)
  if 'top_k' in CHAINS[text]:
    assert set(kept) == set(memory)
    for client, state in kept.items():
      harness.assert_same([state['compressor'][0]], [memory[client]])


@pytest.mark.parametrize('text', ['low_rank:0.5', 'random_mask:0.5'])
def test_structured_training_with_momentum_and_decay_equals_oracle(text):
  rounds = harness.cohorts(epochs=2)
  momentum = tff.learning.optimizers.build_sgdm(harness.RATE, 0.9)
  optimizer = gradient_transforms.TransformedOptimizer(momentum, 0.0, 0.05)
  history, _ = expected(CHAINS[text], rounds, momentum=0.9, decay=0.05)
  harness.assert_same(
    harness.run(build_with(text, fed_avg.build(), client_optimizer=optimizer), rounds), history
  )


@pytest.mark.parametrize('text', ['low_rank:0.5', 'random_mask:0.5'])
def test_structured_updates_lose_nothing_on_the_wire(text):
  """What a restricted optimiser does to the weights is what arrives; other steps are cut down."""
  compressor, seed = wire_checks.build(text), tf.constant([3, 4])
  weights = tuple(tf.constant(w) for w in harness.model().initial_weights[0])
  shapes = [tuple(w.shape) for w in weights]
  specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
  plain = tff.learning.optimizers.build_sgdm(1.0, 0.9)
  rng = np.random.default_rng(0)
  gradient = tuple(tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes)
  arrived = {}
  for name, optimizer in (
    ('restricted', compressor.restrict_optimizer(plain, seed, shapes)),
    ('plain', plain),
  ):
    state, moved = optimizer.next(optimizer.initialize(specs), weights, gradient)
    _, moved = optimizer.next(state, moved, gradient)
    update = tuple(new - old for new, old in zip(moved, weights))
    arrived[name] = (update, compressor.round_trip(update, seed)[0])
  harness.assert_same([arrived['restricted'][0]], [arrived['restricted'][1]], 1e-6)
  assert np.abs(arrived['plain'][0][0] - arrived['plain'][1][0]).max() > 0.1


@pytest.mark.parametrize('text', ['low_rank:0.5', 'random_mask:0.5'])
def test_fed_sgd_sends_its_structured_gradient(text):
  rounds = [harness.cohorts(0)[0][:1]]
  optimizer = tff.learning.optimizers.build_sgdm(harness.RATE)
  process = build_with(text, fed_sgd.build(), server_optimizer=optimizer)
  history, _ = expected(CHAINS[text], rounds)
  harness.assert_same(harness.run(process, rounds), history)


@pytest.mark.parametrize('text', IDENTITIES)
def test_reduces_to_uncompressed(text):
  rounds = harness.cohorts(epochs=2)
  tolerance = 2e-4 if 'quantize' in text else 1e-6
  plain = harness.run(harness.plain(), rounds)
  harness.assert_same(harness.run(build(text), rounds), plain, tolerance)


@pytest.mark.parametrize('text', CHAINS)
def test_same_seed_same_bits_and_the_other_runtime_agrees(text):
  process, rounds = build(text), harness.cohorts(rounds=2)
  if text not in STABLE:  # Another model, whose biases add up to something.
    process = build_with(text, fed_avg.build(), model=harness.tagger())
    rounds = [[harness.tagged(data) for data in cohort] for cohort in rounds]
  first, again = (harness.run(process, rounds) for _ in range(2))
  harness.assert_same(first, again, 0)
  with runtime.use_context('native'):
    native = harness.run(process, rounds)
  harness.assert_same(first, native, harness.ANOTHER_BUILD)


@pytest.mark.parametrize('text', STABLE)
def test_order_of_clients_does_not_matter(text):
  rounds = harness.cohorts()
  turned = [cohort[::-1] for cohort in rounds]
  process = build(text)
  harness.assert_same(harness.run(process, rounds), harness.run(process, turned), 1e-6)


@pytest.mark.parametrize('text', STABLE)
def test_cohort_of_one_with_one_example(text):
  (data,) = harness.cohorts(rounds=1)[0][:1]
  data['examples'] = collections.OrderedDict((k, v[:1]) for k, v in data['examples'].items())
  data['batches'] = np.int32([[0, -1, -1, -1]])
  data['num_examples'] = np.int32(1)
  history, _ = expected(CHAINS[text], [[data]])
  harness.assert_same(harness.run(build(text), [[data]]), history)


@pytest.mark.parametrize('text', CHAINS)
def test_zero_updates_change_nothing(text):
  rounds = harness.cohorts()
  for data in rounds[0] + rounds[1] + rounds[2]:
    data['batches'] = np.full_like(data['batches'], -1)
  start = harness.model().initial_weights[0]
  harness.assert_same(harness.run(build(text), rounds), [start] * len(rounds), 0)


@pytest.mark.parametrize('text', ['quantize:2', 'qsgd:4', 'top_k:0.25', 'drive'])
def test_a_client_with_nan_is_left_out(text):
  rounds = harness.cohorts(rounds=1)
  broken = [dict(data) for data in rounds[0]]
  x = np.full_like(broken[1]['examples']['x'], np.nan)
  broken[1]['examples'] = collections.OrderedDict(x=x, y=broken[1]['examples']['y'])
  without = [[rounds[0][0], rounds[0][2]]]
  process = build(text)
  harness.assert_same(harness.run(process, [broken]), harness.run(process, without), 1e-6)


class _Overflowing(compressor_lib.Compressor):
  """Decodes the updates of clients with a positive first bias to infinity."""

  def encode(self, update, seed, client_state):
    return combiner.Encoded(list(update), client_state)

  def decode(self, message, shapes):
    return tuple(tf.where(message[1][0] > 0.0, np.inf, u) for u in message)


def test_updates_that_overflow_in_a_compressor_are_left_out():
  rounds = harness.cohorts(rounds=1)
  plain = harness.plain()
  start = harness.model().initial_weights[0]
  kept = [d for d in rounds[0] if harness.run(plain, [[d]])[0][1][0] <= start[1][0]]
  assert 0 < len(kept) < len(rounds[0])
  overflowing = harness.build(fed_avg.build(), compressor=_Overflowing())
  harness.assert_same(harness.run(overflowing, rounds), harness.run(plain, [kept]), 1e-6)


@pytest.mark.parametrize(
  'text', ['top_k:0.25', 'top_k:0.25,quantize:8', 'random_mask:0.5,top_k:0.5']
)
def test_what_was_sent_and_what_is_remembered_are_all_updates(text):
  compressor = wire_checks.build(text)
  rng = np.random.default_rng(0)
  memory = compressor.initial_client_state((tf.zeros([6, 5]), tf.zeros([7])))
  total, sent = [np.zeros([6, 5]), np.zeros([7])], [np.zeros([6, 5]), np.zeros([7])]
  for i in range(20):
    update = tuple(tf.constant(rng.normal(size=t.shape), tf.float32) for t in total)
    arrived, memory = compressor.round_trip(update, tf.constant([i, 0]), memory)
    total = [t + np.asarray(u) for t, u in zip(total, update)]
    sent = [s + np.asarray(u) for s, u in zip(sent, arrived)]
  for all_updates, arrived, remembered in zip(total, sent, memory):
    np.testing.assert_allclose(arrived + np.asarray(remembered), all_updates, atol=1e-5)
    assert np.abs(remembered).max() > 0.1
    # Without feedback about three quarters of everything would be missing by now.
    assert np.abs(remembered).max() < 10


def test_bytes_are_those_of_the_message():
  rounds = harness.cohorts()
  for text, size in {
    'quantize:2': (8 + 3) + (8 + 1),
    'rotation,quantize:2': 8 + (8 + 4) + (8 + 1),
    'random_mask:0.5': 8 + 4 * (6 + 2),
    'drive': 8 + (4 + 2) + (4 + 1),
    'top_k:0.25': 4 * (3 + 1) + 2 + 1,
  }.items():
    process = build(text)
    measured = process.run_round(process.initialize(), rounds[0]).measured
    # 4 bytes more: the number of examples, for the average.
    np.testing.assert_array_equal(bytes_up(measured, process), [size + 4] * 3)
    assert process.bytes_up_per_client == 4 * 15 + 4


@pytest.mark.parametrize(
  'method',
  [fed_per.build(private_layers='last'), fed_rep.build(private_layers='last', head_epochs=1)],
  ids=['fedper', 'fedrep'],
)
@pytest.mark.parametrize('text', ['random_mask:0.5', 'low_rank:0.5', 'top_k:0.5'])
def test_private_layers_are_not_sent_and_not_restricted(method, text):
  model = harness.model(name='mlp', hidden_units=6)
  rounds = harness.cohorts()
  process = build_with(text, method, model=model)
  weights, kept = harness.run_with_clients(process, rounds)
  shared = process.method.shares(model.weight_names)
  assert any(shared) and not all(shared)
  start = model.initial_weights[0]
  for before, after, is_shared in zip(start, weights[-1], shared):
    assert np.any(before != after) == is_shared
  for state in kept.values():
    # The last layer's biases; a mask would have left one of the three alone.
    assert np.all(np.asarray(tf.nest.flatten(state['method'])[-1]) != start[-1])
  if text == 'top_k:0.5':
    sizes = [np.asarray(m).size for m in kept[0]['compressor'][0]]
    assert sizes == [w.size for w, is_shared in zip(start, shared) if is_shared]


def test_nothing_sent_takes_no_bytes():
  process = build_with('top_k:0.5', local.build())
  measured = process.run_round(process.initialize(), harness.cohorts()[0]).measured
  np.testing.assert_array_equal(bytes_up(measured, process), 0)


def test_rank_that_no_matrix_has():
  with pytest.raises(UsageError, match=r'--low_rank_rank=5: the largest matrix .* 4 rows'):
    build('low_rank:5')


@pytest.mark.parametrize('text', CHAINS)
def test_a_site_lets_the_clients_work_run(text):
  harness.assert_allowed_at_sites(build(text))
