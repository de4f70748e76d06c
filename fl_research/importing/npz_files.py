"""NumPy's .npz files: a folder with one per client (`datasets.npz`), or one file with all clients.

In the one file, `x` and `y` [n, ...] lie beside an array [n] that says whose a row is: `client`,
`writer`, `user`, ... or the one that `--client_column` names; `--label_column` names another y.
`is_test` [n], where it is there, says what is a test example, and `<client>_names` [k], for clients
that are numbers, what they are called. Nothing is ever unpickled.
"""

from collections.abc import Mapping
import dataclasses
import os
from typing import Optional
import zipfile
import zlib

import numpy as np

from fl_research import registry
from fl_research.datasets import files, npz, pixels
from fl_research.datasets.federated_data import DatasetOptions, FederatedData, Problem
from fl_research.importing import doubts, held_out, memory, problems, summary
from fl_research.importing.source import Counts, Found, Part, Source, Spec
from fl_research.registry import UsageError

_WHO = (
  *('client', 'clients', 'client_id', 'user', 'user_id', 'writer', 'subject', 'site', 'hospital'),
  *('owner', 'author', 'speaker', 'device', 'person', 'patient', 'group', 'worker', 'node'),
)
_TESTS = ('is_test', 'test')
_ROWS_AT_ONCE = 4096
_LOOKED_AT = 1000
_DAMAGE = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError)


def load(options: DatasetOptions) -> memory.Data:
  """Opens the folder, whose files are read when asked for, or reads the one file into memory."""
  if _one_file(options):
    return memory.read(open_source(options))
  data = _folder(options)
  summary.say(_loaded(data))
  return data


def open_source(options: DatasetOptions) -> Source:
  """The folder or file `options.data_file`; also reads `options.seed`.

  Raises:
    UsageError: arrays are missing, do not fit together, or hold what cannot be used; one line.
  """
  if path := _one_file(options):
    return held_out.complete(_OneFile(path, options), options.seed)
  return _loaded(_folder(options))


def _loaded(data: FederatedData) -> Source:
  notes = ['x are uint8 pictures, and are divided by 255'] if data.preprocessing else []
  first = data.train.examples(0)
  notes += doubts.of({key: array[:_LOOKED_AT] for key, array in first.items()}, data.problem)
  own = problems.described(data.problem, data.num_classes)
  return memory.Loaded(data, Found('.npz files', 'a file each', f'y, {own}', notes=notes))


def _folder(options: DatasetOptions) -> FederatedData:
  _refuse_columns(options)
  data = npz.load(options)
  rows = int(data.train.sizes.sum())
  doubts.check_classes(data.num_classes, data.problem, rows, f'--data_file={options.data_file}')
  if data.problem is not Problem.REGRESSION:
    return data
  labels_of = (data.train.examples(k)['y'] for k in range(len(data.train)))
  return dataclasses.replace(data, label_scale=held_out.label_scale(labels_of))


def _one_file(options: DatasetOptions) -> Optional[str]:
  """The one file with all clients: itself, or the only one of a folder that says whose a row is."""
  path = options.data_file or ''
  if os.path.isfile(path):
    return path
  if not os.path.isdir(path):
    return None
  paths = [os.path.join(path, name) for name in os.listdir(path) if name.endswith('.npz')]
  if len(paths) != 1:
    return None
  says = options.client_column or any(name.lower() in _WHO for name in _names(paths[0]))
  return paths[0] if says else None


def _names(path: str) -> list[str]:
  """The names of a file's arrays; none where it cannot be read, which others say."""
  try:
    with zipfile.ZipFile(path) as archive:
      return [name.removesuffix('.npy') for name in archive.namelist()]
  except _DAMAGE:
    return []


def _refuse_columns(options: DatasetOptions) -> None:
  for flag in ('client_column', 'label_column'):
    if getattr(options, flag):
      raise UsageError(
        f'--{flag}={getattr(options, flag)}: only read for one .npz file; in a folder of them '
        'each is a client'
      )


