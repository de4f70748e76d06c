import os
import pickle
import time
import zipfile

import numpy as np
import pytest

from fl_research.datasets import npz
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.registry import UsageError
from tests import slow_machines
from tests.datasets import dataset_checks as checks

SIZES = {'ann': 10, 'bob': 1, 'cyd': 25}


def client(rows: int, offset=0, **changes) -> dict[str, np.ndarray]:
  """Arrays of one client: x tells its row, y runs through three classes."""
  x = offset + np.arange(rows * 4, dtype=np.float64).reshape(rows, 4)
  return {'x': x, 'y': np.arange(rows) % 3, **changes}


@pytest.fixture
def folder(tmp_path):
  """Writes clients by name into a folder and returns the options that open it."""

  def write(clients: dict[str, dict], save=np.savez, **changes) -> DatasetOptions:
    for name, arrays in clients.items():
      save(tmp_path / f'{name}.npz', **arrays)
    return DatasetOptions(data_dir='', data_file=str(tmp_path), **changes)

  return write


def everyone(**changes) -> dict[str, dict]:
  return {name: client(rows, 1000 * k) for k, (name, rows) in enumerate(SIZES.items())} | changes


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_clients_are_files_and_a_fifth_of_their_rows_is_test(folder, save):
  data = npz.load(folder(everyone(), save))
  checks.assert_form(data, [4], np.float32, [], np.int32)
  assert (data.problem, data.num_classes) == (Problem.CLASSIFICATION, 3)
  assert list(data.train.ids) == ['ann', 'bob', 'cyd']
  assert data.train.sizes.tolist() == [8, 1, 20]
  assert list(data.test_clients.ids) == ['ann', 'cyd']
  assert data.test_clients.sizes.tolist() == [2, 5]
  for k, position in enumerate((0, 2)):
    parts = data.train.examples(position), data.test_clients.examples(k)
    x = np.concatenate([part['x'] for part in parts])
    y = np.concatenate([part['y'] for part in parts])
    order = np.argsort(x[:, 0])
    original = client(len(x), 1000 * position)
    np.testing.assert_array_equal(x[order], original['x'])
    np.testing.assert_array_equal(y[order], original['y'])


def test_the_seed_decides_the_split_and_reading_twice_gives_the_same(folder):
  options = folder(everyone())
  first, again = npz.load(options), npz.load(options)
  np.testing.assert_array_equal(first.test['x'], again.test['x'])
  np.testing.assert_array_equal(first.train.examples(2)['x'], first.train.examples(2)['x'])
  other = npz.load(DatasetOptions(data_dir='', data_file=options.data_file, seed=1))
  assert not np.array_equal(first.test['x'], other.test['x'])


def test_own_test_examples_are_used_where_there_are_some(folder):
  tested = client(10, x_test=np.full((3, 4), 7.0), y_test=np.array([0, 4, 1]))
  data = npz.load(folder(everyone(ann=tested)))
  assert data.train.sizes.tolist() == [10, 1, 25]
  assert list(data.test_clients.ids) == ['ann']
  assert data.num_classes == 5
  np.testing.assert_array_equal(data.test['x'], np.full((3, 4), 7))
  assert data.test['y'].tolist() == [0, 4, 1]


def rows(values, kind):
  return np.asarray(values, kind)


@pytest.mark.parametrize(
  'y, problem, classes, kind',
  [
    (rows([0, 1, 1, 0, 1], np.int64), Problem.BINARY, 2, np.int32),
    (rows([False, True] * 3, bool)[:5], Problem.BINARY, 2, np.int32),
    (rows([0, 9, 1, 0, 1], np.uint8), Problem.CLASSIFICATION, 10, np.int32),
    (rows([[1, 2, 0]] * 4 + [[3, 4, 5]], np.int16), Problem.NEXT_TOKEN, 6, np.int32),
    (rows([0.5, 2, 3, -1, 0], np.float64), Problem.REGRESSION, 1, np.float32),
    (rows([[0, 1, 1]] * 5, np.float32), Problem.MULTILABEL, 3, np.float32),
  ],
)
def test_what_is_predicted_follows_from_y(folder, y, problem, classes, kind):
  x = np.arange(15, dtype=np.uint8).reshape(5, 3)
  data = npz.load(folder({'ann': {'x': x, 'y': y}}))
  assert (data.problem, data.num_classes) == (problem, classes)
  tokens = problem is Problem.NEXT_TOKEN
  checks.assert_form(data, [3], np.int32 if tokens else np.float32, y.shape[1:], kind)


