"""Quantiles are those of the pooled numbers, and stay near them under noise."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.analytics import quantiles
from fl_research.registry import UsageError
from tests import contexts
from tests.analytics import clients, tables

AGES = {'analysis': 'quantiles', 'column': 'age', 'quantiles_bins': 128}
RANGE = {'quantiles_low': 0.0, 'quantiles_high': 128.0}


def found(setup):
  with contexts.fused(chunks=3):
    analysis = clients.build(setup)
    state = analysis.step(analysis.initial(), 1, np.arange(len(setup.data.train)))
  return state, analysis.measures(state), analysis.table(state)


@pytest.fixture(scope='module')
def people(tmp_path_factory):
  return tables.write(tmp_path_factory.mktemp('table'), rows=300)


def test_are_those_of_the_pooled_numbers(people):
  _, row, table = found(tables.setup(people, **AGES, **RANGE))
  ages = pd.read_csv(people)['age'].dropna().to_numpy()
  assert row['quantiles/total'] == len(ages)
  assert [line['quantile'] for line in table] == [0.1, 0.25, 0.5, 0.75, 0.9]
  for line in table:
    exact = np.quantile(ages, line['quantile'], method='inverted_cdf')
    assert line['low'] <= exact < line['high'] and line['high'] - line['low'] == 1.0


def test_agrees_with_tffs_decoder_and_its_process(people):
  """Where there is no noise: TFF's tree of the same numbers, and its answers."""
  state, _, _ = found(tables.setup(people, **AGES, **RANGE))
  ages = pd.read_csv(people)['age'].dropna().to_numpy(np.float32)
  values = np.unique(np.floor(np.abs(ages)))  # One each, so that TFF's clipping changes nothing.
  with contexts.fused(chunks=1):
    process = tff.analytics.build_hierarchical_histogram_process(
      0.0, 128.0, 128, clip_mechanism='distinct', max_records_per_user=1, enable_secure_sum=False
    )
    each = [tf.data.Dataset.from_tensors(value) for value in values]
    theirs = process.next(process.initialize(), each)[0].aggregated_hierarchical_histogram
  ragged = tf.ragged.constant(quantiles.levels(state.tree), dtype=tf.float64)
  decoder = tff.analytics.HierarchicalHistogramDecoder(ragged, 0.0, 128.0)
  sums = quantiles.sums_up_to(state.tree)
  for q in (0.1, 0.5, 0.9):
    assert decoder.quantile_query(q)[0] == quantiles.quantile_bin(sums, q)
  own = np.bincount(values.astype(int), minlength=128).astype(np.float64)
  tree = [own]
  while len(tree[0]) > 1:
    tree.insert(0, tree[0].reshape(-1, 2).sum(axis=1))
  np.testing.assert_array_equal(np.asarray(theirs['flat_values']), np.concatenate(tree))


def test_noise_moves_them_little(people):
  """Noise of 1.5 on every node, of 257 numbers: the consistent tree's median moves a few years."""
  flags = {'dp_noise_multiplier': 0.01, 'dp_clip_norm': 150.0}
  state, _, table = found(tables.setup(people, **AGES, **RANGE, **flags, dp_delta=0.01))
  ages = pd.read_csv(people)['age'].dropna().to_numpy()
  assert len(np.unique(state.tree)) == len(state.tree)
  sums = quantiles.sums_up_to(state.tree)
  assert sums[-1] != state.tree[0]  # All nodes say something of the total.
  assert abs(table[2]['low'] - np.median(ages)) < 4


def test_numbers_outside_count_at_the_ends():
  setup = clients.setup(
    analysis='quantiles', quantiles_bins=2, quantiles_high=4.0, quantiles_of='1'
  )
  # Clients of 7, 12, 1 and 9 examples.
  state, _, table = found(setup)
  assert state.tree.tolist() == [4, 1, 3] and table[0]['high'] == 4.0


def test_a_quantile_of_noise_is_a_bin():
  assert quantiles.quantile_bin(np.array([1.0, 3.0, 2.0]), 0.5) == 0
  assert quantiles.quantile_bin(np.array([-1.0, -3.0, -2.0]), 1.0) == 0
  assert quantiles.quantile_bin(np.array([-5.0, -3.0, -2.0]), 0.5) == 2


@pytest.mark.parametrize(
  'flags, message',
  [
    ({'quantiles_of': '0.5,x'}, r'--quantiles_of=0.5,x: accepted are numbers in \[0, 1\]'),
    ({'quantiles_of': '2'}, '--quantiles_of=2: accepted are'),
    ({'quantiles_bins': 3}, '--quantiles_bins=3: accepted is a power of 2'),
  ],
)
def test_refuses_in_one_line(flags, message):
  with pytest.raises(UsageError, match=message):
    clients.build(clients.setup(analysis='quantiles', **flags))
