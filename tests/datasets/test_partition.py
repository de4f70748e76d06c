"""Tests of dealing pools out to clients: properties of all schemes, then each one's own law."""

import hypothesis
from hypothesis import strategies
import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets.federated_data import (
  ContiguousClients,
  DatasetOptions,
  PooledData,
  Problem,
)
from fl_research.datasets.label_counts import label_counts
from fl_research.datasets.partition import partition, partition_test, SCHEMES
from fl_research.registry import UsageError
from tests import forked
from tests.datasets import real_data


def _pool(labels, num_classes=None) -> PooledData:
  """Examples whose x is their row, so that each can be followed."""
  y = np.asarray(labels, np.int32)
  x = np.arange(len(y), dtype=np.float32)[:, np.newaxis]
  examples = {'x': x, 'y': y}
  classes = num_classes or int(y.max()) + 1
  return PooledData(examples, examples, Problem.CLASSIFICATION, classes, coarse_labels=y // 2)


def _balanced(num_examples=6000, num_classes=10) -> PooledData:
  return _pool(np.random.default_rng(0).permutation(np.arange(num_examples) % num_classes))


def _rows(clients) -> list[list[int]]:
  return [clients.examples(k)['x'][:, 0].astype(int).tolist() for k in range(len(clients))]


def _counts(clients) -> np.ndarray:
  return label_counts(clients, Problem.CLASSIFICATION).toarray()


@strategies.composite
def _cases(draw):
  labels = draw(strategies.lists(strategies.integers(0, 6), min_size=1, max_size=80))
  scheme = draw(strategies.sampled_from(sorted(SCHEMES)))
  num_clients = draw(strategies.integers(1, len(labels)))
  parameters = {
    'alpha': draw(strategies.sampled_from([1e-3, 0.1, 1.0, 100.0])),
    'shards_per_client': draw(strategies.integers(1, 3)),
    'labels_per_client': draw(strategies.integers(1, 4)),
    'similarity': draw(strategies.floats(0, 1)),
    'sigma': draw(strategies.floats(0, 1000)),
    'power': draw(strategies.floats(0, 10)),
    'noise': 0.0,
  }
  chosen = {name: parameters[name] for name in SCHEMES[scheme].hyperparameters}
  return labels, scheme, num_clients, draw(strategies.integers(0, 2**40)), chosen


@hypothesis.given(_cases())
@hypothesis.settings(deadline=None, max_examples=400)
def test_every_example_has_one_owner(case):
  labels, scheme, num_clients, seed, parameters = case
  pool = _pool(labels)
  try:
    clients = partition(pool, scheme, num_clients, seed, **parameters)
  except UsageError as error:
    # The only splits that cannot be had: too many shards, or labels that cannot all be held.
    assert scheme in ('shards', 'labels'), error
    assert '--partition_' in str(error) and '\n' not in str(error)
    return
  rows = _rows(clients)
  assert len(rows) == num_clients
  assert sorted(row for own in rows for row in own) == list(range(len(labels)))
  assert min(clients.sizes) >= 1
  for position in range(num_clients):
    own = clients.examples(position)
    np.testing.assert_array_equal(own['y'], pool.train['y'][rows[position]])
  assert _rows(partition(pool, scheme, num_clients, seed, **parameters)) == rows
  test = partition_test(clients, pool.test, Problem.CLASSIFICATION, scheme, seed, **parameters)
  assert list(test.ids) == list(clients.ids)
  # The test pool being the training pool, every client is tested on as many of each label.
  np.testing.assert_array_equal(_counts(test), _counts(clients))


@pytest.mark.parametrize('scheme', sorted(SCHEMES))
def test_seeds_differ(scheme):
  pool = _balanced(600)
  first, second = (_rows(partition(pool, scheme, 10, seed)) for seed in (1, 2))
  assert first != second


def test_iid_sizes_and_labels():
  clients = partition(_balanced(), 'iid', 7, 3)
  assert sorted(clients.sizes.tolist()) == [857] * 6 + [858]
  # 600 of each label over 7 clients: 85.7 expected, standard deviation 8.6.
  assert np.abs(_counts(clients) - 6000 / 70).max() < 5 * 8.6


@pytest.mark.parametrize('share', [0.0, 0.1, 1.0])
def test_similarity_of_scaffold(share):
  clients = partition(_balanced(), 'similarity', 20, 1, similarity=share)
  counts = _counts(clients)
  assert clients.sizes.tolist() == [300] * 20
  # Sorted by label, what is not IID is of one label, or of two where the cut falls between them:
  # without an IID part every label of 600 fills two clients.
  assert np.sum(counts > 0) == 20 if share == 0 else np.sum(counts > 0) > 100
  # 30 IID examples per label and client are expected at s = 1, standard deviation 5.2; else share
  # times as many, beside the labels of the sorted part.
  iid = np.sort(counts, axis=1)[:, :8]
  assert abs(iid.mean() - 30 * share) < 3
  assert (counts.max(axis=1) > 120).all() == (share < 1)


def test_shards_of_mcmahan():
  clients = partition(_balanced(), 'shards', 10, 1, shards_per_client=2)
  counts = _counts(clients)
  # 20 shards of 300 and 600 examples of each label: each shard has one label.
  assert clients.sizes.tolist() == [600] * 10
  assert set(counts.ravel().tolist()) <= {0, 300, 600}
  sorted_rows = np.argsort(_balanced().train['y'], kind='stable').reshape(20, 300)
  expected = {tuple(sorted(shard)) for shard in sorted_rows.tolist()}
  for own in _rows(clients):
    assert sum(set(shard) <= set(own) for shard in expected) == 2


def test_shards_of_mnist():
  forked.check(_check_shards_of_mnist, real_data.require('mnist'))


def _check_shards_of_mnist(folder):
  pool = tasks.load('mnist', DatasetOptions(folder))
  clients = partition(pool, 'shards', 100, 1)
  assert clients.sizes.tolist() == [600] * 100
  labels_held = (_counts(clients) > 0).sum(axis=1)
  # A shard of 300 crosses at most one border between digits, so a client has 1 to 4 of them.
  assert labels_held.max() <= 4
  assert np.mean(labels_held <= 2) > 0.8
  test = partition_test(clients, pool.test, pool.problem, 'shards', 1)
  assert test.sizes.sum() == 10_000
  train_share = _counts(clients) / 600
  test_share = _counts(test) / test.sizes[:, np.newaxis]
  assert np.abs(train_share - test_share).max() < 0.06


def test_dirichlet_sizes_are_equal_and_alpha_rules_the_skew():
  skew = {}
  for alpha in (0.01, 1.0, 1000.0):
    clients = partition(_balanced(), 'dirichlet', 20, 5, alpha=alpha)
    assert clients.sizes.tolist() == [300] * 20
    skew[alpha] = np.abs(_counts(clients) / 300 - 0.1).sum(axis=1).mean()
  assert skew[0.01] > 1.4  # one label only would be 1.8
  assert skew[0.01] > skew[1.0] > skew[1000.0]
  assert skew[1000.0] < 0.2


def test_dirichlet_follows_its_law():
  """The second moment of a Dirichlet(1/2, ..., 1/2) over 4 labels, far from exhaustion."""
  pool = _pool(np.arange(400_000) % 4)
  clients = partition(pool, 'dirichlet', 4000, 1, alpha=0.5)
  shares = _counts(clients)[:2000] / 100
  # q ~ Dir(a, ...), a = 1/2, of sum 2: E q = 1/4, Var q = q (1 - q) / 3; multinomial of 100 draws.
  variance = 0.25 * 0.75 / 3
  expected = variance + (0.25 * 0.75 - variance) / 100
  assert shares.mean(axis=0) == pytest.approx([0.25] * 4, abs=0.02)
  assert shares.var(axis=0) == pytest.approx([expected] * 4, rel=0.08)


def test_dirichlet_uses_the_labels_prior():
  labels = np.repeat([0, 1], [9000, 1000])
  clients = partition(_pool(labels), 'dirichlet', 10, 1, alpha=1e6)
  # All but the last, which gets what is left.
  np.testing.assert_allclose(_counts(clients)[:-1, 1], 100, atol=40)


def test_label_dirichlet_sizes_differ_but_have_a_floor():
  clients = partition(_balanced(), 'label_dirichlet', 20, 1, alpha=0.5)
  assert clients.sizes.min() >= 10
  assert clients.sizes.max() > 1.3 * clients.sizes.min()


def test_label_dirichlet_gives_full_clients_no_more_labels():
  pool = _pool(np.arange(600) % 6)
  for seed in range(10):
    sizes = partition(pool, 'label_dirichlet', 3, seed, alpha=0.1).sizes
    # Below the even share of 200 when it last got a label, of which there are 100.
    assert sizes.max() < 300


def test_label_dirichlet_with_a_tiny_alpha_tops_clients_up():
  clients = partition(_balanced(), 'label_dirichlet', 300, 1, alpha=0.01)
  assert clients.sizes.sum() == 6000
  assert clients.sizes.min() == 10  # half of an even share of 20


def test_labels_per_client():
  clients = partition(_balanced(), 'labels', 20, 1, labels_per_client=3)
  counts = _counts(clients)
  assert ((counts > 0).sum(axis=1) == 3).all()
  for client in range(20):
    assert counts[client, client % 10] > 0
  for label in range(10):
    held = counts[:, label][counts[:, label] > 0]
    assert held.sum() == 600
    assert held.max() - held.min() <= 1


def test_labels_with_fewer_clients_than_labels():
  clients = partition(_balanced(), 'labels', 4, 1, labels_per_client=3)
  assert (_counts(clients).sum(axis=0) == 600).all()
  assert ((_counts(clients) > 0).sum(axis=1) == 3).all()


def test_labels_rarer_than_their_holders():
  labels = np.repeat([0, 1], [50, 2])
  clients = partition(_pool(labels), 'labels', 10, 1, labels_per_client=1)
  # Five clients have the label of which there are two examples: three of them get one of the rest.
  assert sorted(clients.sizes.tolist()) == [1] * 5 + [9] * 3 + [10] * 2


def test_quantity_power_law():
  sizes = np.sort(partition(_balanced(), 'quantity', 10, 1, power=1.0).sizes)[::-1]
  expected = 1 + 5990 / np.arange(1, 11) / np.sum(1 / np.arange(1, 11))
  assert np.abs(sizes - expected).max() <= 1


def test_quantity_log_normal():
  pool = _balanced(100_000)
  sizes = partition(pool, 'quantity', 500, 1, sigma=1.0).sizes
  # exp(z) has mean sqrt(e): the logarithms of sizes scatter with sigma around their centre.
  assert np.log(sizes).std() == pytest.approx(1.0, abs=0.12)
  assert np.log(sizes).mean() == pytest.approx(np.log(200) - 0.5, abs=0.2)
  assert np.unique(partition(pool, 'quantity', 500, 1, sigma=0.0).sizes).tolist() == [200]


def test_feature_noise_grows_with_the_client():
  images = {
    'x': np.zeros((5000, 40), np.float32), 'y': np.zeros(5000, np.int32),
  }  # fmt: skip
  clients = partition(images, 'feature_noise', 5, 1, noise=0.4)
  spread = [clients.examples(k)['x'].std() for k in range(5)]
  assert spread == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], rel=0.03)
  assert clients.examples(4)['x'].dtype == np.float32
  correlation = np.corrcoef(clients.examples(3)['x'].ravel(), clients.examples(4)['x'].ravel())
  assert abs(correlation[0, 1]) < 0.03
  assert images['x'].max() == 0  # the pool itself is left alone
  test = partition_test(clients, images, Problem.CLASSIFICATION, 'feature_noise', 1, noise=0.4)
  assert test.examples(2)['x'].std() == pytest.approx(0.2, rel=0.03)
  assert not np.array_equal(test.examples(2)['x'], clients.examples(2)['x'])


