"""A run's final model asked about new examples.

The model, its weights and what was done to the data's values all come from the run's folder; the
data that it was trained on are needed only for a client's own model, whose id they know.
"""

from collections.abc import Callable, Iterator, Mapping
import dataclasses
import itertools
import os
import pathlib
from typing import Any, Optional

import numpy as np
import pandas as pd

from fl_research.importing import dialect, images, table_files, tokens, windows
from fl_research.importing.preprocessing import Preprocessing
from fl_research.registry import UsageError
from fl_research.training import (
  answers,
  atomic_files,
  new_arrays,
  new_texts,
  run_folder,
  stored_data,
)

_ARRAYS = ('', 'pixels', 'pictures')
"""Kinds of preprocessing of which new examples may be arrays."""

_ROWS = 4096
"""How many examples the model is asked about at a time."""

Outputs = Callable[[np.ndarray], np.ndarray]
"""x [n, …] -> the model's raw outputs [n, …]."""


@dataclasses.dataclass(frozen=True)
class Part:
  """Some new examples.

  Attributes:
    x: as the model takes them.
    told: what the answers are put beside, a row each: the row's number and the file's columns.
    y: the labels; None where nobody asked for them.
    places: of text, the place of each at which what follows is predicted; None of all else.
  """

  x: np.ndarray
  told: pd.DataFrame
  y: Optional[np.ndarray] = None
  places: Optional[np.ndarray] = None


def predict(
  run: pathlib.Path,
  data_file: str,
  given: dialect.Given,
  client: str = '',
  changes: Optional[Mapping[str, Any]] = None,
) -> Iterator[pd.DataFrame]:
  """The answers, some thousand rows at a time: the file's columns, then those of `answers`.

  Args:
    run: the run's folder, absolute.
    data_file: a table like those that the run was trained on (labels are not needed); a picture
      or a folder of them where it was pictures; texts of any form where it was text; a .npz file
      with `x`, LEAF's JSON or TFF's files where it was arrays.
    given: what the user says of a CSV.
    client: whose model is asked; the global one when empty.
    changes: settings to change, by name, where the data are read for a client's model.

  Raises:
    UsageError: there is no such run, client or file, or the file does not fit; one line.
  """
  manifest = run_folder.read_ended(run)
  stored = stored_data.load(run)
  parts = read(stored, data_file, given)
  first = next(parts, None)  # What is wrong with the file is said before TensorFlow is imported.
  if first is None:
    raise UsageError(f'--data_file={data_file}: has no rows')
  outputs = outputs_of(run, manifest, stored, client, changes or {})

  def tables() -> Iterator[pd.DataFrame]:
    for part in itertools.chain([first], parts):
      found = _answers(stored, part, outputs(part.x))
      yield part.told.join(found, lsuffix='_in_file')

  return tables()


def _answers(stored: stored_data.StoredData, part: Part, outputs: np.ndarray) -> pd.DataFrame:
  if part.places is None:
    return answers.to_table(stored.spec, stored.class_names, outputs)
  names = tokens.from_preprocessing(stored.preprocessing).names()
  return answers.next_tokens(names, outputs, part.places)


def read(
  stored: stored_data.StoredData, data_file: str, given: dialect.Given, labels: bool = False
) -> Iterator[Part]:
  """New examples as the model takes them, a bounded number at a time, with their labels or not."""
  if not os.path.exists(data_file):
    raise UsageError(f'--data_file={data_file}: no such file')
  kind = stored.preprocessing.get('form') or stored.preprocessing.get('kind', '')
  are_files = 'height' in stored.preprocessing and not data_file.endswith('.npz')
  if kind == 'pictures' and are_files:
    return _of_pictures(stored, data_file, labels)
  if kind == 'text':
    return _of_texts(stored, data_file, given, labels)
  if os.path.isdir(data_file) and kind not in _ARRAYS:
    raise UsageError(f'--data_file={data_file}: is a folder; name one file in it')
  if kind == 'table':
    return _of_table(Preprocessing.from_data(stored.preprocessing), data_file, given, labels)
  if kind in _ARRAYS:
    return _of_arrays(stored, data_file, labels)
  if kind == 'windows' and not labels:
    found = windows.new_windows(stored.preprocessing, data_file, given)
    return (Part(x, told) for told, x in found)
  raise UsageError(
    f'--data_file={data_file}: the run was trained on {kind}, which this command does not read; '
    'put examples as it had them into a .npz file and give that to model.keras'
  )


