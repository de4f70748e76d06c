"""Every compressor by itself: against its oracle, its size in bytes, its bias and its error."""

import math

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf

from fl_research.aggregation import compression
from fl_research.aggregation.compression import elias, hadamard, selection, wire
from tests.aggregation.compression import wire_checks
from tests.oracles import compression as oracle

# A kernel of 5 × 5 × 3 by 8, and a vector of no round length.
SHAPES = [(5, 5, 3, 8), (37,)]
SIZES = [600, 37]
PADDED = [640, 64]
CHAINS = {
  'low_rank:0.25': {'low_rank': {'rank': 0.25}},
  'low_rank:7': {'low_rank': {'rank': 7}},
  'random_mask:0.3': {'random_mask': {'fraction': 0.3}},
  'subsample:0.1': {'subsample': {'fraction': 0.1}},
  'rotation': {'rotation': {}},
  'quantize:1': {'quantize': {'bits': 1}},
  'quantize:5': {'quantize': {'bits': 5}},
  'qsgd:4': {'qsgd': {'levels': 4}},
  'top_k:0.05': {'top_k': {'fraction': 0.05}},
  'top_k:0.4': {'top_k': {'fraction': 0.4}},
  'drive': {'drive': {}},
  'rotation,quantize:2': {'rotation': {}, 'quantize': {'bits': 2}},
  'subsample:0.1,rotation,quantize:2': {
    'subsample': {'fraction': 0.1},
    'rotation': {},
    'quantize': {'bits': 2},
  },
  'rotation,subsample:0.5': {'rotation': {}, 'subsample': {'fraction': 0.5}},
  'low_rank:0.25,rotation,quantize:3': {
    'low_rank': {'rank': 0.25},
    'rotation': {},
    'quantize': {'bits': 3},
  },
  'random_mask:0.3,drive': {'random_mask': {'fraction': 0.3}, 'drive': {}},
  'top_k:0.05,quantize:8': {'top_k': {'fraction': 0.05}, 'quantize': {'bits': 8}},
  'subsample:0.2,qsgd:8': {'subsample': {'fraction': 0.2}, 'qsgd': {'levels': 8}},
}
UNBIASED = [
  'subsample:0.2',
  'quantize:1',
  'quantize:3',
  'rotation,quantize:1',
  'subsample:0.5,rotation,quantize:2',
  'qsgd:1',
  'qsgd:4',
]


def update(seed=0):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=shape).astype(np.float32) for shape in SHAPES]


def vector(n, seed=0):
  return np.random.default_rng(seed).normal(size=n).astype(np.float32)


def test_every_compressor_has_an_oracle_and_is_tried():
  assert set(oracle.STAGES) == set(compression.COMPRESSORS)
  assert {name for stages in CHAINS.values() for name in stages} == set(compression.COMPRESSORS)


@pytest.mark.parametrize('text', CHAINS)
def test_equals_oracle(text):
  seed = [11, -5]
  sent = wire_checks.send(text, update(), seed)
  for position, (tensor, decoded) in enumerate(zip(update(), sent)):
    draw = lambda i, kind, count, p=position: wire_checks.draws(seed, p, i, kind, count)
    expected = oracle.transmit(tensor, CHAINS[text], draw)
    np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-5)


def _bits(count, width=1):
  return math.ceil(count * width / 8)