def test_column_major_arrays_keep_their_values(folder):
  arrays = client(10)
  data = npz.load(folder({'ann': {**arrays, 'x': np.asfortranarray(arrays['x'])}}))
  pool = np.concatenate([data.train.examples(0)['x'], data.test['x']])
  np.testing.assert_array_equal(pool[np.argsort(pool[:, 0])], arrays['x'])


def test_files_too_large_to_be_read_whole(folder, monkeypatch):
  monkeypatch.setattr(npz, '_SMALL', 64)
  test_clients_are_files_and_a_fifth_of_their_rows_is_test(folder, np.savez)


def test_opening_reads_no_x_of_a_large_folder(folder, monkeypatch):
  options = folder(everyone(cyd=client(25, x=np.full((25, 4), np.nan))))
  monkeypatch.setattr(npz, '_CHECKED_BYTES', 0)
  data = npz.load(options)
  assert data.train.examples(0)['x'].shape == (8, 4)
  with checks.one_line_error('cyd.npz', 'x holds NaN or infinity in row 1'):
    data.train.examples(2)


def test_a_file_that_changes_after_opening_is_noticed(folder):
  data = npz.load(folder(everyone()))
  folder(everyone(cyd=client(24)))
  with checks.one_line_error('cyd.npz', 'has changed since it was opened'):
    data.train.examples(2)
  os.remove(os.path.join(data.train._folder.path, 'ann.npz'))
  with checks.one_line_error('ann.npz', 'not readable'):
    data.train.examples(0)


def test_the_manifest_entry_follows_the_content(folder):
  options = folder(everyone())
  first = npz.load(options).sources
  assert first == npz.load(options).sources and len(first) == 1
  folder(everyone(cyd=client(25, offset=1)))
  assert npz.load(options).sources.keys() == first.keys()
  assert npz.load(options).sources != first


def one_bad(name='x', rows=25, **changes):
  return everyone(cyd=client(rows, **changes))


WRONG = {
  'no y': ({'ann': {'x': np.ones(3)}}, ['ann.npz', 'no array y', '(it has x)']),
  'no arrays named': ({'ann': {'a': np.ones(3)}}, ['ann.npz', 'no array x', '(it has a)']),
  'no x later': (everyone(cyd={'y': np.arange(3)}), ['cyd.npz', 'no array x']),
  'rows': (one_bad(y=np.arange(24) % 3), ['cyd.npz', 'x has 25 rows, y 24']),
  'shape': (one_bad(x=np.ones((25, 5))), ['cyd.npz', 'float64 [n, 5]', 'x of ann.npz']),
  'dtype': (one_bad(x=np.ones((25, 4), np.float32)), ['cyd.npz', 'float32 [n, 4]', 'float64']),
  'label type': (one_bad(y=np.ones(25)), ['cyd.npz', 'y is float64 [n]', 'int64 [n]']),
  'NaN': (one_bad(x=np.where(np.eye(25, 4) > 0, np.nan, 0)), ['cyd.npz', 'x', 'NaN', 'row 1']),
  'infinite label': (
    {'ann': {'x': np.ones((3, 1)), 'y': np.array([1.0, 2.0, np.inf])}},
    ['ann.npz', 'y holds NaN or infinity in row 3'],
  ),
  'objects': (
    {'ann': {'x': np.array([{}, []], object), 'y': np.arange(2)}},
    ['ann.npz', 'x holds Python objects, which are never loaded'],
  ),
  'object labels': (one_bad(y=np.array([None] * 25)), ['cyd.npz', 'y holds Python objects']),
  'text': (one_bad(y=np.array(['a'] * 25)), ['cyd.npz', 'y holds <U1 values']),
  'negative': (one_bad(y=np.arange(25) - 1), ['cyd.npz', 'y holds the label -1']),
  'huge label': (one_bad(y=np.arange(25) + 2**40), ['cyd.npz', f'the label {2**40 + 24}']),
  'scalar': ({'ann': {'x': np.float64(3), 'y': np.arange(1)}}, ['ann.npz', 'x is a single number']),
  'no rows': (one_bad(rows=0), ['cyd.npz', 'holds no examples']),
  'half a test pair': (one_bad(x_test=np.ones((2, 4))), ['cyd.npz', 'has x_test but no y_test']),
  'test shape': (
    one_bad(x_test=np.ones((2, 3)), y_test=np.arange(2)),
    ['cyd.npz', 'x_test is float64 [n, 3]'],
  ),
  'one label': ({'ann': client(5, y=np.ones(5, int))}, ['--data_file=', 'every label', 'is 1']),
  'labels in 3 axes': (
    {'ann': {'x': np.ones(4), 'y': np.arange(8).reshape(4, 2, 1)}},
    ['--data_file=', 'y is int64 [n, 2, 1]'],
  ),
  'nothing to test on': (
    {'ann': client(1), 'bob': client(1, y=np.ones(1, int))},
    ['--data_file=', 'no client has test examples'],
  ),
}


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('case', WRONG)
def test_unusable_arrays(folder, case, save):
  clients, parts = WRONG[case]
  with checks.one_line_error(*parts):
    npz.load(folder(clients, save))


