"""Our own form of data on disk: a folder of arrays, and a page that says what they are.

    data.json           version, what an example is, checksums, what was found, the passport
    train_x.npy, train_y.npy, test_x.npy, test_y.npy     rows client by client
    ids.npy, train_offsets.npy, …    whose they are, see `client_index`
    preprocessing.npz   arrays of the preprocessing, where it has any
    verified.json       when large files last had their checksums

Writing goes through the source once, a part at a time, so that memory does not grow with the data;
reading maps the arrays. Nothing is ever pickled. A folder is written under another name beside its
own and gets its own when it is whole: half a folder is never seen.

Checksums are compared at every opening. Those of files above 64 MiB, which takes long, are compared
again only if a file's time is not the one at which it last had its checksum.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any, Optional

import numpy as np
from numpy.lib import format as npy_format

from fl_research.datasets import files, passport
from fl_research.datasets.federated_data import (
  Clients,
  DatasetOptions,
  Examples,
  InputColumn,
  LabelScale,
  Problem,
)
from fl_research.importing import client_index, memory
from fl_research.importing.places import Places
from fl_research.importing.source import ColumnFound, Counts, Found, Part, Source, Spec
from fl_research.registry import UsageError

PAGE = 'data.json'
VERSION = 2
_READ_TOO = (1,)
"""Versions without an index: the clients stand in the page."""
_FORMAT = 'data of fl_research'
_ARRAYS_OF_PREPROCESSING = 'preprocessing.npz'
_SPLITS = {False: 'train', True: 'test'}
_VERIFIED = 'verified.json'
_LARGE = 64 << 20
_IS_ARRAY = '$array'

Watch = Callable[[Part], None]
"""Sees every part that is written."""


def load(options: DatasetOptions) -> memory.Data:
  """Opens the folder `options.data_file`; the arrays stay on disk.

  Raises:
    UsageError: it is no such folder, of another version, or damaged; one line.
  """
  folder = _folder(options.data_file)
  page = _page(folder)
  spec, stored = _spec(page['spec']), _Stored(folder, page)
  facts = {
    'sources': {f'{folder.name}/{PAGE}': files.sha256_of(folder / PAGE)},
    'preprocessing': _preprocessing(folder, page),
    'class_names': tuple(page['found']['classes']),
  }
  if page.get('passport') is not None:
    facts['passport'] = page['passport']
  try:
    train, test = (stored.arrays(split, spec) for split in _SPLITS.values())
    return memory.assemble(spec, page['pooled'], train, test, stored.clients, facts)
  except ValueError as error:
    raise _damaged(folder / PAGE, files.one_line(error)) from error


def open_source(options: DatasetOptions) -> Source:
  """The folder `options.data_file` as a source: what was found when it was written."""
  page = _page(_folder(options.data_file))
  found = dict(page['found'])
  found['columns'] = [ColumnFound(**column) for column in found['columns']]
  return memory.Loaded(load(options), Found(**found))


def write(source: Source, folder: str, watch: Optional[Watch] = None) -> None:
  """Writes a source into a new folder.

  Args:
    source: what to write.
    folder: its name; nothing may be there.
    watch: sees every part.

  Raises:
    UsageError: there is such a folder, it cannot be made, or a file of the source is damaged.
      Nothing is left behind then.
  """
  check_free(folder)
  target = pathlib.Path(os.path.abspath(folder))
  with _beside(target) as partial:
    _write_arrays(source, partial, watch)
    client_index.write(partial, source.counts)
    page = _describe(source, partial)
    page['passport'] = _passport(source, partial, page)
    page['sha256'] = _digest(page)
    (partial / PAGE).write_text(json.dumps(page, indent=1) + '\n')
    for path in (*partial.iterdir(), partial):
      _sync(path)
    try:
      os.rename(partial, target)
    except OSError as error:
      raise UsageError(f'--write={folder}: cannot be made ({files.one_line(error)})') from error
    _sync(target.parent)


def check_free(folder: str) -> None:
  """Raises `UsageError` if there is something of this name."""
  if os.path.lexists(folder):
    raise UsageError(f'--write={folder}: is there already; choose another name or remove it')


@contextlib.contextmanager
def _beside(target: pathlib.Path) -> Iterator[pathlib.Path]:
  """A new folder beside `target`, which goes when the block fails."""
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=f'.{target.name}.partial-'))
    partial.chmod(0o755)
  except OSError as error:
    raise UsageError(f'--write={target}: cannot be made ({files.one_line(error)})') from error
  try:
    yield partial
  finally:
    shutil.rmtree(partial, ignore_errors=True)


class _Rows:
  """An array file that is written a few rows at a time, anywhere in it."""

  def __init__(self, path: pathlib.Path, dtype: np.dtype, shape: tuple[int, ...]):
    self._dtype = np.dtype(dtype).newbyteorder('<')
    self._row_bytes = self._dtype.itemsize * int(np.prod(shape[1:]))
    self._row_shape = shape[1:]
    self._stream = open(path, 'wb')  # noqa: SIM115  closed by `close`
    header = {'descr': self._dtype.str, 'fortran_order': False, 'shape': shape}
    npy_format.write_array_header_1_0(self._stream, header)
    self._start = self._stream.tell()
    self._stream.truncate(self._start + self._row_bytes * shape[0])

  def put(self, first: int, rows: np.ndarray) -> None:
    if rows.shape[1:] != self._row_shape:
      raise ValueError(f'rows of shape {rows.shape[1:]}, not {self._row_shape}')
    self._stream.seek(self._start + first * self._row_bytes)
    self._stream.write(np.ascontiguousarray(rows, self._dtype).data)

  def close(self) -> None:
    self._stream.close()


def _write_arrays(source: Source, folder: pathlib.Path, watch: Optional[Watch]) -> None:
  spec, sizes = source.spec, {False: source.counts.train, True: source.counts.test}
  types = {'x': (spec.x_dtype, spec.x_shape), 'y': (spec.y_dtype, spec.y_shape)}
  places = Places(source)
  with contextlib.ExitStack() as stack:
    arrays: dict[tuple[bool, str], _Rows] = {}
    for test, split in _SPLITS.items():
      for key, (dtype, shape) in types.items():
        path = folder / f'{split}_{key}.npy'
        array = _Rows(path, dtype, (int(sizes[test].sum()), *shape))
        arrays[test, key] = stack.enter_context(contextlib.closing(array))
    for part in source.parts():
      first, _ = places.take(part)
      for key, rows in part.examples.items():
        arrays[part.test, key].put(first, rows)
      if watch is not None:
        watch(part)
  places.check_full()


def _describe(source: Source, folder: pathlib.Path) -> dict[str, Any]:
  """What data.json says, all but its own checksum."""
  preprocessing, arrays = _without_arrays(source.preprocessing)
  if arrays:
    np.savez(folder / _ARRAYS_OF_PREPROCESSING, **arrays)
  spec = source.spec
  return {
    'format': _FORMAT,
    'version': VERSION,
    'pooled': source.pooled,
    'spec': {
      'x_shape': list(spec.x_shape),
      'x_dtype': np.dtype(spec.x_dtype).name,
      'y_shape': list(spec.y_shape),
      'y_dtype': np.dtype(spec.y_dtype).name,
      'problem': spec.problem.value,
      'num_classes': spec.num_classes,
      'inputs': None if spec.inputs is None else [dataclasses.asdict(i) for i in spec.inputs],
      'label_scale': None if spec.label_scale is None else spec.label_scale.to_data(),
    },
    'found': dataclasses.asdict(source.found),
    'arrays': {
      path.name: {'bytes': path.stat().st_size, 'sha256': files.sha256_of(path)}
      for path in sorted(folder.iterdir())
    },
    'sources': dict(source.files),
    'preprocessing': preprocessing,
  }


def _without_arrays(data: Any) -> tuple[Any, dict[str, np.ndarray]]:
  """JSON-able data with a name in the place of each array, and the arrays by name."""
  arrays: dict[str, np.ndarray] = {}

  def replaced(value: Any) -> Any:
    if isinstance(value, np.ndarray):
      arrays[f'array_{len(arrays)}'] = value
      return {_IS_ARRAY: f'array_{len(arrays) - 1}'}
    if isinstance(value, np.generic):
      return value.item()
    if isinstance(value, Mapping):
      return {str(key): replaced(own) for key, own in value.items()}
    return [replaced(own) for own in value] if isinstance(value, (list, tuple)) else value

  return replaced(data), arrays


def _with_arrays(data: Any, arrays: Mapping[str, np.ndarray]) -> Any:
  if isinstance(data, dict):
    if set(data) == {_IS_ARRAY}:
      return arrays[data[_IS_ARRAY]]
    return {key: _with_arrays(value, arrays) for key, value in data.items()}
  return [_with_arrays(value, arrays) for value in data] if isinstance(data, list) else data


def _digest(page: Mapping[str, Any]) -> str:
  own = {key: value for key, value in page.items() if key != 'sha256'}
  return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def _sync(path: pathlib.Path) -> None:
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _folder(data_file: Optional[str]) -> pathlib.Path:
  if not data_file:
    raise UsageError('--data_file is missing: imported needs a folder that import_data wrote')
  folder = pathlib.Path(data_file)
  if not (folder / PAGE).is_file():
    raise UsageError(
      f'--data_file={data_file}: has no {PAGE}, so it is no folder of experiments.import_data'
    )
  return folder


def _page(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / PAGE
  try:
    page = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise _damaged(path, files.one_line(error)) from error
  if not isinstance(page, dict) or page.get('format') != _FORMAT:
    raise UsageError(f'{path}: is not of experiments.import_data')
  if page.get('version') not in (VERSION, *_READ_TOO):
    raise UsageError(
      f'{path}: has version {page.get("version")}, and this program reads {VERSION}; import the '
      'original files again'
    )
  if page.get('sha256') != _digest(page):
    raise _damaged(path, 'its checksum is wrong')
  return page


def _damaged(path: pathlib.Path, why: str) -> UsageError:
  return UsageError(f'{path}: damaged ({why}); import the original files again')


def _spec(data: Mapping[str, Any]) -> Spec:
  inputs, scale = data['inputs'], data['label_scale']
  return Spec(
    x_shape=tuple(data['x_shape']),
    x_dtype=np.dtype(data['x_dtype']),
    y_shape=tuple(data['y_shape']),
    y_dtype=np.dtype(data['y_dtype']),
    problem=Problem(data['problem']),
    num_classes=data['num_classes'],
    inputs=None if inputs is None else tuple(InputColumn(**own) for own in inputs),
    label_scale=None if scale is None else LabelScale.from_data(scale),
  )


class _Stored:
  """The arrays of a folder.

  Args:
    folder: where they are.
    page: what data.json says.
  """

  def __init__(self, folder: pathlib.Path, page: Mapping[str, Any]):
    self._folder, self._page = folder, page
    self._verified = _Verified(folder / _VERIFIED)

  def note(self) -> None:
    """Notes that the large files have just had their checksums."""
    self._verified.note(
      self._folder / name for name, own in self._page['arrays'].items() if own['bytes'] > _LARGE
    )

  def clients(self, examples: Examples, test: bool) -> Clients:
    """The clients that have these examples."""
    split = _SPLITS[test]
    if self._page['version'] == VERSION:
      return client_index.clients(split, self._page['arrays'], self.array, examples)
    data = self._page['clients']
    sizes = {name: np.asarray(data[name], np.int64) for name in _SPLITS.values()}
    return memory.clients(examples, Counts(data['ids'], **sizes), sizes[split])

  def arrays(self, split: str, spec: Spec) -> dict[str, np.ndarray]:
    """The examples of a split, mapped."""
    shapes = {'x': spec.x_shape, 'y': spec.y_shape}
    arrays = {key: self.array(f'{split}_{key}.npy') for key in shapes}
    for key, array in arrays.items():
      if array.shape != (len(arrays['y']), *shapes[key]):
        expected = (len(arrays['y']), *shapes[key])
        name = f'{split}_{key}.npy'
        raise _damaged(self._folder / name, f'shape {array.shape}, not {expected}')
    return arrays

  def array(self, name: str) -> np.ndarray:
    """A file's array, mapped."""
    path = self._verified.check(self._folder, self._page, name)
    return np.load(path, mmap_mode='r', allow_pickle=False)


