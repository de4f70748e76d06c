"""One .npz file, IDX, LEAF's JSON, TFF's HDF5 and SQLite."""

import itertools
import json

import numpy as np
import pytest

from fl_research.datasets.federated_data import DatasetOptions, PooledData, Problem
from fl_research.importing import idx_files, leaf, npz_files, tff_files
from tests.datasets import dataset_checks as checks
from tests.importing import made


def options(path, **changes):
  return DatasetOptions(data_dir='', data_file=str(path), **changes)


def test_one_npz_file_with_all_clients(tmp_path):
  path = made.one_npz(tmp_path / 'all.npz', client_names=np.array(['ann', 'bob']))
  data = npz_files.load(options(path))
  checks.assert_form(data, [2], np.float32, [], np.int32)
  assert list(data.train.ids) == ['ann', 'bob'] and data.train.sizes.tolist() == [8, 8]
  assert set(data.train.examples(1)['x'][:, 0]) < set(range(20, 40, 2))
  assert npz_files.load(options(tmp_path)).train.ids == ['ann', 'bob']


def test_one_npz_file_with_other_names(tmp_path):
  who = np.array(['n', 's'] * 10)
  test = np.arange(20) >= 16
  path = made.one_npz(tmp_path / 'a.npz', client=None, region=who, is_test=test, z=np.arange(20.0))
  with checks.one_line_error('no array is called client', '--client_column'):
    npz_files.load(options(path))
  data = npz_files.load(options(path, client_column='region', label_column='z'))
  assert data.problem is Problem.REGRESSION and data.test_clients.sizes.tolist() == [2, 2]
  assert sorted(data.test['y']) == [16, 17, 18, 19]


def test_pictures_of_bytes_and_tags_of_whole_numbers(tmp_path):
  x = np.full((20, 8, 8), 51, np.uint8)
  tags = np.eye(4, dtype=np.int64)[np.arange(20) % 4]
  data = npz_files.load(options(made.one_npz(tmp_path / 'a.npz', x=x, y=tags)))
  checks.assert_form(data, [8, 8, 1], np.float32, [4], np.float32)
  assert data.problem is Problem.MULTILABEL and data.train.examples(0)['x'].max() == np.float32(0.2)
  folder = made.npz_clients(tmp_path / 'folder', x=np.repeat(x[:10, ..., None], 3, 3), y=tags[:10])
  data = npz_files.load(options(folder))
  checks.assert_form(data, [8, 8, 3], np.float32, [4], np.float32)
  assert data.problem is Problem.MULTILABEL and data.train.examples(0)['x'].max() == np.float32(0.2)


def test_bytes_that_are_no_pictures_stay(tmp_path):
  for x in (np.full((10, 3), 7, np.uint8), np.ones((10, 8, 8), np.uint8)):
    data = npz_files.load(options(made.npz_clients(tmp_path, x=x)))
    assert data.train.examples(0)['x'].max() == x.max() and not data.preprocessing


def test_numbers_know_their_unit(tmp_path):
  y = 3000.0 + np.arange(20)
  one = npz_files.load(options(made.one_npz(tmp_path / 'a.npz', y=y)))
  folder = npz_files.load(options(made.npz_clients(tmp_path / 'folder', rows=20, y=y)))
  users = {'u': {'x': [[1.0]] * 20, 'y': (y + 0.5).tolist()}}
  json_ = leaf.load(options(made.leaf(tmp_path / 'leaf', users)))
  for data in (one, folder, json_):
    labels = data.train.pooled()['y']
    assert data.problem is Problem.REGRESSION and labels.min() >= 3000
    assert data.label_scale.mean == pytest.approx(labels.mean(), rel=1e-6)
    assert data.label_scale.deviation == pytest.approx(labels.std(), rel=1e-4)


def test_several_numbers(tmp_path):
  y = np.stack([3000.0 + np.arange(20), np.linspace(0, 1, 20), np.full(20, 7.0)], axis=1)
  one = npz_files.load(options(made.one_npz(tmp_path / 'a.npz', y=y)))
  folder = npz_files.load(options(made.npz_clients(tmp_path / 'folder', rows=20, y=y)))
  for data in (one, folder):
    assert data.problem is Problem.REGRESSION
    labels = data.train.pooled()['y']
    assert labels.shape[1:] == (3,) and labels.dtype == np.float32
    np.testing.assert_allclose(data.label_scale.mean, labels.mean(axis=0), rtol=1e-5)
    expected = [*labels.std(axis=0)[:2], 1.0]
    np.testing.assert_allclose(data.label_scale.deviation, expected, rtol=1e-4)


def test_idx_files_are_dealt_out(tmp_path):
  made.idx_folder(tmp_path)
  data = idx_files.load(options(tmp_path))
  assert isinstance(data, PooledData) and data.num_classes == 4
  assert data.train['x'].shape == (16, 5, 4, 1) and data.train['x'].max() <= 1
  made.idx(tmp_path / 'kanji-test-images', np.zeros((3, 5, 4), np.uint8))
  made.idx(tmp_path / 'kanji-test-labels', np.array([0, 5, 1], np.uint8))
  data = idx_files.load(options(tmp_path))
  assert len(data.train['y']) == 20 and data.test['y'].tolist() == [0, 5, 1]
  assert data.num_classes == 6


