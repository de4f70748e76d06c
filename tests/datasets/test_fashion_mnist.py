"""Tests of Fashion-MNIST, on the published files where they are."""

import pathlib

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets import fashion_mnist, files
from fl_research.datasets.federated_data import DatasetOptions
from tests.datasets import real_data


def test_published_files():
  in_data_dir = files.find(real_data.data_dir(), 'fashion_mnist', 'train-images-idx3-ubyte.gz')
  folder = fashion_mnist.FASHION_MNIST.system_folder
  if in_data_dir is None and not folder.is_dir():
    pytest.skip(f'Fashion-MNIST is neither in {real_data.data_dir()} nor in {folder}')
  data = tasks.load('fashion_mnist', DatasetOptions(real_data.data_dir()))
  assert data.train['x'].shape == (60_000, 28, 28, 1)
  assert np.bincount(data.train['y']).tolist() == [6000] * 10
  assert np.bincount(data.test['y']).tolist() == [1000] * 10
  assert data.train['x'].mean(dtype=np.float64) == pytest.approx(0.2860, abs=1e-4)


def test_other_packings_of_the_published_content_are_accepted():
  files_of_set = fashion_mnist.FASHION_MNIST
  for file in (files_of_set.train_images, files_of_set.test_labels):
    assert file.content_md5, file.name


def test_looks_where_debian_puts_it():
  assert fashion_mnist.FASHION_MNIST.system_folder == pathlib.Path(
    '/usr/share/datasets/fashion-mnist'
  )