def _of_table(how: Preprocessing, path: str, given: dialect.Given, labels: bool) -> Iterator[Part]:
  file = table_files.open_table(path, given)
  before = 0
  for table in file.chunks(list(file.names), [name for name in how.texts if name in file.names]):
    for first in range(0, len(table), _ROWS):
      rows = table.iloc[first : first + _ROWS].reset_index(drop=True)
      try:
        x, y = how.transform(rows), how.labels(rows) if labels else None
      except UsageError as error:
        raise UsageError(f'--data_file={path}: {error}') from error
      if 'row' not in rows:
        rows.insert(0, 'row', np.arange(before, before + len(rows)) + 1)
      before += len(rows)
      yield Part(x, rows, y)


def _of_pictures(stored: stored_data.StoredData, path: str, labels: bool) -> Iterator[Part]:
  before = 0
  for new in images.new(path, stored.preprocessing, labels):
    rows = np.arange(before, before + len(new.x)) + 1
    before += len(new.x)
    yield Part(new.x, pd.DataFrame({'row': rows, 'file': new.names}), new.y)


def _of_arrays(stored: stored_data.StoredData, path: str, labels: bool) -> Iterator[Part]:
  spec, before = stored.spec, 0
  where = f'--data_file={path}'
  for told, x, y in new_arrays.read(path, spec, stored.preprocessing, labels):
    if y is not None and y.shape != (len(x), *spec.label_shape):
      raise UsageError(f'{where}: y is {list(y.shape)}; expected is {[len(x), *spec.label_shape]}')
    for first in range(0, len(x), _ROWS):
      some = new_arrays.to_x(x[first : first + _ROWS], spec, stored.preprocessing, where)
      own = None if y is None else y[first : first + _ROWS].astype(spec.label_dtype)
      row = np.arange(before + first, before + first + len(some)) + 1
      yield Part(some, pd.DataFrame({'row': row, **told}), own)
    before += len(x)


def _of_texts(
  stored: stored_data.StoredData, path: str, given: dialect.Given, labels: bool
) -> Iterator[Part]:
  before = 0
  for new in new_texts.read(stored.preprocessing, path, given, labels):
    rows = np.arange(before, before + len(new.x)) + 1
    before += len(new.x)
    told = (
      new.told if 'row' in new.told else pd.concat([pd.Series(rows, name='row'), new.told], axis=1)
    )
    yield Part(new.x, told, new.y, new.places)


def outputs_of(
  run: pathlib.Path,
  manifest: Mapping[str, Any],
  stored: stored_data.StoredData,
  client: str,
  changes: Mapping[str, Any],
) -> Outputs:
  """What answers: the global model, or what a client would use."""
  from fl_research.training import reevaluation

  if client and stored.preprocessing.get('kind') == 'text':
    raise UsageError(
      f'--client={client}: of text only the global model is asked; leave --client out'
    )
  if client:
    return reevaluation.personal_outputs(run, manifest, client, changes)
  model, weights = reevaluation.global_model(run, manifest, stored.spec)
  import tensorflow as tf

  answer = tf.function(
    lambda x: model.predict_on_batch((weights, ()), x, training=False),
    autograph=False,
    input_signature=[tf.TensorSpec([None, *stored.spec.input_shape], stored.spec.x_dtype)],
  )
  return lambda x: answer(x).numpy()


def write(tables: Iterator[pd.DataFrame], out: pathlib.Path) -> int:
  """Writes the answers as a CSV that is whole or not there; gives the number of rows.

  Raises:
    OSError: it cannot be written.
  """
  temporary = out.with_name(f'{out.name}{atomic_files.TEMPORARY}')
  rows = 0
  try:
    with open(temporary, 'w', encoding='utf-8', newline='') as file:
      for table in tables:
        table.to_csv(file, index=False, header=not rows, lineterminator='\n')
        rows += len(table)
    atomic_files.rename(temporary, out)
  finally:
    temporary.unlink(missing_ok=True)
  return rows