@pytest.mark.parametrize('kind', ['i1', 'i2', 'i4', 'f4', 'f8'])
def test_idx_of_any_type(tmp_path, kind):
  x = made.generator().integers(-50, 50, (6, 3)).astype(kind)
  made.idx(tmp_path / 'x.idx', x)
  made.idx(tmp_path / 'y.idx', np.arange(6, dtype=np.uint8) % 2)
  data = idx_files.load(options(tmp_path))
  rows = {tuple(row) for row in np.concatenate([data.train['x'], data.test['x']]).tolist()}
  assert rows == {tuple(row) for row in x.astype(np.float32).tolist()}


def test_leaf_vectors(tmp_path):
  data = leaf.load(options(made.leaf(tmp_path)))
  checks.assert_form(data, [3], np.float32, [], np.int32)
  assert list(data.train.ids) == ['u0', 'u1'] and data.train.sizes.tolist() == [5, 3]
  made.leaf(tmp_path, {'u1': {'x': [[9, 9, 9]], 'y': [2]}}, 'test')
  made.leaf(tmp_path, {'u2': {'x': [[8, 8, 8]], 'y': [1]}}, name='all_data_1')
  data = leaf.load(options(tmp_path))
  assert data.train.sizes.tolist() == [6, 4, 1] and list(data.test_clients.ids) == ['u1']
  assert data.test['x'].tolist() == [[9, 9, 9]]
  assert len(data.sources) == 3


def test_leaf_pictures(tmp_path):
  rows = [(np.arange(784) / 783).tolist()] * 4
  users = {'w': {'x': rows, 'y': [0, 61, 1, 2]}}
  data = leaf.load(options(made.leaf(tmp_path, users)))
  assert data.train.examples(0)['x'].shape == (3, 28, 28, 1) and data.num_classes == 62
  assert data.train.examples(0)['x'].max() == 1


def test_leaf_lines_score_the_character_after_them(tmp_path):
  text = 'to be or not'
  lines = [text[k : k + 5] for k in range(7)]
  users = {'R': {'x': lines, 'y': [text[k + 5] for k in range(7)]}}
  made.leaf(tmp_path, users)
  made.leaf(tmp_path, {'R': {'x': ['ot to'], 'y': ['!']}}, 'test')
  data = leaf.load(options(tmp_path))
  vocabulary = data.preprocessing['vocabulary']
  examples = data.train.examples(0)
  read = lambda row: ''.join(vocabulary[k - 1] for k in row)
  assert [read(row) for row in examples['x']] == lines
  assert read(examples['y'][:, -1]) == text[5:] and not examples['y'][:, :-1].any()
  assert data.test['y'][0, -1] == len(vocabulary) + 1  # unknown in training


@pytest.mark.parametrize('chunk', [1, 3, 64])
def test_leaf_files_are_read_in_any_pieces(tmp_path, monkeypatch, chunk):
  made.leaf(tmp_path)
  expected = leaf.load(options(tmp_path)).train.pooled()
  monkeypatch.setattr(leaf, '_CHUNK', chunk)
  np.testing.assert_array_equal(leaf.load(options(tmp_path)).train.pooled()['x'], expected['x'])


def test_leaf_keys_in_any_order(tmp_path):
  path = made.leaf(tmp_path) / 'train' / 'all_data_0.json'
  content = json.loads(path.read_text())
  for order in itertools.permutations(content):
    path.write_text(json.dumps({key: content[key] for key in order}, indent=2))
    assert leaf.load(options(tmp_path)).train.sizes.tolist() == [5, 3]


def test_hdf5_pictures(tmp_path):
  client = {'pixels': np.zeros((5, 28, 28), np.float32), 'label': np.arange(5), 'extra': [0] * 5}
  made.hdf5(tmp_path / 'd_train.h5', {'b': client, 'a': client})
  made.hdf5(tmp_path / 'd_test.h5', {'a': {k: v[:2] for k, v in client.items()}})
  source = tff_files.open_source(options(tmp_path))
  assert 'features that are not used: extra' in source.found.notes
  data = tff_files.load(options(tmp_path))
  checks.assert_form(data, [28, 28, 1], np.float32, [], np.int32)
  assert data.train.sizes.tolist() == [5, 5] and data.test_clients.sizes.tolist() == [2]
  assert data.num_classes == 5
  with checks.one_line_error('--label_column=extr', 'did you mean extra?'):
    tff_files.load(options(tmp_path, label_column='extr'))


def test_hdf5_snippets(tmp_path):
  made.hdf5(tmp_path / 'train.h5', {'ROLE': {'snippets': [b'to be', b'or not']}})
  made.hdf5(tmp_path / 'test.h5', {'ROLE': {'snippets': [b'Zounds']}})
  data = tff_files.load(options(tmp_path, sequence_length=4))
  assert data.problem is Problem.NEXT_TOKEN and 'Z' not in data.preprocessing['vocabulary']
  assert data.train.sizes.tolist() == [4] and data.test_clients.sizes.tolist() == [2]


def test_sqlite(tmp_path):
  import fl_research.environment  # noqa: F401  before TensorFlow
  from tests.datasets import tff_database

  example = lambda k: {'image': [k * 50] * 3072, 'label': k, 'coarse_label': 0}
  train = {'c': [example(0), example(1)], 'd': [example(2)]}
  splits = {'train': train, 'test': {'c': [example(3)]}}
  tff_database.write(tmp_path / 'cifar.sqlite', splits)
  data = tff_files.load(options(tmp_path / 'cifar.sqlite'))
  checks.assert_form(data, [32, 32, 3], np.float32, [], np.int32)
  assert data.train.sizes.tolist() == [2, 1] and data.test['y'].tolist() == [3]
  assert data.test['x'].max() == np.float32(150 / 255)