@pytest.mark.parametrize(
  'text, expected',
  [
    ('low_rank:0.25', 8 + 4 * (19 * 8 + 37)),  # ceil(75 / 4) = 19 of 75 rows.
    ('low_rank:7', 8 + 4 * (7 * 8 + 37)),
    ('random_mask:0.3', 8 + 4 * (180 + 12)),
    ('subsample:0.1', 8 + 4 * (60 + 4)),
    ('rotation', 8 + 4 * sum(PADDED)),
    ('quantize:1', sum(8 + _bits(n) for n in SIZES)),
    ('quantize:5', sum(8 + _bits(n, 5) for n in SIZES)),
    ('quantize:16', sum(8 + 2 * n for n in SIZES)),
    ('top_k:0.05', 4 * (30 + 2) + _bits(30, 10) + _bits(2, 6)),
    ('top_k:0.4', 4 * (240 + 15) + _bits(600) + _bits(37)),  # Maps are shorter than positions.
    ('drive', 8 + 4 * (5 + 1) + _bits(640) + _bits(64)),  # Blocks of 128: 5, and one of 64.
    ('rotation,quantize:2', 8 + sum(8 + _bits(n, 2) for n in PADDED)),
    ('subsample:0.1,rotation,quantize:2', 8 + 2 * 8 + _bits(64, 2) + _bits(4, 2)),
    ('top_k:0.05,quantize:8', (8 + 30) + (8 + 2) + _bits(30, 10) + _bits(2, 6)),
  ],
)
def test_bytes(text, expected):
  message = wire_checks.encode(text, update(), [3, 4])
  assert message.dtype == np.uint8
  assert len(message) == expected


def test_bytes_of_qsgd_are_those_of_its_codes():
  tensor = vector(3000)
  message = wire_checks.encode('qsgd:8', [tensor], [3, 4])
  (sent,) = wire_checks.decode('qsgd:8', message, [(3000,)])
  levels = np.round(np.abs(sent) * 8 / np.linalg.norm(tensor)).astype(int)
  where = np.flatnonzero(levels)
  numbers = np.concatenate([np.diff(where, prepend=-1), levels[where]])
  lower = int(np.sum(np.floor(np.log2(numbers))))
  assert len(message) == 8 + _bits(lower + len(numbers)) + _bits(lower) + _bits(len(where))


def test_qsgd_meets_the_papers_expected_length():
  # Theorem 3.2: (3 + (3/2 + o(1)) log2(2(s² + n) / (s(s + √n)))) s(s + √n) + 32 bits.
  n = 2**16
  for s in (1, 4):
    terms = s * (s + np.sqrt(n))
    bound = (3 + 1.5 * np.log2(2 * (s**2 + n) / terms)) * terms + 32
    sizes = [len(wire_checks.encode(f'qsgd:{s}', [vector(n)], [i, 0])) for i in range(5)]
    assert 8 * np.mean(sizes) < bound


@pytest.mark.parametrize('text', UNBIASED)
def test_unbiased(text):
  tensor = vector(24) + 0.3
  sent = _many(text, tensor, 4000)
  error = sent.mean(axis=0) - tensor
  standard_error = sent.std(axis=0) / np.sqrt(len(sent)) + 1e-6
  # 24 entries, all within 4.5 standard errors: a false alarm in 6,000 seeds.
  assert np.all(np.abs(error) < 4.5 * standard_error)
  assert wire_checks.build(text).unbiased


def test_drive_is_nearly_unbiased_in_high_dimension():
  tensor = vector(4096) + 0.3
  sent = _many('drive', tensor, 400)
  along = sent @ tensor / np.sum(tensor**2)
  # S makes <decoded, x> = |x|² for every rotation.
  np.testing.assert_allclose(along, 1.0, rtol=1e-4)
  z = (sent.mean(axis=0) - tensor) / (sent.std(axis=0) / np.sqrt(len(sent)))
  assert np.mean(z**2) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize('text', ['top_k:0.1', 'random_mask:0.5', 'low_rank:0.5'])
def test_biased_ones_do_not_claim_otherwise(text):
  tensor = np.reshape(vector(24) + 0.3, [6, 4])
  bias = _many(text, tensor, 2000).mean(axis=0) - tensor
  assert np.abs(bias).max() > 0.1
  assert not wire_checks.build(text).unbiased


