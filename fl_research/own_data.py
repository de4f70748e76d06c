"""Data that a Python program has already, as the data of an experiment.

What is in memory goes the way of files (`fl_research.importing`): written to a temporary file, it
is read, checked and told apart as they are, by the same rules and with the same errors.
"""

from collections.abc import Callable, Iterable, Mapping
import os
import pathlib
import tempfile
from typing import Any, Optional, Union

import numpy as np
import pandas as pd

from fl_research import registry, tasks
from fl_research import settings as settings_lib
from fl_research.datasets.federated_data import FederatedData, PooledData
from fl_research.registry import UsageError
from fl_research.soundness import validation
from fl_research.training import run_data

_ALSO = ('task', 'data_dir', 'seed', 'partition', 'num_clients')
"""What else `import_data` looks at, beside what tasks read."""

Data = Union[FederatedData, PooledData]
Arrays = tuple[np.ndarray, np.ndarray]
"""(x [n, …], y [n] or [n, …])."""


def _to_parquet(table: pd.DataFrame, path: pathlib.Path) -> None:
  import pyarrow as pa

  try:
    table.to_parquet(path, index=False)
  except (pa.ArrowException, TypeError) as error:
    why = error.args[-1] if error.args else error
    raise UsageError(
      f'from_table: {why}; make numbers, texts, dates or lists of it, or drop the column'
    ) from error


def import_data(data_file: Union[str, os.PathLike], **settings: Any) -> Data:
  """The data in files, of any form that `experiments.import_data` reads.

  Args:
    data_file: a file or folder.
    **settings: flags that say how it is read, by name: `client_column`, `label_column`, `columns`,
      `task` where the form is not found, `seed` for the rows that are held out, ….

  Raises:
    UsageError: it cannot be read, and what to do; one line.
  """
  if not isinstance(data_file, (str, os.PathLike)):
    raise UsageError(
      f'import_data: is given a {type(data_file).__name__}; expected is the name of a file or '
      'folder; from_table, from_arrays and from_datasets take what is in memory'
    )
  known = dict.fromkeys([*(name for task in tasks.TASKS.values() for name in task.reads), *_ALSO])
  for name in settings:
    if name not in known:
      hint = registry.suggestion(name, known)
      raise UsageError(f'import_data: {name} says nothing of how files are read{hint}')
  given = settings_lib.from_flags({**settings, 'data_file': os.fspath(data_file)})
  completed = settings_lib.complete(given)
  validation.check_fields(completed)
  validation.check_own_data(completed)
  return tasks.load(completed.task, run_data.options(completed))


def from_table(
  table: pd.DataFrame,
  label: Union[str, Iterable[str]],
  client: Optional[str] = None,
  columns: Optional[Mapping[str, str]] = None,
  seed: int = 0,
) -> Data:
  """The rows of a table; what becomes of each column is found out as for a CSV.

  Args:
    table: a row per example.
    label: the column to predict, or several.
    client: the column that says whose a row is; the rows are dealt out by `partition` and
      `num_clients` of the experiment when None.
    columns: roles of columns by name, where the guess would be another: `{'note': 'ignore'}`.
    seed: decides which fifth of each client's rows is its test part.

  Raises:
    UsageError: a column cannot be used; one line that names it.
  """
  if not isinstance(table, pd.DataFrame):
    raise UsageError(f'from_table: is given a {type(table).__name__}; expected is a DataFrame')
  if columns is not None and not isinstance(columns, Mapping):
    raise UsageError("from_table: columns are roles by column, {'note': 'ignore'}")
  table = table.rename(columns=str)
  one = isinstance(label, str) or not isinstance(label, Iterable)
  names = [str(label)] if one else [str(name) for name in label]
  client = None if client is None else str(client)
  for name in (*names, *([] if client is None else [client])):
    if name in table.index.names:
      raise UsageError(f'from_table: {name} is in the index; give table.reset_index()')
  if not table.columns.is_unique:
    twice = table.columns[table.columns.duplicated()][0]
    raise UsageError(f'from_table: several columns are named {twice}')
  said = ','.join(f'{name}:{role}' for name, role in (columns or {}).items())
  settings = {'label_column': ','.join(names), 'columns': said, 'seed': seed, 'task': 'tabular'}
  settings |= {'client_column': client} if client else {'partition': 'iid'}
  return _by_file('table.parquet', lambda path: _to_parquet(table, path), settings)


