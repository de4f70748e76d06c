"""Tables as a source: a file or a folder of CSV or Parquet.

Three passes, each a chunk of rows at a time: what the columns hold and whose the rows are; what the
training rows say of means, categories and ids; the examples. Small files are read once. What is
kept for every row is its client and whether it is a test row, five bytes, and ten times as much
while test rows are drawn.

Where neither file names nor a column divide the rows, a fifth of each client's (at least one),
drawn from the seed, is its test part; a client of one row only trains.
"""

from collections.abc import Iterator, Mapping
import os
from typing import Any

import numpy as np

from fl_research.datasets import files
from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import (
  column_choice,
  dialect,
  encoders,
  labels,
  layout,
  roles,
  row_owners,
  survey,
  table_found,
)
from fl_research.importing.encoders import Encoder, Tally
from fl_research.importing.preprocessing import Preprocessing
from fl_research.importing.source import Found, Part, Source, Spec
from fl_research.importing.table_rows import joined, Rows, Tables
from fl_research.registry import UsageError


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
    self._where = options.data_file or ''
    found = layout.find(self._where)
    self._tables = Tables(found, given(options))
    self._choice = column_choice.choose(self._tables, options)
    by_file = self._tables.pieces[0].client is not None
    self.pooled = self._choice.client is None and not by_file
    self._survey(options.seed)
    self._encoders = [encoder for name in self._roles for encoder in self._encoder(name)]
    self._classes = Tally()
    self._filled = {e.name: np.zeros(len(self.counts.ids), bool) for e in self._encoders}
    self.fitted = self._fitted()
    self.spec = self._spec()
    self.preprocessing: Mapping[str, Any] = self.fitted.to_data()
    self.files = self._checksums()
    self.found = self._found(found)

  def parts(self) -> Iterator[Part]:
    """The rows chunk by chunk, those of a client in the order of its files."""
    for rows, owners, test in self._again():
      key = 2 * owners.astype(np.int64) + test
      order = np.argsort(key, kind='stable')
      try:
        x, y = self.fitted.transform(rows.table)[order], self.fitted.labels(rows.table)[order]
      except UsageError as error:
        raise _in_file(error, rows) from error
      key = key[order]
      starts = np.flatnonzero(np.diff(key, prepend=-1))
      for start, stop in zip(starts, [*starts[1:], len(key)]):
        examples = {'x': x[start:stop], 'y': y[start:stop]}
        yield Part(int(key[start]) // 2, bool(key[start] % 2), examples)

  def _survey(self, seed: int) -> None:
    """The first pass: what columns hold, and whose the rows are."""
    choice = self._choice
    self._columns = {name: survey.Column(name) for name in self._tables.names}
    rows_of = row_owners.RowOwners(self._tables.pieces, choice.client, choice.split)
    for rows in self._tables.rows(self._tables.names):
      survey.by_name(self._columns, rows.table, rows.path, rows.first)
      rows_of.add(rows)
    roles.agree(
      self._columns, {name: choice.part(name) or choice.said.get(name) for name in self._columns}
    )
    self._roles = {name: choice.role(column) for name, column in self._columns.items()}
    self._label = labels.choose([self._columns[name] for name in choice.labels], choice.said)
    self._owners = rows_of.owners()
    self._test = rows_of.test_rows(seed, self._where)
    self.counts = row_owners.count(rows_of.ids, self._owners, self._test)

  def _encoder(self, name: str) -> list[Encoder]:
    """What encodes a column, nothing for one that is no input."""
    role, column = self._roles[name], self._columns[name]
    kind = 'text' if column.kind == 'mixed' else column.kind
    if role.role == 'number':
      roles.check_finite(column)
      return [encoders.Number(name, kind)]
    if role.role == 'date':
      return [encoders.Date(name, kind, role.date_format)]
    if role.role == 'identifier' or (role.role == 'client' and self._client_is_input()):
      return [encoders.Identifier(name, kind)]
    if role.role == 'category' and role.separator is not None:
      return [encoders.Names(name, kind, role.separator)]
    return [encoders.Category(name, kind)] if role.role == 'category' else []

  def _client_is_input(self) -> bool:
    """Whether ids of clients are learnt as other ids are."""
    ids = any(role.role == 'identifier' for role in self._roles.values())
    several = len(self._owners) >= 2 * len(self.counts.ids) > 2
    return ids and several and self._choice.client not in self._choice.said

  def _fitted(self) -> Preprocessing:
    """The second pass: what the training rows say of the inputs' columns and of the labels."""
    for rows, owners, test in self._again():
      train = ~test
      try:
        for encoder in self._encoders if train.any() else ():
          cells = rows.table[encoder.name][train]
          encoder.fit(cells, owners[train])
          self._filled[encoder.name][owners[train][cells.notna().to_numpy()]] = True
        self._label.fit(rows.table, train)
      except UsageError as error:
        raise _in_file(error, rows) from error
      if isinstance(self._label, labels.Classes):
        self._classes.add(self._label.encode(rows.table), self._label.names, owners)
    for encoder in self._encoders:
      encoder.finish()
    self._label = self._label.fitted()
    # A category of which the training rows have no value takes no position.
    inputs = [encoder for encoder in self._encoders if encoder.width]
    if not inputs:
      left = {n: r for n, r in self._roles.items() if r.role in ('ignored', 'text')}
      why = '; '.join(f'{name} {role.reason}' for name, role in left.items())
      raise UsageError(
        f'{self._where}: no column besides client and label can be learnt from{why and f" ({why})"}'
      )
    return Preprocessing(inputs, self._label)

  def _again(self) -> Iterator[tuple[Rows, np.ndarray, np.ndarray]]:
    """The rows of the columns that are inputs or labels, whose they are, which are test rows."""
    inputs = [encoder.name for encoder in self._encoders]
    needed = {*inputs, *self._choice.labels}
    wanted = [name for name in self._tables.names if name in needed]
    texts = [name for name in wanted if self._columns[name].kind in ('text', 'mixed')]
    first = 0
    for rows in joined(self._tables.rows(wanted, texts)):
      last = first + len(rows.table)
      yield rows, self._owners[first:last], self._test[first:last]
      first = last

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
    choice, ids = self._choice, self.counts.ids
    clients = f'column {choice.client}' if choice.client else 'a file each'
    used = self.fitted.columns
    return Found(
      form=self._tables.form,
      clients='nobody' if self.pooled else clients,
      label=table_found.label(choice, self._label),
      classes=self._label.names,
      columns=table_found.columns(self._columns, self._roles, used, self._label),
      notes=[
        *table_found.notes(found.left_out, ids, choice, self._classes, used),
        *table_found.of_clients(self._columns, self._filled, self.counts, used),
      ],
    )


def given(options: DatasetOptions) -> dialect.Given:
  """What flags say of how CSVs are written.

  Raises:
    UsageError: a flag has a value that nothing can be written with.
  """
  separator = {'tab': '\t', '\\t': '\t'}.get(options.separator or '', options.separator)
  if separator and len(separator) != 1:
    raise UsageError(f'--separator={separator}: accepted is one character, or tab')
  header = {'yes': True, 'no': False}.get(options.header or '')
  missing = tuple(text.strip() for text in (options.missing or '').split(',') if text.strip())
  return dialect.Given(separator or None, options.decimal, options.encoding, header, missing)


def _in_file(error: UsageError, rows: Rows) -> UsageError:
  after = f' (rows from {rows.first + 1} on)' if rows.first else ''
  return UsageError(f'{rows.path}{after}: {error}')
