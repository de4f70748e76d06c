"""The files in which TFF's data sets come: HDF5 (`examples/<client>/<feature>`) and SQLite.

One file, or a folder with a train and a test file; SQLite has its splits inside. Features of bytes
(`snippets`) are texts, of which the next character or word is predicted (see `text`). Otherwise
the label is the feature `label`, or the one that `--label_column` names, and x the largest of the
others; numbers without a shape that would make a square picture are one.
"""

import abc
from collections.abc import Iterator, Mapping, Sequence
import contextlib
import os
import pathlib
import sqlite3
from typing import NamedTuple, Optional

import numpy as np

from fl_research import registry
from fl_research.datasets import files, pixels
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import forms, held_out, memory, problems, text
from fl_research.importing.source import Counts, Found, Part, Source, Spec
from fl_research.registry import UsageError

_LABELS = ('label', 'labels', 'y', 'target')
_IS_TEST = {'train': False, 'training': False, 'test': True}
_SQLITE = b'SQLite format 3\0'


def load(options: DatasetOptions) -> memory.Data:
  """Reads the file or folder `options.data_file` into memory; also reads `options.seed`."""
  return memory.read(open_source(options))


def open_source(options: DatasetOptions) -> Source:
  """The file or folder `options.data_file`.

  Raises:
    UsageError: it is not of TFF's form, damaged, or has no label; one line.
  """
  path = options.data_file or ''
  readers = [_open(own, test) for own, test in _listing(path)]
  first = next((client for reader in readers for client in reader.clients()), None)
  if first is None:
    raise UsageError(f'--data_file={path}: no client in it')
  form = f"TFF's {readers[0].form} ({', '.join(reader.path.name for reader in readers)})"
  texts = [name for name, array in first.features.items() if array.dtype.kind in 'SO']
  if texts and not options.label_column:
    passes = _Snippets(readers, texts[0])
    own = text.Texts(passes.texts, options, form, 'clients of the files', passes, texts[0])
    return held_out.complete(own, options.seed)
  return held_out.complete(_Arrays(readers, form, options), options.seed)


def new(path: str, features: Sequence[str]) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
  """Clients of new files, with all features.

  Args:
    path: a file or folder.
    features: those that all must have.

  Raises:
    UsageError: it is not of TFF's form, or lacks a feature; one line.
  """
  for reader in [_open(own, test) for own, test in _listing(path)]:
    for client in reader.clients():
      for name in features:
        if name not in client.features:
          raise UsageError(
            f'{reader.path}: client {client.name} has no {name}, which the run was trained on'
          )
      yield client.name, client.features


class _Client(NamedTuple):
  """A client's examples in one split: an array per feature."""

  name: str
  test: bool
  features: Mapping[str, np.ndarray]


class _Reader(abc.ABC):
  """One file.

  Args:
    path: the file.
    test: whether all of it are test examples; None where the file says.
  """

  form = ''

  def __init__(self, path: pathlib.Path, test: Optional[bool]):
    self.path = path
    self._test = test

  @abc.abstractmethod
  def clients(self) -> Iterator[_Client]:
    """All clients, one at a time."""


class _Hdf5(_Reader):
  form = 'HDF5'

  def clients(self) -> Iterator[_Client]:
    import h5py

    try:
      with h5py.File(self.path, 'r') as stored:
        if 'examples' not in stored:
          raise UsageError(f"{self.path}: has no group `examples`, so it is not of TFF's form")
        for name, group in stored['examples'].items():
          if not isinstance(group, h5py.Group):
            raise UsageError(f'{self.path}: examples/{name} is no client with features')
          features = {key: np.asarray(values) for key, values in group.items()}
          yield _Client(name, bool(self._test), features)
    except UsageError:
      raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
      raise UsageError(
        f'{self.path}: damaged, cut short or no HDF5 ({files.one_line(error)[:80]})'
      ) from error


