"""CIFAR-100: 50,000 training and 10,000 test photographs of 100 classes in 20 superclasses.

Krizhevsky 2009 ("Learning multiple layers of features from tiny images"), binary version. Pixels
are bytes over 255; Reddi et al. 2021 crop to 24x24 (at random for training) and standardise each
image, which is not done here. The superclasses make pachinko allocation possible.
"""

from fl_research.datasets import cifar, files
from fl_research.datasets.federated_data import DatasetOptions, PooledData, Problem

_FILE = 'cifar-100-binary.tar.gz'
_SHA256 = '58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec'
_TRAIN = ('cifar-100-binary/train.bin',)
_TEST = ('cifar-100-binary/test.bin',)
_COARSE_AND_FINE = (20, 100)


def load(options: DatasetOptions) -> PooledData:
  """Loads CIFAR-100: x float32 [32, 32, 3] in [0, 1], y int32 0..99, superclasses 0..19.

  Raises:
    UsageError: the file cannot be had or is damaged.
  """
  path = files.fetch(options.data_dir, cifar.FOLDER, _FILE, cifar.URL + _FILE, _SHA256)
  train_x, train_labels = cifar.read_records(path, _TRAIN, _COARSE_AND_FINE)
  test_x, test_labels = cifar.read_records(path, _TEST, _COARSE_AND_FINE)
  return PooledData(
    {'x': train_x, 'y': train_labels[:, 1]},
    {'x': test_x, 'y': test_labels[:, 1]},
    Problem.CLASSIFICATION,
    100,
    {_FILE: files.sha256_of(path)},
    coarse_labels=train_labels[:, 0],
  )