def from_arrays(
  clients: Mapping[str, Arrays], test: Optional[Mapping[str, Arrays]] = None, seed: int = 0
) -> Data:
  """Clients' arrays.

  What is predicted follows from y as in a folder of .npz files (docs/own_data.md): whole numbers
  [n] are classes (0 and 1: binary), fractions [n] a regression, 0 and 1 [n, k] tags, whole numbers
  like those of x [n, length] the next token. Pictures of type uint8 are divided by 255.

  Args:
    clients: by id, the examples that a client trains on.
    test: by id, examples to test clients on; a fifth of `clients`, drawn from the seed, when None.
    seed: of that draw.

  Raises:
    UsageError: arrays do not fit together, or hold what cannot be used; one line.
  """
  for given in (clients, test):
    _check_mapping('from_arrays', given)
  parts = [(name, False, *_both(name, pair)) for name, pair in clients.items()]
  parts += [(name, True, *_both(name, pair)) for name, pair in (test or {}).items()]
  if not parts:
    raise UsageError('from_arrays: there are no clients')
  _check_alike({name: (x, y) for name, _, x, y in parts})
  sizes = [len(part[3]) for part in parts]
  arrays = {
    'x': np.concatenate([part[2] for part in parts]),
    'y': np.concatenate([part[3] for part in parts]),
    'client': np.repeat(np.array([str(part[0]) for part in parts]), sizes),
    'is_test': np.repeat([part[1] for part in parts], sizes),
  }
  return _by_file(
    'arrays.npz', lambda path: np.savez(path, **arrays), {'task': 'npz', 'seed': seed}
  )


def from_datasets(
  clients: Mapping[str, Iterable[Any]],
  test: Optional[Mapping[str, Iterable[Any]]] = None,
  seed: int = 0,
) -> Data:
  """Clients' `tf.data.Dataset`s, one example each: `(x, y)` or a mapping with `x` and `y`.

  They are read into memory. Arguments and errors are those of `from_arrays`.
  """
  for given in (clients, test):
    _check_mapping('from_datasets', given)
  read = lambda sets: {name: _stacked(name, examples) for name, examples in sets.items()}
  return from_arrays(read(clients), None if test is None else read(test), seed)


def _check_mapping(function: str, given: Any) -> None:
  if given is not None and not isinstance(given, Mapping):
    raise UsageError(
      f'{function}: is given a {type(given).__name__}; expected is a mapping from client to data'
    )


def _both(client: str, pair: Any) -> Arrays:
  try:
    x, y = (np.asarray(array) for array in pair)
  except (TypeError, ValueError) as error:
    raise UsageError(f'client {client}: expected are two arrays, (x, y)') from error
  if not x.ndim or not y.ndim or len(x) != len(y):
    raise UsageError(f'client {client}: x is {list(x.shape)} and y is {list(y.shape)}')
  return x, y


def _check_alike(pairs: Mapping[str, Arrays]) -> None:
  """Refuses clients whose examples have other shapes than the first one's."""
  first, *others = pairs
  for name in others:
    for kind, own, known in zip('xy', pairs[name], pairs[first]):
      if own.shape[1:] != known.shape[1:]:
        raise UsageError(
          f'from_arrays: {kind} of client {name} has examples of shape {list(own.shape[1:])}, that '
          f'of {first} {list(known.shape[1:])}'
        )


def _stacked(client: str, examples: Iterable[Any]) -> Arrays:
  _refuse_batches(client, examples)
  numpy = getattr(examples, 'as_numpy_iterator', None)
  rows = list(numpy() if numpy else examples)
  try:
    pairs = [(row['x'], row['y']) if isinstance(row, Mapping) else tuple(row) for row in rows]
    x, y = zip(*pairs, strict=False)
    return np.stack(x), np.stack(y)
  except KeyError as error:
    raise UsageError(f'client {client}: an example has no {error}; expected are x and y') from error
  except (TypeError, ValueError) as error:
    raise UsageError(
      f'client {client}: expected are examples (x, y), at least one, all of one shape'
    ) from error


def _refuse_batches(client: str, examples: Any) -> None:
  """Refuses a data set of batches, which would pass for examples of more dimensions."""
  parts = getattr(examples, 'element_spec', None)
  for part in parts.values() if isinstance(parts, Mapping) else parts or ():
    shape = getattr(part, 'shape', None)
    if shape is not None and shape.rank and shape[0] is None:
      raise UsageError(f'client {client}: is a data set of batches; give dataset.unbatch()')


def _by_file(name: str, write: Callable[[pathlib.Path], Any], settings: Mapping[str, Any]) -> Data:
  """What a file holds, which is written and read into memory; errors do not name it."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / name
    try:
      write(path)
      return import_data(path, **settings)
    except UsageError as error:
      text = str(error).replace(f'--data_file={path}: ', '').replace(str(path), 'the data')
      raise UsageError(text) from error