def test_pachinko_concentrates_on_coarse_labels():
  """As TFF's CIFAR-100: 100 labels in 20 groups, alpha 0.1, fine labels even within a group."""
  labels = np.repeat(np.arange(100), 500)
  pool = PooledData(_pool(labels).train, {}, Problem.CLASSIFICATION, 100, coarse_labels=labels // 5)
  clients = partition(pool, 'pachinko', 500, 1, alpha=0.1)
  assert clients.sizes.tolist() == [100] * 500
  counts = _counts(clients)
  assert (counts.sum(axis=0) == 500).all()
  coarse = counts.reshape(500, 20, 5).sum(axis=2)
  early = coarse[:200]  # before labels run out
  assert np.median((early >= 5).sum(axis=1)) <= 4
  # Within a group where a client has many examples, Dir(10) spreads them over all five labels.
  biggest = counts[:200].reshape(200, 20, 5)[np.arange(200), early.argmax(axis=1)]
  assert np.mean((biggest > 0).sum(axis=1)) > 4.7


def test_pachinko_needs_superclasses():
  with pytest.raises(UsageError, match='--partition=pachinko: the data set has no superclasses'):
    partition(_pool([0, 1]).train, 'pachinko', 2, 1)


def test_test_labels_unseen_in_training_go_by_size():
  train = {'x': np.zeros((30, 1)), 'y': np.zeros(30, np.int32)}
  clients = ContiguousClients(train, np.array([0, 10, 30]))
  test = {'x': np.zeros((90, 1)), 'y': np.full(90, 3, np.int32)}
  dealt = partition_test(clients, test, Problem.CLASSIFICATION, 'iid', 1)
  assert dealt.sizes.tolist() == [30, 60]


def test_test_examples_without_classes_go_by_size():
  train = {'x': np.zeros((40, 1)), 'y': np.zeros(40, np.float32)}
  clients = ContiguousClients(train, np.array([0, 10, 40]))
  test = {'x': np.zeros((8, 1)), 'y': np.linspace(0, 1, 8, dtype=np.float32)}
  dealt = partition_test(clients, test, Problem.REGRESSION, 'iid', 1)
  assert dealt.sizes.tolist() == [2, 6]


@pytest.mark.parametrize(
  ('scheme', 'num_clients', 'parameters', 'message'),
  [
    ('shard', 2, {}, '--partition=shard: unknown (did you mean shards?)'),
    ('iid', 0, {}, '--num_clients=0: the data set has 60 training examples'),
    ('iid', 61, {}, '--num_clients=61: the data set has 60 training examples'),
    ('iid', 2, {'alpha': 1.0}, '--partition_alpha=1.0: --partition=iid has no such parameter'),
    ('dirichlet', 2, {'alpha': 0.0}, '--partition_alpha=0.0: accepted is a number above 0'),
    ('dirichlet', 2, {'alpha': float('nan')}, '--partition_alpha=nan: accepted is'),
    ('shards', 2, {'shards_per_client': 0}, '--partition_shards_per_client=0: accepted is'),
    ('shards', 10, {'shards_per_client': 7}, '--partition_shards_per_client=7: 10 clients'),
    ('labels', 2, {'labels_per_client': 11}, '--partition_labels_per_client=11: 2 clients need'),
    ('labels', 2, {'labels_per_client': 2}, 'from 5 to 10 labels each'),
    ('quantity', 2, {'sigma': -1.0}, '--partition_sigma=-1.0: accepted is'),
    ('quantity', 2, {'power': float('inf')}, '--partition_power=inf: accepted is'),
    ('feature_noise', 2, {'noise': -0.5}, '--partition_noise=-0.5: accepted is'),
  ],
)
def test_bad_requests(scheme, num_clients, parameters, message):
  with pytest.raises(UsageError) as caught:
    partition(_balanced(60), scheme, num_clients, 1, **parameters)
  assert message in str(caught.value)
  assert '\n' not in str(caught.value)


def test_schemes_that_need_classes_or_numbers():
  ratings = {'x': np.zeros((4, 2), np.int32), 'y': np.zeros(4, np.float32)}
  with pytest.raises(UsageError, match='--partition=dirichlet: needs one class per example'):
    partition(ratings, 'dirichlet', 2, 1)
  with pytest.raises(UsageError, match='--partition=feature_noise: x of this data set'):
    partition(ratings, 'feature_noise', 2, 1)
  assert partition(ratings, 'iid', 2, 1).sizes.tolist() == [2, 2]
