"""The IDX format of MNIST and its relatives: four files of images and labels.

A header of big-endian numbers (two zero bytes, the type, the number of dimensions, their lengths)
is followed by the values in row-major order (LeCun, Cortes, Burges, "The MNIST database").
"""

import dataclasses
import math
import pathlib
import struct
from typing import Optional

import numpy as np

from fl_research.datasets import files
from fl_research.datasets.federated_data import Examples, PooledData, Problem
from fl_research.registry import UsageError

_UNSIGNED_BYTE = 0x08
_TYPES = {_UNSIGNED_BYTE: '>u1', 0x09: '>i1', 0x0B: '>i2', 0x0C: '>i4', 0x0D: '>f4', 0x0E: '>f8'}
_IMAGE_SHAPE = (28, 28)
_NUM_CLASSES = 10


@dataclasses.dataclass(frozen=True)
class IdxFile:
  """One of the four files.

  Attributes:
    name: its name without `.gz`.
    sha256: checksum of the .gz file as published.
    content_md5: checksum of the unpacked file as published, where it is.
  """

  name: str
  sha256: str
  content_md5: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class IdxSet:
  """A data set of four IDX files.

  Attributes:
    folder: its folder in the data directory.
    url: address of the folder the .gz files are downloaded from.
    train_images, train_labels, test_images, test_labels: the files.
    system_folder: where a Linux distribution's package puts the .gz files.
  """

  folder: str
  url: str
  train_images: IdxFile
  train_labels: IdxFile
  test_images: IdxFile
  test_labels: IdxFile
  system_folder: Optional[pathlib.Path] = None

  def load(self, data_dir: str) -> PooledData:
    """Reads the set: x float32 [28, 28, 1] in [0, 1] (grey levels over 255), y int32 0..9.

    Raises:
      UsageError: a file cannot be had, is damaged, or images and labels do not belong together.
    """
    paths = {
      file: locate(self, file, data_dir)
      for file in (self.train_images, self.train_labels, self.test_images, self.test_labels)
    }
    return PooledData(
      read_examples(paths[self.train_images], paths[self.train_labels]),
      read_examples(paths[self.test_images], paths[self.test_labels]),
      Problem.CLASSIFICATION,
      _NUM_CLASSES,
      {path.name: files.sha256_of(path) for path in paths.values()},
    )


def locate(data_set: IdxSet, file: IdxFile, data_dir: str) -> pathlib.Path:
  """The file, packed or unpacked, from the data directory, the system's folder or the network.

  A file that a distribution's package installed is used as it is: the package manager has verified
  it. All others are checked against the published sums.
  """
  packed = f'{file.name}.gz'
  if files.find(data_dir, data_set.folder, packed) is None:
    unpacked = files.find(data_dir, data_set.folder, file.name)
    if unpacked is not None:
      return files.fetch(
        data_dir, data_set.folder, file.name, data_set.url + packed, content_md5=file.content_md5
      )
    if data_set.system_folder is not None and (data_set.system_folder / packed).is_file():
      return data_set.system_folder / packed
  return files.fetch(
    data_dir,
    data_set.folder,
    packed,
    data_set.url + packed,
    file.sha256,
    content_md5=file.content_md5,
  )


def read(path: pathlib.Path, any_type: bool = False) -> np.ndarray:
  """The array of an IDX file of unsigned bytes, or of any type, packed by gzip or not.

  Raises:
    UsageError: the file is damaged, cut short, too long or of another format.
  """
  content = files.read_bytes(path)
  with files.reading(path):
    zeros, kind, num_dimensions = struct.unpack_from('>HBB', content)
    shape = struct.unpack_from(f'>{num_dimensions}I', content, 4)
  accepted = _TYPES if any_type else (_UNSIGNED_BYTE,)
  if zeros != 0 or kind not in accepted or not num_dimensions:
    raise UsageError(f'{path}: not an IDX file{"" if any_type else " of unsigned bytes"}')
  dtype, start = np.dtype(_TYPES[kind]), 4 + 4 * num_dimensions
  if len(content) - start != math.prod(shape) * dtype.itemsize:
    raise UsageError(
      f'{path}: damaged or truncated ({(len(content) - start) // dtype.itemsize} values where its '
      f'header says {" x ".join(map(str, shape))})'
    )
  values = np.frombuffer(content, dtype, offset=start).reshape(shape)
  return values.astype(dtype.newbyteorder('='), copy=False)


def read_examples(images_path: pathlib.Path, labels_path: pathlib.Path) -> Examples:
  """Images and their labels as examples.

  Raises:
    UsageError: as `read`, or images are not 28x28, labels not 0..9, or their numbers differ.
  """
  images, labels = read(images_path), read(labels_path)
  if images.shape[1:] != _IMAGE_SHAPE:
    size = 'x'.join(map(str, images.shape[1:]))
    raise UsageError(f'{images_path}: images are {size or "not two-dimensional"}, not 28x28')
  if labels.shape != images.shape[:1]:
    raise UsageError(f'{labels_path}: {len(labels)} labels for {len(images)} images')
  if labels.size and labels.max() >= _NUM_CLASSES:
    raise UsageError(f'{labels_path}: has label {labels.max()}, accepted are 0 to 9')
  x = np.divide(images[..., np.newaxis], 255, dtype=np.float32)
  return {'x': x, 'y': labels.astype(np.int32)}
