"""The user's own clients: a folder of `.npz` files, one per client (`--data_file=<folder>`).

A file `<client id>.npz`, as `np.savez` writes it, holds `x` [n, ...] and `y` [n] or [n, ...], and
perhaps `x_test` and `y_test`, the client's own test examples. All files have the same types and the
same shapes after the first axis. What is predicted follows from y:

- whole numbers or truth values [n]: binary when only 0 and 1 occur, otherwise classification with
  one class more than the largest label;
- whole numbers [n, length] like x: the next token, 0 = padding; x are tokens too, kept as int32;
- fractions [n]: regression; numbers [n, k] between 0 and 1: k tags (multilabel); other fractions
  [n, k]: regression of k numbers.

Bytes x (uint8) in the shape of pictures become float32 from 0 to 1, other x float32 as it is.

Test: where no file has test examples, a fifth of each client's rows (at least one), drawn from the
seed and the client's position, is its test part, and a client of one row only trains.

Opening reads every file's array headers and labels. For 100,000 files of 15 rows by `np.savez` in a
warm file cache it took 1.7 s of one core (by `np.savez_compressed` 9 times that). Examples are read
when a client is asked for; `FederatedData.test` reads the test parts when it is first looked at.
NaN or infinity in x is found at opening in the first 256 MB, beyond them when the client is read.
Nothing is ever unpickled.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
import functools
import hashlib
import io
import mmap
import os
import struct
from typing import NamedTuple, Optional, Union
import zipfile
import zlib

import numpy as np
from numpy.lib import format as npy_format

from fl_research import random_streams
from fl_research.datasets import files, pixels
from fl_research.datasets.federated_data import (
  Clients,
  DatasetOptions,
  Examples,
  FederatedData,
  Problem,
)
from fl_research.datasets.splits import held_out_counts, held_out_rows
from fl_research.registry import UsageError

_CHECKED_BYTES = 256 << 20
_SUFFIX = '.npz'
_PAIRS = (('x', 'y'), ('x_test', 'y_test'))
_LABELS = frozenset({'y', 'y_test'})
_ALL = _LABELS | {'x', 'x_test'}


def load(options: DatasetOptions) -> FederatedData:
  """Opens the folder `options.data_file`; also reads `options.seed`.

  Raises:
    UsageError: there is no such folder or no .npz file in it, or a file's arrays are missing, do
      not fit together or the other files', hold objects, text, NaN or unusable labels; one line
      that names the file.
  """
  folder = _Folder(options)
  train = _NpzClients(folder, np.arange(len(folder.names)), test=False)
  test_clients = _NpzClients(folder, np.flatnonzero(folder.test_sizes), test=True)
  if not len(test_clients):
    raise UsageError(
      f'--data_file={folder.path}: no client has test examples, nor a second row to hold out'
    )
  return FederatedData(
    train=train,
    test=_PoolOnDemand(test_clients),
    problem=folder.problem,
    num_classes=folder.num_classes,
    test_clients=test_clients,
    sources={f'{os.path.basename(os.path.normpath(folder.path))}/*{_SUFFIX}': folder.digest},
    preprocessing=pixels.preprocessing(folder.x_shape) if folder.are_pictures else {},
  )


class _Array(NamedTuple):
  """What a file says of one of its arrays before any value is read."""

  dtype: np.dtype
  shape: tuple[int, ...]
  crc: int


_Arrays = Mapping[str, _Array]
_Values = Mapping[str, np.ndarray]


class _Folder:
  """What is known of all clients after opening: names, sizes and what is to be predicted."""

  def __init__(self, options: DatasetOptions):
    self.path, self.names = _listing(options.data_file)
    self.seed = options.seed
    sizes = np.zeros((len(self.names), 2), np.int64)
    digest = hashlib.sha256()
    labels = _LabelRange()
    first: _Arrays = {}
    unchecked = _CHECKED_BYTES
    brightest = 0
    for position, name in enumerate(self.names):
      path = self.file(position)
      arrays, values = _inspect(path, _ALL if unchecked > 0 else _LABELS)
      first = first or _check_first(path, arrays)
      sizes[position] = _check(path, arrays, first, self.names[0])
      _check_values(path, values)
      labels.add(path, values)
      if first['x'].dtype == np.uint8:
        own = [array.max() for key, array in values.items() if key not in _LABELS and array.size]
        brightest = max([brightest, *map(int, own)])
      unchecked -= sum(array.nbytes for array in values.values())
      digest.update(f'{name} {[(key, array.crc) for key, array in arrays.items()]}\n'.encode())
    self.digest = digest.hexdigest()
    self.problem, self.num_classes = labels.problem(self.path, first['x'], first['y'])
    self.x_shape = first['x'].shape[1:]
    # What is 0 or 1 everywhere is a mask and no picture of 256 levels.
    self.are_pictures = brightest > 1 and pixels.is_picture(self.x_shape)
    self.has_test = bool(sizes[:, 1].any())
    if not self.has_test:
      sizes[:, 1] = held_out_counts(sizes[:, 0])
      sizes[:, 0] -= sizes[:, 1]
    self.train_sizes, self.test_sizes = sizes.T

  def file(self, position: int) -> str:
    return f'{self.path}{os.sep}{self.names[position]}'

  def read(self, position: int, test: bool) -> Examples:
    """One client's training or test examples, in the library's types."""
    x_key, y_key = _PAIRS[test and self.has_test]
    path = self.file(position)
    _, values = _inspect(path, {x_key, y_key})
    _check_values(path, values)
    x, y = values.get(x_key, np.empty(0)), values.get(y_key, np.empty(0))
    if not self.has_test:
      rng = random_streams.generator(self.seed, 'npz split', position)
      rows = held_out_rows(np.zeros(len(y)), rng) == test
      x, y = x[: len(rows)][rows], y[rows]
    expected = (self.test_sizes if test else self.train_sizes)[position]
    if not len(x) == len(y) == expected:
      raise UsageError(f'{path}: has changed since it was opened; start again')
    tokens = self.problem is Problem.NEXT_TOKEN
    whole = self.problem in (Problem.CLASSIFICATION, Problem.BINARY, Problem.NEXT_TOKEN)
    x = x.astype(np.int32 if tokens else np.float32)
    return {
      'x': pixels.scaled(x) if self.are_pictures else x,
      'y': y.astype(np.int32 if whole else np.float32),
    }


class _NpzClients(Clients):
  """Clients of a folder, or those of them that have test examples."""

  def __init__(self, folder: _Folder, positions: np.ndarray, test: bool):
    self._folder = folder
    self._positions = positions
    self._test = test

  @functools.cached_property
  def _ids(self) -> list[str]:
    return [self._folder.names[position].removesuffix(_SUFFIX) for position in self._positions]

  @property
  def ids(self) -> Sequence[str]:
    return self._ids

  @property
  def sizes(self) -> np.ndarray:
    return (self._folder.test_sizes if self._test else self._folder.train_sizes)[self._positions]

  def examples(self, position: int) -> Examples:
    return self._folder.read(int(self._positions[position]), self._test)


class _PoolOnDemand(Mapping):
  """All examples of some clients, read when first looked at."""

  def __init__(self, clients: Clients):
    self._clients = clients

  @functools.cached_property
  def _arrays(self) -> Examples:
    return self._clients.pooled()

  def __getitem__(self, key: str) -> np.ndarray:
    return self._arrays[key]

  def __iter__(self) -> Iterator[str]:
    return iter(('x', 'y'))

  def __len__(self) -> int:
    return 2


class _LabelRange:
  """Smallest and largest label so far, from which the problem follows."""

  def __init__(self) -> None:
    self._low, self._high = np.inf, -np.inf

  def add(self, path: str, values: _Values) -> None:
    for key in ('y', 'y_test'):
      labels = values.get(key)
      if labels is None or not labels.size:
        continue
      low, high = np.minimum.reduce(labels, None).item(), np.maximum.reduce(labels, None).item()
      if labels.dtype.kind != 'f' and not 0 <= low <= high < 2**31:
        raise UsageError(
          f'{path}: {key} holds the label {low if low < 0 else high}; classes are 0, 1, 2, …'
        )
      self._low, self._high = min(self._low, low), max(self._high, high)

  def problem(self, folder: str, x: _Array, y: _Array) -> tuple[Problem, int]:
    """The problem and its number of classes, by the rule of the module's docstring."""
    if self._low == self._high:
      raise UsageError(
        f'--data_file={folder}: every label of every client is {self._low:g}; nothing to learn'
      )
    rank = len(y.shape)
    if y.dtype.kind != 'f' and rank <= 2:
      if rank == 2:
        return self._of_rows(folder, x, y)
      binary = self._high <= 1
      return (Problem.BINARY, 2) if binary else (Problem.CLASSIFICATION, int(self._high) + 1)
    if rank == 1:
      return Problem.REGRESSION, 1
    if rank == 2:
      tags = self._low >= 0 and self._high <= 1
      return (Problem.MULTILABEL, y.shape[1]) if tags else (Problem.REGRESSION, 1)
    raise UsageError(
      f'--data_file={folder}: y is {_described(y)}: neither labels, tokens, numbers nor 0/1 tags'
    )

  def _of_rows(self, folder: str, x: _Array, y: _Array) -> tuple[Problem, int]:
    """Of several whole numbers an example: tokens where x are such rows too, else tags."""
    if x.dtype.kind in 'iu' and x.shape[1:] == y.shape[1:]:
      return Problem.NEXT_TOKEN, int(self._high) + 1
    if self._high <= 1:
      return Problem.MULTILABEL, y.shape[1]
    raise UsageError(
      f'--data_file={folder}: y is {_described(y)} up to {self._high:g}: no 0/1 tags, and no next '
      f'tokens, as x is {_described(x)}'
    )


