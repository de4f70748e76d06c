"""The binary version of CIFAR-10 and CIFAR-100: records of label bytes and 3x32x32 pixel bytes.

Krizhevsky 2009 ("Learning multiple layers of features from tiny images").
"""

import pathlib
import tarfile

import numpy as np

from fl_research.datasets import files
from fl_research.registry import UsageError

FOLDER = 'cifar'
URL = 'https://www.cs.toronto.edu/~kriz/'
_CHANNELS_ROWS_COLUMNS = (3, 32, 32)


def read_records(
  path: pathlib.Path, members: tuple[str, ...], num_classes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
  """Reads files out of the archive, one after the other.

  Args:
    path: the .tar.gz file.
    members: names of the files in it.
    num_classes: for each label byte of a record, what it must be below.

  Returns:
    Images float32 [n, 32, 32, 3] in [0, 1] and labels int32 [n, number of label bytes].

  Raises:
    UsageError: the archive is damaged, lacks a file, or has records of another form.
  """
  content = b''.join(_read_members(path, members))
  length = len(num_classes) + int(np.prod(_CHANNELS_ROWS_COLUMNS))
  if len(content) % length:
    raise UsageError(f'{path}: damaged, its files are not made of records of {length} bytes')
  records = np.frombuffer(content, np.uint8).reshape(-1, length)
  labels = records[:, : len(num_classes)].astype(np.int32)
  if np.any(labels >= num_classes):
    raise UsageError(f'{path}: damaged, it has labels beyond those of the data set')
  planes = records[:, len(num_classes) :].reshape(-1, *_CHANNELS_ROWS_COLUMNS)
  images = np.divide(planes.transpose(0, 2, 3, 1), 255, dtype=np.float32, order='C')
  return images, labels


def _read_members(path: pathlib.Path, members: tuple[str, ...]) -> list[bytes]:
  contents = {}
  with files.reading(path), tarfile.open(path, 'r:gz') as archive:
    # In the archive's order: going back would unpack it again from the start.
    for entry in archive:
      stream = archive.extractfile(entry) if entry.name in members else None
      if stream is not None:
        contents[entry.name] = stream.read()
  missing = [name for name in members if name not in contents]
  if missing:
    raise UsageError(f'{path}: has no {missing[0]}')
  return [contents[name] for name in members]
