"""Tests of MNIST on the published files."""

import shutil

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets.federated_data import DatasetOptions, PooledData
from fl_research.registry import UsageError
from tests.datasets import real_data


def test_published_files():
  data = tasks.load('mnist', DatasetOptions(real_data.require('mnist')))
  assert isinstance(data, PooledData)
  assert data.train['x'].shape == (60_000, 28, 28, 1)
  assert data.test['x'].shape == (10_000, 28, 28, 1)
  # Counts by digit, and the mean and standard deviation, as everybody finds them.
  counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
  assert np.bincount(data.train['y']).tolist() == counts
  assert np.bincount(data.test['y']).tolist() == [
    980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
  ]  # fmt: skip
  assert data.train['y'][:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]
  mean = data.train['x'].mean(dtype=np.float64)
  assert mean == pytest.approx(0.13066, abs=1e-5)
  # By parts: all of it as float64 would be 376 MB.
  variances = [
    np.square(part - mean, dtype=np.float64).mean() for part in np.split(data.train['x'], 100)
  ]
  assert np.sqrt(np.mean(variances)) == pytest.approx(0.30811, abs=1e-5)
  assert data.train['x'].min() == 0 and data.train['x'].max() == 1
  assert len(data.sources) == 4


def test_truncated_file_is_refused(tmp_path):
  shutil.copytree(f'{real_data.require("mnist")}/mnist', tmp_path / 'mnist')
  path = tmp_path / 'mnist' / 't10k-images-idx3-ubyte.gz'
  path.write_bytes(path.read_bytes()[:-1000])
  with pytest.raises(UsageError) as caught:
    tasks.load('mnist', DatasetOptions(str(tmp_path)))
  assert str(path) in str(caught.value)
  assert '\n' not in str(caught.value)