class _Sqlite(_Reader):
  form = 'SQLite'

  def clients(self) -> Iterator[_Client]:
    try:
      uri = f'{self.path.absolute().as_uri()}?mode=ro'
      with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
        pairs = connection.execute(
          'SELECT split_name, client_id FROM client_metadata ORDER BY split_name DESC, client_id'
        ).fetchall()
        for split, name in pairs:
          if split not in _IS_TEST:
            continue
          rows = connection.execute(
            'SELECT serialized_example_proto FROM examples WHERE split_name=? AND client_id=? '
            'ORDER BY rowid',
            (split, name),
          )
          examples = [_parsed(blob, self.path) for (blob,) in rows]
          if examples:
            yield _Client(name, _IS_TEST[split], _stacked(examples, self.path, name))
    except sqlite3.Error as error:
      raise UsageError(
        f"{self.path}: damaged, or no database of TFF's form ({files.one_line(error)})"
      ) from error


def _parsed(blob: bytes, path: pathlib.Path) -> dict[str, np.ndarray]:
  """The features of a serialised `tf.train.Example`."""
  import fl_research.environment  # noqa: F401, I001  before TensorFlow
  import tensorflow as tf

  try:
    features = tf.train.Example.FromString(blob).features.feature
  except Exception as error:  # of protobuf, which has a class of errors for every implementation
    raise UsageError(f'{path}: an example in it is damaged') from error
  values = {}
  for name, feature in features.items():
    kind = feature.WhichOneof('kind')
    own = list(getattr(feature, kind).value) if kind else []
    values[name] = np.array(own, object if kind == 'bytes_list' else None)
  return values


def _stacked(
  examples: Sequence[Mapping[str, np.ndarray]], path: pathlib.Path, name: str
) -> dict[str, np.ndarray]:
  try:
    stacked = {key: np.stack([own[key] for own in examples]) for key in examples[0]}
  except (KeyError, ValueError) as error:
    raise UsageError(f'{path}: examples of client {name} have different features') from error
  return {k: array[:, 0] if array.shape[1:] == (1,) else array for k, array in stacked.items()}


def _listing(path: str) -> list[tuple[pathlib.Path, Optional[bool]]]:
  """The files, and whether each is of test examples."""
  if os.path.isfile(path):
    return [(pathlib.Path(path), None)]
  if not os.path.isdir(path):
    raise UsageError(f'--data_file={path}: no such file or folder')
  names = [
    name for name in sorted(os.listdir(path)) if not (forms.is_hidden(name) or forms.is_paper(name))
  ]
  paths = [pathlib.Path(path) / name for name in names]
  tests: list[Optional[bool]] = ['test' in name.lower() for name in names]
  if len(paths) > 2 or (len(paths) == 2 and tests[0] == tests[1]):
    raise UsageError(
      f'--data_file={path}: holds {", ".join(names[:5])}; accepted is one file, or one for '
      'training and one with `test` in its name'
    )
  return sorted(zip(paths, tests if len(paths) == 2 else [None]), key=lambda pair: bool(pair[1]))


def _open(path: pathlib.Path, test: Optional[bool]) -> _Reader:
  try:
    with open(path, 'rb') as stream:
      start = stream.read(len(_SQLITE))
  except OSError as error:
    raise UsageError(f'{path}: cannot be read ({files.one_line(error)})') from error
  return (_Sqlite if start == _SQLITE else _Hdf5)(path, test)


class _Snippets(text.Files):
  """The texts of all files."""

  def __init__(self, readers: Sequence[_Reader], feature: str):
    super().__init__()
    self._readers = readers
    self._feature = feature
    self.hashes = {reader.path.name: files.sha256_of(reader.path) for reader in readers}

  def texts(self) -> Iterator[text.Text]:
    for reader in self._readers:
      for client in reader.clients():
        if self._feature not in client.features:
          raise UsageError(f'{reader.path}: client {client.name} has no {self._feature}')
        for snippet in client.features[self._feature]:
          own = snippet if isinstance(snippet, bytes) else str(snippet).encode()
          yield text.Text(client.name, own.decode(errors='replace'), client.test)


