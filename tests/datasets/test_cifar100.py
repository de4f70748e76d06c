"""Tests of CIFAR-100 on a small archive of the published form."""

import hashlib
import io
import tarfile

import numpy as np

from fl_research import tasks
from fl_research.datasets import cifar100
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.datasets.partition import partition


def _records(fine: np.ndarray) -> bytes:
  records = np.zeros((len(fine), 2 + 3072), np.uint8)
  records[:, 0] = fine // 5
  records[:, 1] = fine
  records[:, 2:] = 51
  return records.tobytes()


def test_coarse_labels_and_pachinko(tmp_path, monkeypatch):
  path = tmp_path / 'cifar-100-binary.tar.gz'
  fine = np.arange(200) % 100
  with tarfile.open(path, 'w:gz') as archive:
    for name, labels in (('train.bin', fine), ('test.bin', fine[:7])):
      content = _records(labels)
      entry = tarfile.TarInfo(f'cifar-100-binary/{name}')
      entry.size = len(content)
      archive.addfile(entry, io.BytesIO(content))
  monkeypatch.setattr(cifar100, '_SHA256', hashlib.sha256(path.read_bytes()).hexdigest())
  data = tasks.load('cifar100', DatasetOptions(str(tmp_path)))
  np.testing.assert_array_equal(data.train['y'], fine)
  np.testing.assert_array_equal(data.coarse_labels, fine // 5)
  assert data.num_classes == 100
  assert data.test['y'].tolist() == list(range(7))
  assert data.train['x'].shape == (200, 32, 32, 3)
  np.testing.assert_allclose(data.train['x'], 0.2)
  clients = partition(data, 'pachinko', 10, 1, alpha=0.1)
  assert clients.sizes.tolist() == [20] * 10
