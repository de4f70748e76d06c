"""A table after its first pass: what its columns hold, what becomes of them, whose the rows are."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses

import numpy as np

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
)
from fl_research.importing.encoders import Encoder
from fl_research.importing.table_rows import joined, Rows, Tables
from fl_research.registry import UsageError


class SurveyedTable:
  """A file or folder of tables, of which every row has been seen once.

  Args:
    options: `data_file`, the columns' roles, how CSVs are written, and the seed.
    is_part: whether others have rows of the same table, so that here may be but one class.

  Attributes:
    pooled: whether the rows belong to nobody; `counts` has one client then.
    counts: whose the rows are.
    roles: of the columns, by name.
    label: what is predicted.
    unlabelled: how many rows have no label, and are left out.

  Raises:
    UsageError: a file, a column or a value cannot be used; one line that names it.
  """

  def __init__(self, options: DatasetOptions, is_part: bool = False):
    self._where = options.data_file or ''
    self._layout = layout.find(self._where)
    self._tables = Tables(self._layout, dialect.given(options))
    self._choice = column_choice.choose(self._tables, options)
    by_file = self._tables.pieces[0].client is not None
    self.pooled = self._choice.client is None and not by_file
    self._survey(options.seed, is_part)

  @property
  def alike(self) -> list[str]:
    """The columns in which no two rows differ."""
    columns = self._columns.items()
    return [name for name, column in columns if column.distinct is not None and column.distinct < 2]

  def encoders(self) -> list[Encoder]:
    """What encodes the inputs, not fitted yet."""
    return [encoder for name in self.roles for encoder in self._encoder(name)]

  def _survey(self, seed: int, is_part: bool) -> None:
    """The first pass: what columns hold, and whose the rows are."""
    choice = self._choice
    self._columns = {name: survey.Column(name, self._tables.decimal) for name in self._tables.names}
    rows_of = row_owners.RowOwners(self._tables.pieces, choice.client, choice.split)
    labelled = []
    for rows in self._tables.rows(self._tables.names):
      survey.by_name(self._columns, rows.table, rows.path, rows.first)
      rows_of.add(rows)
      labelled.append(rows.table[list(choice.labels)].notna().all(axis=1).to_numpy())
    roles.agree(
      self._columns, {name: choice.part(name) or choice.said.get(name) for name in self._columns}
    )
    self.roles = {name: choice.role(column) for name, column in self._columns.items()}
    columns = [self._columns[name] for name in choice.labels]
    self.label = labels.choose(columns, choice.said, is_part)
    self._labelled = np.concatenate(labelled) | isinstance(self.label, labels.TagList)
    self.unlabelled = int((~self._labelled).sum())
    rows_of.keep(self._labelled)
    self._owners = rows_of.owners()
    self._test = rows_of.test_rows(seed, self._where)
    self.counts = row_owners.count(rows_of.ids, self._owners, self._test)

  def _encoder(self, name: str) -> list[Encoder]:
    """What encodes a column, nothing for one that is no input."""
    role, column = self.roles[name], self._columns[name]
    kind = 'text' if column.kind == 'mixed' else column.kind
    if role.role == 'number':
      roles.check_finite(column)
      return [encoders.Number(name, kind, role.form)]
    if role.role == 'date':
      return [encoders.Date(name, kind, role.form)]
    if role.role == 'identifier' or (role.role == 'client' and self._client_is_input()):
      return [encoders.Identifier(name, kind)]
    if role.role == 'category' and role.separator is not None:
      return [encoders.Names(name, kind, role.separator)]
    return [encoders.Category(name, kind)] if role.role == 'category' else []

  def _client_is_input(self) -> bool:
    """Whether ids of clients are learnt as other ids are."""
    ids = any(role.role == 'identifier' for role in self.roles.values())
    several = len(self._owners) >= 2 * len(self.counts.ids) > 2
    return ids and several and self._choice.client not in self._choice.said

  def again(self, inputs: Sequence[str]) -> Iterator[tuple[Rows, np.ndarray, np.ndarray]]:
    """The rows of these columns and of the labels, whose they are, which are test rows."""
    needed = {*inputs, *self._choice.labels}
    wanted = [name for name in self._tables.names if name in needed]
    texts = [name for name in wanted if self._columns[name].kind in ('text', 'mixed')]
    first = 0
    for rows in joined(self._with_labels(self._tables.rows(wanted, texts))):
      last = first + len(rows.table)
      yield rows, self._owners[first:last], self._test[first:last]
      first = last

  def _with_labels(self, found: Iterable[Rows]) -> Iterator[Rows]:
    first = 0
    for rows in found:
      kept = self._labelled[first : first + len(rows.table)]
      first += len(rows.table)
      if kept.all():
        yield rows
      elif kept.any():
        yield dataclasses.replace(rows, table=rows.table[kept].reset_index(drop=True))


def in_file(error: UsageError, rows: Rows) -> UsageError:
  """The error, with where the rows are."""
  after = f' (rows from {rows.first + 1} on)' if rows.first else ''
  return UsageError(f'{rows.path}{after}: {error}')
