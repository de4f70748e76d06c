"""Tests of the heterogeneity passport against numbers worked out by hand and by SciPy."""

import json
import time

import numpy as np
import pytest
import scipy.spatial.distance

from fl_research.datasets import passport as passport_lib
from fl_research.datasets.federated_data import Clients, ContiguousClients, Problem
from fl_research.datasets.passport import partition_hash, passport
from fl_research.gini import gini
from tests import slow_machines


def _clients(y, offsets, x=None, ids=None) -> ContiguousClients:
  y = np.asarray(y)
  x = np.arange(len(y), dtype=np.float32)[:, np.newaxis] if x is None else x
  return ContiguousClients({'x': x, 'y': y}, np.asarray(offsets), ids)


class _OnDemand(Clients):
  """Clients that count how often they are read."""

  def __init__(self, clients):
    self.clients = clients
    self.reads = 0

  @property
  def ids(self):
    return self.clients.ids

  @property
  def sizes(self):
    return self.clients.sizes

  def examples(self, position):
    self.reads += 1
    return self.clients.examples(position)


def test_two_clients_of_one_label_each():
  entry = passport(_clients([0, 0, 0, 1], [0, 3, 4]), Problem.CLASSIFICATION)
  # p = (3/4, 1/4); client 0 is (1, 0), client 1 is (0, 1).
  assert entry['label_emd_mean'] == pytest.approx((0.5 + 1.5) / 2)
  first = 0.5 * np.log2(1 / 0.875) + 0.5 * (0.75 * np.log2(0.75 / 0.875) + 0.25)
  second = 0.5 * np.log2(1 / 0.625) + 0.5 * (0.25 * np.log2(0.25 / 0.625) + 0.75)
  assert entry['label_js_divergence_mean'] == pytest.approx((first + second) / 2)
  assert entry['clients'] == 2
  assert entry['examples_total'] == 4
  assert (entry['examples_min'], entry['examples_median'], entry['examples_max']) == (1, 2.0, 3)
  assert entry['examples_gini'] == pytest.approx(0.25)
  assert entry['label_clients_measured'] == 2
  assert json.loads(json.dumps(entry)) == entry


def test_divergence_equals_scipys():
  generator = np.random.default_rng(0)
  y = generator.integers(0, 7, 300)
  offsets = np.array([0, 5, 6, 100, 180, 300])
  common = np.bincount(y, minlength=7) / 300
  own = [np.bincount(part, minlength=7) / len(part) for part in np.split(y, offsets[1:-1])]
  expected = [scipy.spatial.distance.jensenshannon(p, common, base=2) ** 2 for p in own]
  entry = passport(_clients(y, offsets), Problem.CLASSIFICATION)
  assert entry['label_js_divergence_mean'] == pytest.approx(np.mean(expected), abs=1e-12)
  distances = [np.abs(p - common).sum() for p in own]
  assert entry['label_emd_mean'] == pytest.approx(np.mean(distances), abs=1e-12)


def test_clients_alike_have_no_skew():
  entry = passport(_clients([0, 1, 2] * 10, np.arange(0, 31, 3)), Problem.CLASSIFICATION)
  assert entry['label_js_divergence_mean'] == pytest.approx(0, abs=1e-12)
  assert entry['label_emd_mean'] == pytest.approx(0, abs=1e-12)
  assert entry['examples_gini'] == 0


def test_clients_without_examples_count_for_sizes_only():
  entry = passport(_clients([0, 1], [0, 1, 1, 2]), Problem.CLASSIFICATION)
  assert entry['examples_min'] == 0
  assert entry['label_emd_mean'] == pytest.approx(1.0)


def test_numbers_have_no_label_skew():
  entry = passport(_clients(np.float32([0.5, 1, 2]), [0, 1, 3]), Problem.REGRESSION)
  assert entry['label_js_divergence_mean'] is None
  assert entry['label_emd_mean'] is None
  assert entry['label_clients_measured'] == 0


def test_padding_is_not_a_token():
  y = [[1, 2, 0, 0], [1, 2, 1, 2]]
  entry = passport(_clients(y, [0, 1, 2]), Problem.NEXT_TOKEN)
  assert entry['label_emd_mean'] == pytest.approx(0)


@pytest.mark.parametrize(
  ('sizes', 'expected'), [([1, 1, 1], 0), ([0, 0, 4], 2 / 3), ([1, 3], 0.25), ([0, 0], 0)]
)
def test_gini(sizes, expected):
  assert gini(np.array(sizes)) == pytest.approx(expected)


def test_hash_tells_splits_apart():
  base = partition_hash(_clients([0, 1, 1, 0], [0, 2, 4]))
  assert base == partition_hash(_clients([0, 1, 1, 0], [0, 2, 4]))
  others = [
    _clients([0, 1, 1, 0], [0, 1, 4]),
    _clients([1, 0, 1, 0], [0, 2, 4]),
    _clients([0, 1, 1, 0], [0, 2, 4], x=np.float32([[1], [0], [2], [3]])),
    _clients([0, 1, 1, 0], [0, 2, 4], ids=['a', 'b']),
  ]
  assert len({base, *map(partition_hash, others)}) == 5
  assert len(base) == 64


def test_hash_of_clients_read_one_by_one():
  clients = _clients([0, 1, 1, 0], [0, 2, 4])
  first = partition_hash(_OnDemand(clients))
  assert first == partition_hash(_OnDemand(clients))
  assert first != partition_hash(_OnDemand(_clients([0, 1, 0, 1], [0, 2, 4])))


def test_large_sets_on_demand_are_sampled():
  labels = np.random.default_rng(0).integers(0, 10, 40_000)
  clients = _OnDemand(_clients(labels, np.arange(0, 40_001, 2)))
  entry = passport(clients, Problem.CLASSIFICATION)
  assert entry['clients'] == 20_000
  assert entry['examples_total'] == 40_000
  assert entry['label_clients_measured'] == 1_000
  assert clients.reads == 2_000
  everyone = passport(clients.clients, Problem.CLASSIFICATION)
  assert everyone['label_clients_measured'] == 20_000
  assert entry['label_emd_mean'] == pytest.approx(everyone['label_emd_mean'], rel=0.02)
  assert passport(clients, Problem.CLASSIFICATION) == entry


def test_large_labels_in_memory_are_sampled(monkeypatch):
  monkeypatch.setattr(passport_lib, '_READ_ALL_LABELS', 3_000)
  entry = passport(_clients(np.arange(4_000) % 3, np.arange(0, 4_001, 2)), Problem.CLASSIFICATION)
  assert entry['label_clients_measured'] == 1_000


def test_fast_for_100_000_clients():
  generator = np.random.default_rng(0)
  y = generator.integers(0, 62, 2_000_000).astype(np.int32)
  clients = _clients(y, np.arange(100_001) * 20)
  start = time.process_time()
  entry = passport(clients, Problem.CLASSIFICATION)
  # It takes under a second.
  assert time.process_time() - start < slow_machines.seconds(3)
  assert entry['clients'] == 100_000
