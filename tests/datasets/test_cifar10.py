"""Tests of CIFAR-10 on a small archive of the published form."""

import hashlib
import io
import pathlib
import tarfile

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets import cifar10
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.registry import UsageError


def _record(label: int, red: int, first_pixel: tuple[int, int, int]) -> bytes:
  planes = np.zeros((3, 32, 32), np.uint8)
  planes[0] = red
  planes[:, 0, 1] = first_pixel
  return bytes([label]) + planes.tobytes()


def _write(path: pathlib.Path, members: dict[str, bytes]) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, 'w:gz') as archive:
    for name, content in members.items():
      entry = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
      entry.size = len(content)
      archive.addfile(entry, io.BytesIO(content))


def _members(**others: bytes) -> dict[str, bytes]:
  batches = {f'data_batch_{k}.bin': _record(k, 10 * k, (k, 2, 3)) for k in range(5, 0, -1)}
  return {'readme.html': b'?', 'test_batch.bin': _record(9, 255, (1, 2, 3)), **batches, **others}


@pytest.fixture
def load(tmp_path, monkeypatch):
  def load(members):
    path = tmp_path / 'cifar' / 'cifar-10-binary.tar.gz'
    _write(path, members)
    monkeypatch.setattr(cifar10, '_SHA256', hashlib.sha256(path.read_bytes()).hexdigest())
    return tasks.load('cifar10', DatasetOptions(str(tmp_path)))

  return load


def test_reads_planes_as_channels(load):
  data = load(_members())
  assert data.train['y'].tolist() == [1, 2, 3, 4, 5]  # batches in their order, not the archive's
  assert data.train['x'].shape == (5, 32, 32, 3)
  assert data.train['x'].dtype == np.float32
  np.testing.assert_array_equal(data.train['x'][1, 0, 1], np.float32([2, 2, 3]) / 255)
  np.testing.assert_array_equal(data.train['x'][1, 5, 7], np.float32([20, 0, 0]) / 255)
  assert data.train['x'].flags.c_contiguous
  assert data.test['y'].tolist() == [9]
  assert data.test['x'].max() == 1
  assert list(data.sources) == ['cifar-10-binary.tar.gz']


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    ('test_batch.bin', _record(3, 1, (0, 0, 0))[:-1], 'not made of records of 3073 bytes'),
    ('test_batch.bin', _record(10, 1, (0, 0, 0)), 'labels beyond those of the data set'),
  ],
)
def test_damaged_records(load, name, content, message):
  with pytest.raises(UsageError, match=message) as caught:
    load(_members(**{name: content}))
  assert 'cifar-10-binary.tar.gz' in str(caught.value)


def test_missing_member(load):
  members = _members()
  del members['data_batch_3.bin']
  with pytest.raises(UsageError, match=r'has no cifar-10-batches-bin/data_batch_3\.bin'):
    load(members)


def test_truncated_archive(tmp_path, monkeypatch):
  path = tmp_path / 'cifar' / 'cifar-10-binary.tar.gz'
  _write(path, _members())
  path.write_bytes(path.read_bytes()[:-40])
  monkeypatch.setattr(cifar10, '_SHA256', hashlib.sha256(path.read_bytes()).hexdigest())
  with pytest.raises(UsageError, match='damaged, truncated or not readable'):
    tasks.load('cifar10', DatasetOptions(str(tmp_path)))