class _Arrays(Source):
  """Clients with a label and a feature of numbers."""

  def __init__(self, readers: Sequence[_Reader], form: str, options: DatasetOptions):
    self._readers = readers
    self._where = f'--data_file={options.data_file}'
    self.files = {reader.path.name: files.sha256_of(reader.path) for reader in readers}
    self._y_name = self._x_name = ''
    sizes: dict[str, list[int]] = {}
    ends: list[np.ndarray] = []
    largest, like = 0.0, None
    for client in self._clients():
      like = like or self._choose(client, options.label_column)
      x, y = self._pair(client)
      if not len(y):
        continue
      sizes.setdefault(client.name, [0, 0])[client.test] += len(y)
      largest = max(largest, float(np.abs(x).max(initial=0)))
      ends.append(np.stack([y.min(axis=0), y.max(axis=0)]))
    if like is None or not sizes:
      raise UsageError(f'{self._where}: no client has an example')
    x, y = self._pair(like)
    kind = problems.kind(np.concatenate(ends), np.zeros(0, np.float32), self._where)
    flat = pixels.shape_of_flat(x.shape[1]) if x.ndim == 2 else None
    shape = flat or x.shape[1:] or (1,)
    if len(shape) == 2 and pixels.is_picture(shape):
      shape = (*shape, 1)
    levels = x.dtype.kind in 'iu' and 1 < largest <= pixels.LEVELS
    self._divided = levels and pixels.is_picture(shape)
    self.spec = Spec(
      shape, np.dtype(np.float32), y.shape[1:], kind.dtype, kind.problem, kind.num_classes
    )
    counts = np.array(list(sizes.values()), np.int64)
    self._position = {name: k for k, name in enumerate(sizes)}
    self.counts = Counts(list(sizes), counts[:, 0], counts[:, 1])
    notes = []
    self.preprocessing = {'feature': self._x_name, 'label': self._y_name}
    if self._divided:
      notes.append('levels of 0 to 255 are divided by 255')
      self.preprocessing |= pixels.preprocessing(shape)
    left = [name for name in like.features if name not in (self._x_name, self._y_name)]
    if left:
      notes.append(f'features that are not used: {", ".join(left)}')
    described = problems.described(kind.problem, kind.num_classes)
    self.found = Found(
      form, 'clients of the files', f'feature {self._y_name}, {described}', notes=notes
    )

  def _clients(self) -> Iterator[_Client]:
    for reader in self._readers:
      yield from reader.clients()

  def _choose(self, client: _Client, given: Optional[str]) -> _Client:
    """Which features are x and y, by the first client."""
    names = list(client.features)
    if given and given not in names:
      hint = registry.suggestion(given, names)
      raise UsageError(
        f'--label_column={given}: no such feature{hint}; the files have {", ".join(names)}'
      )
    own = [name for name in _LABELS if name in names]
    if not given and not own:
      raise UsageError(
        f'{self._where}: no feature is called label (they are {", ".join(names)}); say which by '
        '--label_column'
      )
    self._y_name = given or own[0]
    others = [n for n in names if n != self._y_name and client.features[n].dtype.kind in 'fiub']
    if not others:
      raise UsageError(f'{self._where}: no feature of numbers beside {self._y_name}')
    self._x_name = max(others, key=lambda name: client.features[name].size)
    return client

  def _pair(self, client: _Client) -> tuple[np.ndarray, np.ndarray]:
    pair = []
    for name in (self._x_name, self._y_name):
      array = client.features.get(name)
      if array is None or array.dtype.kind not in 'fiub':
        what = 'no' if array is None else 'text for'
        raise UsageError(f'{self._where}: client {client.name} has {what} feature {name}')
      if array.dtype.kind == 'f' and not np.isfinite(array).all():
        raise UsageError(f'{self._where}: client {client.name} has NaN or infinity in {name}')
      pair.append(array)
    x, y = pair
    if len(x) != len(y):
      raise UsageError(
        f'{self._where}: client {client.name} has {len(x)} {self._x_name} and {len(y)} '
        f'{self._y_name}'
      )
    return x, y

  def parts(self) -> Iterator[Part]:
    for client in self._clients():
      x, y = self._pair(client)
      if not len(y):
        continue
      if x.size != len(y) * int(np.prod(self.spec.x_shape)):
        raise UsageError(
          f'{self._where}: {self._x_name} of client {client.name} is {list(x.shape)}, and that of '
          f'others {list(self.spec.x_shape)}'
        )
      own = pixels.scaled(x) if self._divided else x.astype(np.float32)
      examples = {'x': own.reshape(len(y), *self.spec.x_shape), 'y': y.astype(self.spec.y_dtype)}
      yield Part(self._position[client.name], client.test, examples)