def _many(text, tensor, seeds):
  """What the server decodes for many seeds, stacked."""
  compressor = wire_checks.build(text)
  state = compressor.initial_client_state([tf.constant(tensor)])

  @tf.function(autograph=False)
  def all_seeds(tensors):
    one = lambda i: compressor.round_trip((tensors,), tf.stack([i, 7]), state)[0][0]
    return tf.map_fn(one, tf.range(seeds), fn_output_signature=tf.float32)

  return np.asarray(all_seeds(tf.constant(tensor)), np.float64)


@pytest.mark.parametrize('levels', [1, 2, 8, 64])
def test_variance_of_qsgd(levels):
  tensor = vector(256)
  error = np.mean(np.sum((_many(f'qsgd:{levels}', tensor, 300) - tensor) ** 2, axis=1))
  bound = min(256 / levels**2, 16 / levels) * np.sum(tensor**2)
  assert 0.05 * bound < error < bound


def test_nonzeros_of_qsgd():
  tensor = vector(1024)
  nonzeros = np.mean(np.count_nonzero(_many('qsgd:2', tensor, 200), axis=1))
  assert 32 < nonzeros < 2 * (2 + 32)


def test_error_of_subsample():
  tensor = vector(200)
  error = np.mean(np.sum((_many('subsample:0.25', tensor, 2000) - tensor) ** 2, axis=1))
  assert error == pytest.approx(3 * np.sum(tensor**2), rel=0.05)


def test_quantization_rounds_to_a_neighbouring_level():
  tensor = vector(500)
  levels = np.linspace(tensor.min(), tensor.max(), 8)
  sent = _many('quantize:3', tensor, 20)
  assert np.all(np.abs(sent - tensor) < levels[1] - levels[0] + 1e-5)
  assert np.abs(sent[..., np.newaxis] - levels).min(axis=-1).max() < 1e-5
  assert len(np.unique(np.round(sent, 4))) == 8


def test_one_bit_is_the_papers_rule():
  tensor = np.float32([0.0, 0.25, 1.0])
  sent = _many('quantize:1', tensor, 4000)
  assert set(np.unique(sent)) == {0.0, 1.0}
  np.testing.assert_allclose(sent.mean(axis=0), tensor, atol=0.03)


def test_rotation_lowers_the_error_of_quantization():
  spiky = np.zeros(1024, np.float32)
  spiky[:4] = [1.0, -2.0, 3.0, 0.5]
  error = lambda text: np.mean((_many(text, spiky, 50) - spiky) ** 2)
  assert error('rotation,quantize:2') < error('quantize:2') / 20


@pytest.mark.parametrize(
  'text', ['random_mask:1', 'subsample:1', 'top_k:1', 'low_rank:75', 'rotation', 'quantize:16']
)
def test_nothing_is_lost_at_the_end_of_the_scale(text):
  sent = wire_checks.send(text, update(), [5, 6])
  for tensor, decoded in zip(update(), sent):
    step = (tensor.max() - tensor.min()) / (2**16 - 1) if 'quantize' in text else 2e-6
    np.testing.assert_allclose(decoded, tensor, rtol=0, atol=step)


@pytest.mark.parametrize('text', CHAINS)
def test_zeros_stay_zeros(text):
  for decoded in wire_checks.send(text, [np.zeros(shape) for shape in SHAPES], [1, 2]):
    np.testing.assert_array_equal(decoded, 0.0)


