"""Tables as a source: a file or a folder of CSV or Parquet.

Three passes, each a chunk of rows at a time: what the columns hold and whose the rows are; what the
training rows say of means, categories and ids; the examples. Small files are read once. What is
kept for every row is its client and whether it is a test row, five bytes.

Split: where neither file names nor a column say it, a fifth of each client's rows (at least one),
drawn from the seed, is its test part; a client of one row only trains.
"""

from collections.abc import Iterator, Mapping, Sequence
import os
from typing import Any, Optional

import numpy as np

from fl_research import random_streams
from fl_research.datasets import files
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.datasets.splits import held_out_rows
from fl_research.importing import dialect, encoders, labels, layout, roles, survey, values
from fl_research.importing.encoders import Encoder, Tally
from fl_research.importing.preprocessing import Preprocessing
from fl_research.importing.roles import Role
from fl_research.importing.source import ColumnFound, Counts, Found, Part, Source, Spec
from fl_research.importing.table_rows import joined, Rows, Tables
from fl_research.registry import UsageError

NOBODY = 'all'
"""The one client of rows that belong to nobody."""

_TRAIN = ('train', 'training', 'fit', 'false', '0')
_TEST = ('test', 'testing', 'true', '1')
_NAMED_IN_NOTES = 3


class TableSource(Source):
  """A file or folder of tables, opened.

  Attributes:
    pooled: whether the rows belong to nobody; `counts` has one client then.
    fitted: what becomes of the columns.

  Args:
    options: `data_file`, the columns' roles, how CSVs are written, and the seed.

  Raises:
    UsageError: a file, a column or a value cannot be used; one line that names it.
  """

  def __init__(self, options: DatasetOptions):
    data_file = options.data_file or ''
    found = layout.find(data_file)
    self._tables = Tables(found, given(options))
    self._said = roles.parse(options.columns or '')
    self._where = data_file
    self._client = self._client_column(options)
    self._labels = self._label_columns(options)
    self._check_said()
    self._clients_by_file = self._client is None and self._tables.pieces[0].client is not None
    self.pooled = self._client is None and not self._clients_by_file
    self._columns = {name: survey.Column(name) for name in self._tables.names}
    self._survey()
    self._roles = self._roles_of_columns()
    self._label = labels.choose([self._columns[n] for n in self._labels], self._said)
    self._test = self._test_rows(options.seed)
    self.counts = self._counted()
    self._class_tally = Tally()
    inputs = self._fitted()
    self._label = self._label.fitted()
    self.fitted = Preprocessing(inputs, self._label)
    self._check_inputs()
    self.spec = self._spec()
    self.preprocessing: Mapping[str, Any] = self.fitted.to_data()
    self.files = self._checksums()
    self.found = self._found(found)

  def parts(self) -> Iterator[Part]:
    """The rows chunk by chunk, those of a client in the order of its files."""
    first = 0
    for rows in self._again():
      last = first + len(rows.table)
      owners, test = self._owners[first:last], self._test[first:last]
      first = last
      order = np.argsort(2 * owners.astype(np.int64) + test, kind='stable')
      try:
        x, y = self.fitted.transform(rows.table)[order], self.fitted.labels(rows.table)[order]
      except UsageError as error:
        raise _in_file(error, rows) from error
      key = 2 * owners[order].astype(np.int64) + test[order]
      starts = np.flatnonzero(np.diff(key, prepend=-1))
      for start, stop in zip(starts, [*starts[1:], len(key)]):
        examples = {'x': x[start:stop], 'y': y[start:stop]}
        yield Part(int(key[start]) // 2, bool(key[start] % 2), examples)

  def _client_column(self, options: DatasetOptions) -> Optional[str]:
    said = [name for name, role in self._said.items() if role == 'client']
    name = options.client_column or next(iter(said), None)
    if name is None:
      return None
    roles.check_names('--client_column', [name], self._tables.names, self._where)
    other = next((column for column in said if column != name), None)
    if other is not None:
      raise UsageError(f'--columns={other}:client: the clients are in column {name}')
    return name

  def _label_columns(self, options: DatasetOptions) -> list[str]:
    names = self._tables.names
    said = [name for name, role in self._said.items() if role == 'label']
    text = options.label_column
    if text:
      chosen = [text] if text in names else [name.strip() for name in text.split(',')]
    else:
      chosen = said or list(self._tables.apart)
    self._label_reason = '' if text else roles.SAID if said else 'labels apart'
    if not chosen:
      found = roles.label_by_name(names)
      if found is None:
        raise UsageError(
          f'--label_column is missing: it says which column of {self._where} to predict, one of '
          f'{", ".join(names[:30])}'
        )
      chosen, self._label_reason = [found], 'by its name'
    roles.check_names('--label_column', chosen, names, self._where)
    if self._client in chosen:
      raise UsageError(f'--label_column={self._client}: is also the --client_column')
    return chosen

  def _check_said(self) -> None:
    roles.check_names('--columns', list(self._said), self._tables.names, self._where)
    for name, role in self._said.items():
      if name in self._labels and role not in ('label', 'number', 'category'):
        raise UsageError(f'--columns={name}:{role}: it is the --label_column')
      if role == 'label' and name not in self._labels:
        raise UsageError(f'--columns={name}:label: the labels are in {", ".join(self._labels)}')
    self._split = next((name for name, role in self._said.items() if role == 'split'), None)
    if self._split is None:
      self._split = self._split_by_name()
    elif self._tables.pieces[0].test is not None:
      raise UsageError(f'--columns={self._split}:split: the files are named train and test already')

  def _split_by_name(self) -> Optional[str]:
    """A column that is called split, and begins with words for training and test rows."""
    names = [n for n in self._tables.names if n.lower() == 'split' and n not in self._said]
    if len(names) != 1 or self._tables.pieces[0].test is not None:
      return None
    rows = next(self._tables.rows(names), None)
    found = [] if rows is None else values.names(rows.table[names[0]])[1]
    return names[0] if {_part(name) for name in found} == {0, 1} else None

  def _survey(self) -> None:
    """The first pass: what columns hold, and whose the rows are."""
    ids: dict[str, int] = {}
    owners, divided = [], []
    for rows in self._tables.rows(self._tables.names):
      survey.by_name(self._columns, rows.table, rows.path, rows.first)
      owners.append(self._owners_of(rows, ids))
      divided.append(self._divided(rows))
    self._ids = list(ids)
    self._owners = np.concatenate(owners)
    said = [part for part in divided if part is not None]
    self._said_test = np.concatenate(said) if said else None
    also = {name: 'split' for name in (self._split,) if name}
    client = {self._client: 'client'} if self._client else {}
    roles.agree(self._columns, {**self._said, **client, **also})

  def _owners_of(self, rows: Rows, ids: dict[str, int]) -> np.ndarray:
    """The position of each row's client, new ones being added."""
    if self._client is None:
      name = self._tables.pieces[rows.piece].client or NOBODY
      return np.full(len(rows.table), ids.setdefault(name, len(ids)), np.int32)
    cells = rows.table[self._client]
    if cells.isna().any():
      raise UsageError(
        f'--client_column={self._client}: {int(cells.isna().sum())} of {len(cells)} rows have no '
        f'client, first in row {rows.first + int(np.argmax(cells.isna())) + 1} of {rows.path}'
      )
    codes, names = values.names(cells)
    return np.array([ids.setdefault(name, len(ids)) for name in names], np.int32)[codes]

  def _divided(self, rows: Rows) -> Optional[np.ndarray]:
    """Which rows are test rows, where file names or a column say so."""
    said = self._tables.pieces[rows.piece].test
    if said is not None:
      return np.full(len(rows.table), said, bool)
    if self._split is None:
      return None
    codes, names = values.names(rows.table[self._split])
    words = np.array([_part(name) for name in names] + [-1], np.int8)[codes]
    if (words < 0).any():
      row = int(np.argmax(words < 0))
      raise UsageError(
        f'--columns={self._split}:split: row {rows.first + row + 1} of {rows.path} says '
        f'{rows.table[self._split].iloc[row]!r}; accepted are train and test'
      )
    return words == 1

  def _roles_of_columns(self) -> dict[str, Role]:
    """The role of every column."""
    found = {}
    for name, column in self._columns.items():
      if name in self._labels:
        found[name] = Role('label', self._label_reason or '--label_column says so')
      elif name == self._client:
        found[name] = Role(
          'client', roles.SAID if name in self._said else '--client_column says so'
        )
      elif name == self._split:
        found[name] = Role('split', roles.SAID if name in self._said else 'its name')
      elif name in self._said:
        found[name] = roles.said(column, self._said[name])
      else:
        found[name] = roles.guess(column)
    return found

  @property
  def _client_is_input(self) -> bool:
    """Whether ids of clients are learnt as other ids are."""
    ids = any(role.role == 'identifier' for role in self._roles.values())
    several = len(self._owners) >= 2 * len(self._ids) > 2
    return bool(self._client) and self._client not in self._said and ids and several

  def _test_rows(self, seed: int) -> np.ndarray:
    if self._said_test is not None:
      test = self._said_test
      if test.all() or not test.any():
        raise UsageError(f'{self._where}: has no {"training" if test.all() else "test"} rows')
      return test
    test = held_out_rows(self._owners, random_streams.generator(seed, 'tabular split'))
    if not test.any():
      who = f'--client_column={self._client}' if self._client else self._where
      raise UsageError(f'{who}: every client has a single row, so none is left to test on')
    return test

  def _counted(self) -> Counts:
    count = lambda rows: np.bincount(self._owners[rows], minlength=len(self._ids)).astype(np.int64)
    return Counts(self._ids, count(~self._test), count(self._test))

  def _fitted(self) -> list[Encoder]:
    """The second pass: what the training rows say of the inputs' columns and of the labels."""
    self._encoders = [encoder for name in self._roles for encoder in self._encoder(name)]
    first = 0
    for rows in self._again():
      last = first + len(rows.table)
      owners, train = self._owners[first:last], ~self._test[first:last]
      first = last
      try:
        for encoder in self._encoders if train.any() else ():
          encoder.fit(rows.table[encoder.name][train], owners[train])
        self._label.fit(rows.table, train)
      except UsageError as error:
        raise _in_file(error, rows) from error
      if isinstance(self._label, labels.Classes):
        self._class_tally.add(self._label.encode(rows.table), self._label.names, owners)
    for encoder in self._encoders:
      encoder.finish()
    # A category that no training row has, or but one, tells nothing.
    return [encoder for encoder in self._encoders if encoder.width]

  def _encoder(self, name: str) -> list[Encoder]:
    """What encodes a column, nothing for one that is no input."""
    role, column = self._roles[name], self._columns[name]
    kind = 'text' if column.kind == 'mixed' else column.kind
    if role.role == 'number':
      self._check_finite(column)
      return [encoders.Number(name, kind)]
    if role.role == 'date':
      return [encoders.Date(name, kind, role.date_format)]
    if role.role == 'identifier' or (role.role == 'client' and self._client_is_input):
      return [encoders.Identifier(name, kind)]
    if role.role == 'category' and role.separator is not None:
      return [encoders.Names(name, kind, role.separator)]
    return [encoders.Category(name, kind)] if role.role == 'category' else []

  def _check_finite(self, column: survey.Column) -> None:
    beyond = column.first_beyond
    if beyond is not None:
      raise UsageError(
        f'{beyond.path}: column {column.name}: row {beyond.row} holds a number beyond float32'
      )

  def _check_inputs(self) -> None:
    if not self.fitted.width:
      why = '; '.join(
        f'{n} {r.reason}' for n, r in self._roles.items() if r.role in ('ignored', 'text')
      )
      raise UsageError(
        f'{self._where}: no column besides client and label can be learnt from{why and f" ({why})"}'
      )

  def _again(self) -> Iterator[Rows]:
    """The rows of the columns that are inputs or labels."""
    inputs = [encoder.name for encoder in self._encoders]
    wanted = [name for name in self._tables.names if name in {*inputs, *self._labels}]
    texts = [name for name in wanted if self._columns[name].kind in ('text', 'mixed')]
    return joined(self._tables.rows(wanted, texts))

  def _spec(self) -> Spec:
    label = self._label
    return Spec(
      x_shape=(self.fitted.width,),
      x_dtype=np.dtype(np.float32),
      y_shape=label.y_shape,
      y_dtype=label.y_dtype,
      problem=label.problem,
      num_classes=label.num_classes,
      inputs=self.fitted.inputs,
      label_scale=label.scale,
    )

  def _checksums(self) -> dict[str, str]:
    root = self._where if os.path.isdir(self._where) else os.path.dirname(self._where)
    return {os.path.relpath(p, root or '.'): files.sha256_of(p) for p in self._tables.paths}

  def _found(self, found: layout.Layout) -> Found:
    clients = f'column {self._client}' if self._client else 'a file each'
    names = ', '.join(self._labels)
    reason = f' ({self._label_reason})' if self._label_reason else ''
    return Found(
      form=self._tables.form,
      clients='nobody' if self.pooled else clients,
      label=f'{names}{reason}: {self._label.words}',
      classes=self._label.names,
      columns=[self._column_found(name) for name in self._columns],
      notes=self._notes(found),
    )

  def _column_found(self, name: str) -> ColumnFound:
    column, role = self._columns[name], self._roles[name]
    used = {encoder.name: encoder for encoder in self._encoders}
    treatment = used[name].treatment if name in used else 'left out'
    if role.role == 'label':
      treatment = f'predicted: {self._label.words}'
    if role.role == 'client':
      treatment = 'says whose a row is' + (
        f'; also an input, as there are other ids: {treatment}' if name in used else ''
      )
    if role.role == 'split':
      treatment = 'says which rows are test rows'
    return ColumnFound(name, role.role, role.reason, treatment, column.missing, column.distinct)

  def _notes(self, found: layout.Layout) -> list[str]:
    notes = [f'no tables, and left out: {_few(found.left_out)}'] if found.left_out else []
    if len(self._ids) > 1:
      alone = self._class_tally.alone()
      if alone:
        notes.append(f'label {self._labels[0]}: {self._alone(alone)}')
      for encoder in self.fitted.columns:
        if encoder.given_away and encoder.name != self._client:
          said = self._alone(encoder.given_away)
          notes.append(f'column {encoder.name}: {said}: it gives its client away')
    return notes

  def _alone(self, names: Sequence[tuple[str, int]]) -> str:
    """Which names one client only has, in a few words."""
    name, client = names[0]
    more = f', and {len(names) - 1} more such' if len(names) > 1 else ''
    return f'{name!r} is at client {self._ids[client]} only{more}'


def given(options: DatasetOptions) -> dialect.Given:
  """What flags say of how CSVs are written.

  Raises:
    UsageError: a flag has a value that nothing can be written with.
  """
  separator = {'tab': '\t', '\\t': '\t'}.get(options.separator or '', options.separator)
  if separator and len(separator) != 1:
    raise UsageError(f'--separator={separator}: accepted is one character, or tab')
  header = {'yes': True, 'no': False}.get(options.header or '')
  return dialect.Given(separator or None, options.decimal, options.encoding, header)


def _part(name: str) -> int:
  """1 of a test row's word, 0 of a training row's, -1 of others."""
  word = name.lower()
  return 1 if word in _TEST else 0 if word in _TRAIN else -1


def _in_file(error: UsageError, rows: Rows) -> UsageError:
  after = f' (rows from {rows.first + 1} on)' if rows.first else ''
  return UsageError(f'{rows.path}{after}: {error}')


def _few(names: Sequence[str]) -> str:
  shown = ', '.join(names[:_NAMED_IN_NOTES])
  more = len(names) - _NAMED_IN_NOTES
  return shown if more <= 0 else f'{shown} and {more} more'