def test_unusable_folders(tmp_path):
  with checks.one_line_error('--data_file is missing'):
    npz.load(DatasetOptions(data_dir=''))
  with checks.one_line_error('--data_file=', 'no .npz file in it'):
    npz.load(DatasetOptions(data_dir='', data_file=str(tmp_path)))
  with checks.one_line_error('--data_file=', 'no such folder'):
    npz.load(DatasetOptions(data_dir='', data_file=str(tmp_path / 'absent')))
  (tmp_path / 'file.npz').write_bytes(b'')
  with checks.one_line_error('--data_file=', 'is a file'):
    npz.load(DatasetOptions(data_dir='', data_file=str(tmp_path / 'file.npz')))
  with checks.one_line_error('file.npz', 'damaged'):
    npz.load(DatasetOptions(data_dir='', data_file=str(tmp_path)))


class _Bomb:
  """Unpickling this would make a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (self.path, 'w')


def test_nothing_is_ever_unpickled(folder, tmp_path):
  mark = str(tmp_path / 'unpickled')
  options = folder({'ann': {'x': np.array([_Bomb(mark)], object), 'y': np.arange(1)}})
  with checks.one_line_error('ann.npz', 'never loaded'):
    npz.load(options)
  with zipfile.ZipFile(tmp_path / 'ann.npz', 'w') as archive:
    archive.writestr('x.npy', pickle.dumps(_Bomb(mark)))
  with checks.one_line_error('ann.npz', 'damaged'):
    npz.load(options)
  assert not os.path.exists(mark)


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
def test_damaged_files_are_refused_or_read_as_they_were(folder, tmp_path, save):
  options = folder({'ann': client(20, x=np.random.default_rng(0).normal(size=(20, 4)))}, save)
  path = tmp_path / 'ann.npz'
  sound = path.read_bytes()
  stated = npz.load(options).train.examples(0)['x']
  rng = np.random.default_rng(1)
  refused = 0
  for case in range(200):
    damaged = bytearray(sound)
    if case % 2:
      damaged[rng.integers(len(sound))] ^= 1 << int(rng.integers(8))
    else:
      damaged = damaged[: rng.integers(len(sound))]
    path.write_bytes(damaged)
    try:
      found = npz.load(options).train.examples(0)['x']
    except UsageError as error:
      refused += 1
      assert 'ann.npz' in str(error) and len(str(error).splitlines()) == 1
    else:
      np.testing.assert_array_equal(found, stated)
  assert refused > 120


def test_opening_time_grows_by_microseconds_per_client(folder, tmp_path):
  options = folder({'c00000': client(5)})
  content = (tmp_path / 'c00000.npz').read_bytes()
  for k in range(1, 10_000):
    (tmp_path / f'c{k:05d}.npz').write_bytes(content)
  start = time.process_time()
  data = npz.load(options)
  # Measured: 17 microseconds per client; five times that is still no mistake of the machine.
  assert time.process_time() - start < slow_machines.seconds(0.9)
  assert len(data.train) == 10_000 and data.train.examples(9_999)['x'].shape == (4, 4)