@pytest.mark.parametrize('text', CHAINS)
@pytest.mark.parametrize('shape', [(1,), (2, 1), (1, 3), (130,)])
def test_tensors_of_awkward_sizes(text, shape):
  tensor = np.reshape(vector(math.prod(shape)), shape)
  (decoded,) = wire_checks.send(text, [tensor], [1, 2])
  draw = lambda i, kind, count: wire_checks.draws([1, 2], 0, i, kind, count)
  expected = oracle.transmit(tensor, CHAINS[text], draw)
  np.testing.assert_allclose(decoded, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('text', ['qsgd:4', 'drive', 'quantize:4', 'rotation,quantize:2'])
@pytest.mark.parametrize('scale', [2.0**100, 2.0**-100])
def test_huge_and_tiny_numbers(text, scale):
  usual = wire_checks.send(text, update(), [1, 2])
  scaled = wire_checks.send(text, [u * np.float32(scale) for u in update()], [1, 2])
  for a, b in zip(usual, scaled):
    np.testing.assert_allclose(b / np.float64(scale), a, rtol=1e-5, atol=1e-6)


def test_other_seeds_give_other_messages():
  for text in ('subsample:0.1', 'quantize:2', 'qsgd:4', 'drive', 'random_mask:0.3'):
    first, again = (wire_checks.encode(text, update(), [1, 2]) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = wire_checks.encode(text, update(), [1, 3])
    assert len(first) != len(other) or np.any(first != other)


def test_subsets_are_uniform():
  counts = np.zeros(10)
  for i in range(2000):
    counts[np.asarray(selection.random_subset(10, 3, tf.constant([i, 1])))] += 1
  assert counts.sum() == 6000
  # Standard deviation of a count: sqrt(2000 · 0.3 · 0.7) = 20.5.
  assert np.all(np.abs(counts - 600) < 82)


def test_largest_takes_the_first_of_equals():
  values = tf.constant([1.0, -3.0, 3.0, 0.0, -1.0, 3.0])
  np.testing.assert_array_equal(selection.largest(values, 2), [1, 2])
  np.testing.assert_array_equal(selection.largest(values, 4), [0, 1, 2, 5])


@pytest.mark.parametrize('n', [1, 2, 64, 128, 4096])
def test_transform_is_the_walsh_hadamard_matrix(n):
  rows = np.random.default_rng(0).normal(size=(3, n)).astype(np.float32)
  # In parts, as 4096² float64 would be the largest thing that any test holds.
  parts = np.array_split(scipy.linalg.hadamard(n, np.int8), 8, axis=1)
  expected = np.hstack([rows @ part.astype(np.float64) for part in parts]) / np.sqrt(n)
  np.testing.assert_allclose(hadamard.transform(tf.constant(rows)), expected, atol=2e-6)


def test_layout_pads_little():
  assert hadamard.layout(2**21) == (1, 2**21)
  assert hadamard.layout(1) == (1, 1)
  for n in [3, 10, 100, 1000, 40_000, 156_800, 1_605_632]:
    blocks, block = hadamard.layout(n)
    assert n <= blocks * block <= n + max(n / 16, 64)
    assert block & (block - 1) == 0


@pytest.mark.parametrize('width', [1, 2, 3, 8, 13, 16])
def test_packing_codes(width):
  codes = np.random.default_rng(width).integers(0, 2**width, 101).astype(np.int32)
  message = wire.pack_codes(tf.constant(codes), width)
  assert message.shape == (wire.num_packed(101, width),) == (math.ceil(101 * width / 8),)
  np.testing.assert_array_equal(wire.unpack_codes(message, 101, width), codes)


def test_elias_code():
  numbers = np.int32([1, 2, 3, 4, 7, 8, 1000, 1, 2**20, 2**30 + 5, 2**31 - 1])
  message = wire.join(elias.encode(tf.constant(numbers)))
  np.testing.assert_array_equal(elias.decode(wire.Reader(message)), numbers)
  lower = sum(int(x).bit_length() - 1 for x in numbers)
  assert message.shape == (4 + _bits(lower + len(numbers)) + _bits(lower),)
  # 5 is 001 in the stream of prefixes and 01 in that of lower bits, from the lowest bit up.
  by_hand = wire.join(elias.encode(tf.constant([5])))
  np.testing.assert_array_equal(by_hand, [1, 0, 0, 0, 0b100, 0b10])


def test_elias_code_of_nothing():
  message = wire.join(elias.encode(tf.zeros([0], tf.int32)))
  assert np.asarray(elias.decode(wire.Reader(message))).shape == (0,)