def _listing(folder: Optional[str]) -> tuple[str, list[str]]:
  """The folder, and its .npz files in order."""
  if not folder:
    raise UsageError('--data_file is missing: npz needs a folder of .npz files, one per client')
  if not os.path.isdir(folder):
    what = 'is a file, not a folder of .npz files' if os.path.exists(folder) else 'no such folder'
    raise UsageError(f'--data_file={folder}: {what}')
  try:
    names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIX))
  except OSError as error:
    raise UsageError(f'--data_file={folder}: cannot be read ({files.one_line(error)})') from error
  if not names:
    raise UsageError(f'--data_file={folder}: no .npz file in it')
  return folder, names


def _check_first(path: str, arrays: _Arrays) -> _Arrays:
  """The first file's arrays, which all others are compared with."""
  for key in _PAIRS[0]:
    if key not in arrays:
      raise UsageError(
        f'{path}: has no array {key} (it has '
        f'{", ".join(sorted(arrays)) or "none"}); call the examples x and the labels y'
      )
  return arrays


def _check(path: str, arrays: _Arrays, first: _Arrays, first_name: str) -> tuple[int, int]:
  """Numbers of training and test rows of a file whose arrays fit each other and the first's."""
  _check_first(path, arrays)
  rows = []
  for x_key, y_key in _PAIRS:
    if (x_key in arrays) != (y_key in arrays):
      there, absent = (x_key, y_key) if x_key in arrays else (y_key, x_key)
      raise UsageError(f'{path}: has {there} but no {absent}')
    if x_key not in arrays:
      rows.append(0)
      continue
    for key, model in ((x_key, 'x'), (y_key, 'y')):
      _check_array(path, key, arrays[key], first[model], f'{model} of {first_name}')
    if arrays[x_key].shape[0] != arrays[y_key].shape[0]:
      raise UsageError(
        f'{path}: {x_key} has {arrays[x_key].shape[0]} rows, {y_key} {arrays[y_key].shape[0]}'
      )
    rows.append(arrays[x_key].shape[0])
  if not rows[0]:
    raise UsageError(f'{path}: holds no examples')
  return rows[0], rows[1]


