"""CIFAR-10: 50,000 training and 10,000 test photographs of ten classes, 32x32 pixels in colour.

Krizhevsky 2009 ("Learning multiple layers of features from tiny images"), binary version. Pixels
are bytes over 255. McMahan et al. 2017 also crop to 24x24, flip, vary brightness and contrast, and
whiten each image; Hsu et al. 2019 and Reddi et al. 2021 crop and standardise. None of it is done
here.
"""

from fl_research.datasets import cifar, files
from fl_research.datasets.federated_data import DatasetOptions, Examples, PooledData, Problem

_FILE = 'cifar-10-binary.tar.gz'
_SHA256 = 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd'
_TRAIN = tuple(f'cifar-10-batches-bin/data_batch_{number}.bin' for number in range(1, 6))
_TEST = ('cifar-10-batches-bin/test_batch.bin',)


def load(options: DatasetOptions) -> PooledData:
  """Loads CIFAR-10: x float32 [32, 32, 3] in [0, 1], y int32 0..9.

  Raises:
    UsageError: the file cannot be had or is damaged.
  """
  path = files.fetch(options.data_dir, cifar.FOLDER, _FILE, cifar.URL + _FILE, _SHA256)

  def examples(members: tuple[str, ...]) -> Examples:
    x, labels = cifar.read_records(path, members, (10,))
    return {'x': x, 'y': labels[:, 0]}

  return PooledData(
    examples(_TRAIN),
    examples(_TEST),
    Problem.CLASSIFICATION,
    10,
    {_FILE: files.sha256_of(path)},
  )
