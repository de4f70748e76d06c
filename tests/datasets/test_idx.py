"""Tests of the IDX format on files made here."""

import gzip
import hashlib
import pathlib
import struct

import numpy as np
import pytest

from fl_research.datasets import idx
from fl_research.datasets.federated_data import Problem
from fl_research.registry import UsageError

_URL = 'http://127.0.0.1:1/'  # nothing answers there


def _bytes(values: np.ndarray, kind: int = 8) -> bytes:
  header = struct.pack(f'>HBB{values.ndim}I', 0, kind, values.ndim, *values.shape)
  return header + values.astype(np.uint8).tobytes()


def _write(path: pathlib.Path, content: bytes) -> pathlib.Path:
  path.write_bytes(gzip.compress(content) if path.suffix == '.gz' else content)
  return path


def _images(count: int) -> np.ndarray:
  return np.arange(count * 28 * 28).reshape(count, 28, 28) % 256


def _data_set(contents: dict[str, bytes], **others) -> idx.IdxSet:
  """A set whose four files have the checksums of these contents, unpacked."""
  names = ('train-images', 'train-labels', 'test-images', 'test-labels')
  entries = [idx.IdxFile(n, '0' * 64, hashlib.md5(contents[n]).hexdigest()) for n in names]
  return idx.IdxSet('small', _URL, *entries, **others)


@pytest.fixture
def contents() -> dict[str, bytes]:
  return {
    'train-images': _bytes(_images(5)),
    'train-labels': _bytes(np.array([3, 1, 4, 1, 5])),
    'test-images': _bytes(_images(2)),
    'test-labels': _bytes(np.array([9, 0])),
  }


@pytest.mark.parametrize('suffix', ['', '.gz'])
def test_reads_a_set(tmp_path, contents, suffix):
  for name, content in contents.items():
    _write(tmp_path / f'{name}{suffix}', content)
  data = _data_set(contents).load(str(tmp_path))
  assert data.problem is Problem.CLASSIFICATION
  assert data.num_classes == 10
  assert data.train['x'].shape == (5, 28, 28, 1)
  assert data.train['x'].dtype == np.float32
  np.testing.assert_array_equal(data.train['x'][0, 0, :3, 0], np.float32([0, 1, 2]) / 255)
  assert data.train['x'].max() == 1.0
  assert data.train['y'].dtype == np.int32
  assert data.train['y'].tolist() == [3, 1, 4, 1, 5]
  assert data.test['y'].tolist() == [9, 0]
  labels = f'test-labels{suffix}'
  expected = hashlib.sha256((tmp_path / labels).read_bytes()).hexdigest()
  assert data.sources[labels] == expected
  assert len(data.sources) == 4


def test_the_systems_folder_comes_before_the_network(tmp_path, contents):
  (tmp_path / 'system').mkdir()
  for name, content in contents.items():
    _write(tmp_path / 'system' / f'{name}.gz', content)
  data_set = _data_set(contents, system_folder=tmp_path / 'system')
  assert data_set.load(str(tmp_path / 'empty')).train['y'].tolist() == [3, 1, 4, 1, 5]


def test_unpacked_file_with_another_content_is_refused(tmp_path, contents):
  for name, content in contents.items():
    _write(tmp_path / name, content)
  _write(tmp_path / 'test-labels', _bytes(np.array([9, 1])))
  with pytest.raises(UsageError, match='test-labels'):
    _data_set(contents).load(str(tmp_path))


@pytest.mark.parametrize('length', [0, 2, 3, 9, 30, 799])
@pytest.mark.parametrize('name', ['images', 'images.gz'])
def test_truncated(tmp_path, length, name):
  path = _write(tmp_path / name, _bytes(_images(1))[:length])
  with pytest.raises(UsageError) as caught:
    idx.read(path)
  assert str(caught.value).startswith(f'{path}: damaged')
  assert '\n' not in str(caught.value)


def test_too_long_or_of_another_type(tmp_path):
  with pytest.raises(UsageError, match='785 values where its header says 1 x 28 x 28'):
    idx.read(_write(tmp_path / 'long', _bytes(_images(1)) + b'?'))
  with pytest.raises(UsageError, match='not an IDX file of unsigned bytes'):
    idx.read(_write(tmp_path / 'floats', _bytes(_images(1), kind=0x0D)))


@pytest.mark.parametrize(
  ('images', 'labels', 'message'),
  [
    (np.zeros((2, 20, 30)), np.zeros(2), 'images are 20x30, not 28x28'),
    (np.zeros((2, 28, 28)), np.zeros(3), '3 labels for 2 images'),
    (np.zeros((2, 28, 28)), np.array([0, 10]), 'has label 10'),
  ],
)
def test_images_and_labels_that_do_not_fit(tmp_path, images, labels, message):
  paths = [_write(tmp_path / 'i', _bytes(images)), _write(tmp_path / 'l', _bytes(labels))]
  with pytest.raises(UsageError, match=message):
    idx.read_examples(*paths)