class _Verified:
  """When files that take long to read last had their checksums.

  Args:
    path: where that is noted; nothing is where nobody may write.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    try:
      self._times = json.loads(path.read_text())
    except (OSError, ValueError):
      self._times = {}

  def check(self, folder: pathlib.Path, page: Mapping[str, Any], name: str) -> pathlib.Path:
    """A file of the folder, if it is what was written."""
    path, expected = folder / name, page['arrays'].get(name)
    if expected is None or not path.is_file():
      raise _damaged(path, 'not there')
    status = path.stat()
    if status.st_size != expected['bytes']:
      raise _damaged(path, f'{status.st_size} of {expected["bytes"]} bytes')
    known = status.st_size > _LARGE and self._times.get(name) == status.st_mtime_ns
    if not known and files.sha256_of(path) != expected['sha256']:
      raise _damaged(path, 'its checksum is wrong')
    if not known and status.st_size > _LARGE:
      self.note([path])
    return path

  def note(self, paths: Iterable[pathlib.Path]) -> None:
    """Notes that files had their checksums."""
    self._times.update({path.name: path.stat().st_mtime_ns for path in paths})
    if self._times:
      with contextlib.suppress(OSError):
        self._path.write_text(json.dumps(self._times))


def _passport(source: Source, folder: pathlib.Path, page: Mapping[str, Any]) -> Any:
  """Of the training clients that were written; None where nobody owns an example."""
  if source.pooled or not source.counts.train.any():
    return None
  stored = _Stored(folder, page)
  stored.note()
  train = stored.clients(stored.arrays('train', source.spec), False)
  return passport.passport(train, source.spec.problem)


def _preprocessing(folder: pathlib.Path, page: Mapping[str, Any]) -> Any:
  arrays: dict[str, np.ndarray] = {}
  if _ARRAYS_OF_PREPROCESSING in page['arrays']:
    path = _Verified(folder / _VERIFIED).check(folder, page, _ARRAYS_OF_PREPROCESSING)
    with np.load(path, allow_pickle=False) as stored:
      arrays = {name: stored[name] for name in stored.files}
  return _with_arrays(page['preprocessing'], arrays)