def _check_array(path: str, key: str, array: _Array, model: _Array, model_name: str) -> None:
  if array.dtype.kind not in 'fiub':
    raise UsageError(f'{path}: {key} holds {_kind(array.dtype)}, not numbers')
  if not array.shape:
    raise UsageError(f'{path}: {key} is a single number, not one row per example')
  if array.dtype != model.dtype or array.shape[1:] != model.shape[1:]:
    raise UsageError(
      f'{path}: {key} is {_described(array)}, but {model_name} is {_described(model)}'
    )


def _check_values(path: str, values: _Values) -> None:
  """Refuses NaN and infinity."""
  for key, array in values.items():
    if array.dtype.kind == 'f' and not np.isfinite(array).all():
      finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
      raise UsageError(f'{path}: {key} holds NaN or infinity in row {int(np.argmin(finite)) + 1}')


def _kind(dtype: np.dtype) -> str:
  return 'Python objects, which are never loaded' if dtype.hasobject else f'{dtype} values'


def _described(array: _Array) -> str:
  return f'{array.dtype} [{", ".join(["n", *map(str, array.shape[1:])])}]'


_DAMAGE = (
  *(OSError, EOFError, ValueError, struct.error, zlib.error, zipfile.BadZipFile),
  # What zipfile raises for members that are encrypted or packed by a method it does not know.
  *(RuntimeError, NotImplementedError),
)


def _inspect(path: str, wanted: Collection[str]) -> tuple[_Arrays, _Values]:
  """Types and shapes of a file's arrays, and the values of those that are wanted.

  Raises:
    UsageError: the file cannot be read.
  """
  try:
    return _inspect_stored(path, wanted) or _inspect_any(path, wanted)
  except _DAMAGE as error:
    raise UsageError(
      f'{path}: damaged, truncated or not readable ({files.one_line(error)})'
    ) from error


