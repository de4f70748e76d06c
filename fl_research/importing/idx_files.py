"""IDX files of any name: examples, labels, and perhaps test examples and test labels.

Which file is which is seen by its content and name: labels have one dimension, test files have
`test` or `t10k` in their name. Nobody owns an example: they are dealt out by `--partition`.
"""

from collections.abc import Iterator
import os
import pathlib

import numpy as np

from fl_research.datasets import files, idx, pixels
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import forms, held_out, memory, problems
from fl_research.importing.source import Counts, Found, Part, Source, Spec
from fl_research.registry import UsageError

_ROWS_AT_ONCE = 4096
_TESTS = ('test', 't10k')


def load(options: DatasetOptions) -> memory.Data:
  """Reads the files of the folder `options.data_file` into memory; also reads `options.seed`."""
  return memory.read(open_source(options))


def open_source(options: DatasetOptions) -> Source:
  """The files of the folder `options.data_file`.

  Raises:
    UsageError: a file is damaged, or examples and labels do not belong together; one line.
  """
  return held_out.complete(_IdxFolder(options.data_file or ''), options.seed)


class _IdxFolder(Source):
  """Two files, or four."""

  pooled = True

  def __init__(self, folder: str):
    where = f'--data_file={folder}'
    if not os.path.isdir(folder):
      raise UsageError(
        f'{where}: IDX files are named by their folder, with examples and labels in it'
      )
    paths = [
      pathlib.Path(folder) / name
      for name in sorted(os.listdir(folder))
      if not forms.is_hidden(name) and not forms.is_paper(name)
    ]
    self._arrays: dict[tuple[bool, str], np.ndarray] = {}
    names: dict[tuple[bool, str], pathlib.Path] = {}
    for path in paths:
      array = idx.read(path, any_type=True)
      test = any(word in path.name.lower() for word in _TESTS)
      key = (test, 'y' if array.ndim == 1 else 'x')
      if key in names:
        what = f'{"test " * test}{"labels" if key[1] == "y" else "examples"}'
        raise UsageError(f'{where}: {names[key].name} and {path.name} are both {what}; keep one')
      names[key], self._arrays[key] = path, array
    for key, what in (((False, 'x'), 'examples'), ((False, 'y'), 'labels (one dimension)')):
      if key not in names:
        raise UsageError(f'{where}: no IDX file of {what} in it')
    has_test = (True, 'x') in names
    if has_test != ((True, 'y') in names):
      raise UsageError(f'{where}: has test {"examples" if has_test else "labels"} only')
    for test in (False, True)[: 1 + has_test]:
      x, y = self._arrays[test, 'x'], self._arrays[test, 'y']
      if len(x) != len(y):
        raise UsageError(f'{names[test, "y"]}: {len(y)} labels for {len(x)} examples')
      if x.shape[1:] != self._arrays[False, 'x'].shape[1:]:
        raise UsageError(f'{names[test, "x"]}: examples are {list(x.shape[1:])}, others are not')
    x, y = self._arrays[False, 'x'], self._arrays[False, 'y']
    every = np.concatenate([y, self._arrays[True, 'y']]) if has_test else y
    if not len(y):
      raise UsageError(f'{where}: holds no examples')
    kind = problems.kind(every, x.astype(np.float32)[:0], where)
    self._is_picture = x.dtype == np.uint8 and pixels.is_picture(x.shape[1:])
    shape = (*x.shape[1:], 1) if self._is_picture and x.ndim == 3 else x.shape[1:]
    self.spec = Spec(shape, np.dtype(np.float32), (), kind.dtype, kind.problem, kind.num_classes)
    tested = len(every) - len(y)
    self.counts = Counts(['all'], np.array([len(y)]), np.array([tested]))
    self.files = {path.name: files.sha256_of(path) for path in names.values()}
    if self._is_picture:
      self.preprocessing = pixels.preprocessing(shape)
    self.found = Found(
      form=f'IDX files ({", ".join(path.name for path in names.values())})',
      clients='nobody: dealt out by --partition',
      label=f'{names[False, "y"].name}, {problems.described(kind.problem, kind.num_classes)}',
      notes=['levels of 0 to 255 are divided by 255'] if self._is_picture else [],
    )

  def parts(self) -> Iterator[Part]:
    for test in (False, True):
      if (test, 'y') not in self._arrays:
        continue
      x, y = self._arrays[test, 'x'], self._arrays[test, 'y']
      for first in range(0, len(y), _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        own = pixels.scaled(x[rows]) if self._is_picture else x[rows].astype(np.float32)
        own = own.reshape(-1, *self.spec.x_shape)
        yield Part(0, test, {'x': own, 'y': y[rows].astype(self.spec.y_dtype)})