class _OneFile(Source):
  """One file with all clients."""

  def __init__(self, path: str, options: DatasetOptions):
    where = f'--data_file={path}'
    arrays = _read(path)
    y_name = options.label_column or 'y'
    x = _array(arrays, 'x', '', where)
    y = _array(arrays, y_name, 'label_column', where)
    who = options.client_column or _whose(arrays, len(y), y_name, where)
    self.pooled = not who
    owners = _array(arrays, who, 'client_column', where) if who else np.zeros(len(y), np.int64)
    for name, array in (('x', x), (y_name, y), (who, owners)):
      if not array.ndim or not y.ndim:
        raise UsageError(f'{where}: {name} is {_described(array)}, not one row per example')
      if len(array) != len(y):
        raise UsageError(f'{where}: {name} has {len(array)} rows, and {y_name} {len(y)}')
    if owners.ndim != 1 or owners.dtype.kind not in 'iubUS':
      raise UsageError(
        f'{where}: {who} is {_described(owners)}, not one whole number or name per row'
      )
    if not len(y):
      raise UsageError(f'{where}: holds no examples')
    for name, array in (('x', x), (y_name, y)):
      _check_numbers(name, array, where)
    ids, owner = np.unique(owners, return_inverse=True)
    names = [_text(value) for value in ids]
    own_names = arrays.get(f'{who}_names', ())
    if ids.dtype.kind in 'iu' and ids[0] >= 0 and ids[-1] < len(own_names):
      names = [_text(own_names[k]) for k in ids]
    test = _tested(arrays, len(y))
    is_picture = x.dtype == np.uint8 and pixels.is_picture(x.shape[1:]) and x.max() > 1
    kind = problems.kind(y, x, where)
    doubts.check_classes(kind.num_classes, kind.problem, len(y), where)
    self._x, self._y, self._is_picture, self._kind = x, y, is_picture, kind
    order = np.lexsort((test, owner))
    self._order, self._owner, self._test = order, owner[order], test[order]
    names = ['all'] if self.pooled else names
    count = lambda rows: np.bincount(owner[rows], minlength=len(ids)).astype(np.int64)
    self.counts = Counts(names, count(~test), count(test))
    x_type = np.int32 if kind.problem is Problem.NEXT_TOKEN else np.float32
    self._grey = is_picture and x.ndim == 3
    shape = (*x.shape[1:], 1) if self._grey else x.shape[1:]
    self.spec = Spec(
      shape, np.dtype(x_type), y.shape[1:], kind.dtype, kind.problem, kind.num_classes
    )
    self.files = {os.path.basename(path): files.sha256_of(path)}
    used = {'x', y_name, who, f'{who}_names', *(name for name in _TESTS if name in arrays)}
    notes = []
    if is_picture:
      notes.append('x are uint8 pictures, and are divided by 255')
      self.preprocessing = pixels.preprocessing(shape)
    some = pixels.scaled(x[:_LOOKED_AT]) if is_picture else x[:_LOOKED_AT]
    notes += doubts.of({'x': some, 'y': y[:_LOOKED_AT]}, kind.problem)
    if left := [name for name in arrays if name not in used]:
      notes.append(f'arrays that are not used: {", ".join(left)}')
    described = problems.described(kind.problem, kind.num_classes)
    label = f'array {y_name}, {described}'
    whose = 'nobody: dealt out by --partition' if self.pooled else f'array {who}'
    self.found = Found('one .npz file', whose, label, notes=notes)

  def parts(self):
    # A client's rows in a part follow each other in the order; so many of them at a time.
    key = self._owner * 2 + self._test
    starts = np.flatnonzero(np.diff(key, prepend=-1))
    for first, last in zip(starts, [*starts[1:], len(key)]):
      for start in range(first, last, _ROWS_AT_ONCE):
        rows = self._order[start : min(start + _ROWS_AT_ONCE, last)]
        x = self._x[rows].astype(self.spec.x_dtype)
        x = pixels.scaled(x) if self._is_picture else x
        y = self._y[rows].astype(self.spec.y_dtype)
        examples = {'x': x[..., None] if self._grey else x, 'y': y}
        yield Part(int(self._owner[start]), bool(self._test[start]), examples)


def _read(path: str) -> dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as stored:
      if not isinstance(stored, np.lib.npyio.NpzFile):
        raise ValueError('one array, not several')
      names = stored.files
      return {name: stored[name] for name in names}
  except _DAMAGE as error:
    if 'allow_pickle' in str(error):
      raise UsageError(
        f'--data_file={path}: holds Python objects, which are never loaded; save numbers'
      ) from error
    raise UsageError(
      f'--data_file={path}: damaged, truncated or no .npz file ({files.one_line(error)})'
    ) from error


def _array(arrays: Mapping[str, np.ndarray], name: str, flag: str, where: str) -> np.ndarray:
  if name in arrays:
    return arrays[name]
  hint = f'; --{flag} names another' if flag else ''
  raise UsageError(f'{where}: has no array {name} (it has {", ".join(sorted(arrays))}){hint}')


def _whose(arrays: Mapping[str, np.ndarray], rows: int, y_name: str, where: str) -> str:
  """The array that says whose a row is; empty where none can."""
  names = [name for name in arrays if name.lower() in _WHO and arrays[name].shape == (rows,)]
  if len(names) == 1:
    return names[0]
  others = {name: array for name, array in arrays.items() if name not in ('x', y_name, *_TESTS)}
  possible = [name for name, array in others.items() if array.shape == (rows,)]
  if not possible:
    return ''
  near = registry.nearest('client', possible) or (possible[0] if len(possible) == 1 else 'NAME')
  if names:
    what = f'several arrays may say whose a row is ({", ".join(names)})'
  else:
    listed = ', '.join(possible)
    what = f'no array is called client, user or the like; of one number or name a row are {listed}'
  raise UsageError(f'{where}: {what}; say which by --client_column={near}')


def _tested(arrays: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
  for name in _TESTS:
    array: Optional[np.ndarray] = arrays.get(name)
    if array is not None and array.shape == (rows,) and set(np.unique(array).tolist()) <= {0, 1}:
      return array.astype(bool)
  return np.zeros(rows, bool)


def _check_numbers(name: str, array: np.ndarray, where: str) -> None:
  if array.dtype.kind not in 'fiub':
    raise UsageError(f'{where}: {name} holds {array.dtype} values, not numbers')
  if array.dtype.kind == 'f' and not np.isfinite(array).all():
    finite = np.isfinite(array).reshape(len(array), -1).all(axis=1)
    raise UsageError(f'{where}: {name} holds NaN or infinity in row {int(np.argmin(finite)) + 1}')


def _text(value) -> str:
  return value.decode(errors='replace') if isinstance(value, bytes) else str(value)


def _described(array: np.ndarray) -> str:
  return f'{array.dtype} {list(array.shape)}'