# Local header of a zip member: signature, version, flags, method, time and date, CRC-32, packed
# and unpacked size, lengths of name and extra field.
_LOCAL_HEADER = struct.Struct('<4sHHH4xIIIHH')
_ZIP64_FIELD = struct.Struct('<HHQQ')
_LOCAL_SIGNATURE, _CENTRAL_SIGNATURE = b'PK\x03\x04', b'PK\x01\x02'
_ENCRYPTED_OR_STREAMED = 0x01 | 0x08
_STORED = 0
_IN_ZIP64_FIELD = 0xFFFFFFFF
_NPY_1_0 = b'\x93NUMPY\x01\x00'
# A file below this is read whole, which is faster than mapping it.
_SMALL = 1 << 16


def _inspect_stored(path: str, wanted: Collection[str]) -> Optional[tuple[_Arrays, _Values]]:
  """`_inspect` for what `np.savez` writes: members that are not compressed, one after the other.

  Walking from member to member costs a tenth of what opening a `ZipFile` and its members does,
  which is what makes 100,000 clients open in seconds. None for whatever looks different.
  """
  descriptor = os.open(path, os.O_RDONLY)
  try:
    content = os.read(descriptor, _SMALL)
    if len(content) < _SMALL:
      return _walk(content, wanted)
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
      return _walk(mapped, wanted)
  finally:
    os.close(descriptor)


def _walk(
  content: Union[bytes, mmap.mmap], wanted: Collection[str]
) -> Optional[tuple[_Arrays, _Values]]:
  arrays, values = {}, {}
  start = 0
  while content[start : start + 4] == _LOCAL_SIGNATURE:
    _, _, flags, method, crc, size, _, name_length, extra_length = _LOCAL_HEADER.unpack_from(
      content, start
    )
    if flags & _ENCRYPTED_OR_STREAMED or method != _STORED:
      return None
    start += _LOCAL_HEADER.size
    name = content[start : start + name_length].decode()
    start += name_length
    if size == _IN_ZIP64_FIELD:
      identifier, _, _, size = _ZIP64_FIELD.unpack_from(content, start)
      if identifier != 1:
        return None
    start += extra_length
    if not name.endswith('.npy') or content[start : start + len(_NPY_1_0)] != _NPY_1_0:
      return None
    name = name.removesuffix('.npy')
    arrays[name], value = _stored_array(content, start, start + size, crc, name in wanted)
    if value is not None:
      values[name] = value
    start += size
  return (arrays, values) if content[start : start + 4] == _CENTRAL_SIGNATURE else None


def _stored_array(
  content: Union[bytes, mmap.mmap], start: int, end: int, crc: int, read: bool
) -> tuple[_Array, Optional[np.ndarray]]:
  """The array in bytes `start` to `end`, and its values if they are to be read."""
  if read and zlib.crc32(content[start:end]) != crc:
    raise ValueError('a checksum in it is wrong')
  start += len(_NPY_1_0) + 2
  length = int.from_bytes(content[start - 2 : start], 'little')
  shape, fortran, dtype = _npy_header(content[start - 2 : start + length])
  array = _Array(dtype, shape, crc)
  if not read or dtype.hasobject:
    return array, None
  flat = np.frombuffer(content[start + length : end], dtype)
  return array, flat.reshape(shape, order='F' if fortran else 'C')


@functools.lru_cache(maxsize=1 << 14)
def _npy_header(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
  """Shape, order and type; clients of the same size share the text, so it is parsed once."""
  return npy_format.read_array_header_1_0(io.BytesIO(header))


def _inspect_any(path: str, wanted: Collection[str]) -> tuple[_Arrays, _Values]:
  """`_inspect` for every .npz file, compressed or written by other tools."""
  arrays, values = {}, {}
  with zipfile.ZipFile(path) as archive:
    for member in archive.infolist():
      name = member.filename.removesuffix('.npy')
      with archive.open(member) as stream:
        version = npy_format.read_magic(stream)
        later = npy_format.read_array_header_2_0
        read_header = npy_format.read_array_header_1_0 if version == (1, 0) else later
        shape, _, dtype = read_header(stream)
      arrays[name] = _Array(dtype, shape, member.CRC)
      if name in wanted and not dtype.hasobject:
        with archive.open(member) as stream:
          values[name] = npy_format.read_array(stream, allow_pickle=False)
  return arrays, values
