"""Which columns say whose a row is, what is predicted, and which rows are test rows."""

from collections.abc import Mapping
import dataclasses
from typing import Optional

from fl_research.datasets.federated_data import DatasetOptions
from fl_research.importing import roles, row_owners, survey, values
from fl_research.importing.roles import Role
from fl_research.importing.table_rows import Tables
from fl_research.registry import UsageError

_BY_FLAG = {
  'client': '--client_column says so',
  'label': '--label_column says so',
  'split': 'its name',
}


@dataclasses.dataclass(frozen=True)
class Choice:
  """The columns that have a part of their own.

  Attributes:
    said: roles by column that `--columns` gives.
    client, split: None where there is none.
    labels: one at least.
    reason: why these are the labels; empty where `--label_column` says so.
  """

  said: Mapping[str, str]
  client: Optional[str]
  labels: tuple[str, ...]
  reason: str
  split: Optional[str]

  def part(self, name: str) -> str:
    """The part of a column that has one of its own; empty for others."""
    if name in self.labels:
      return 'label'
    return 'client' if name == self.client else 'split' if name == self.split else ''

  def role(self, column: survey.Column) -> Role:
    """A column's role, guessed where nobody says it."""
    name = column.name
    part = self.part(name)
    if part and self.said.get(name) == part:
      return Role(part, roles.SAID)
    if part:
      return Role(part, (self.reason if part == 'label' else '') or _BY_FLAG[part])
    return roles.said(column, self.said[name]) if name in self.said else roles.guess(column)


def choose(tables: Tables, options: DatasetOptions) -> Choice:
  """What flags, file names and names of columns say.

  Raises:
    UsageError: there is no label, no such column, or two flags contradict one another.
  """
  said = roles.parse(options.columns or '')
  roles.check_names('--columns', list(said), tables.names, options.data_file or '')
  client = _client(tables, options, said)
  labels, reason = _labels(tables, options, said)
  if client in labels:
    raise UsageError(f'--label_column={client}: is also the --client_column')
  for name, role in said.items():
    if name in labels and role not in ('label', 'number', 'category'):
      raise UsageError(f'--columns={name}:{role}: it is the --label_column')
    if role == 'label' and name not in labels:
      raise UsageError(f'--columns={name}:label: the labels are in {", ".join(labels)}')
  return Choice(said, client, labels, reason, _split(tables, said))


def _client(tables: Tables, options: DatasetOptions, said: Mapping[str, str]) -> Optional[str]:
  named = [name for name, role in said.items() if role == 'client']
  client = options.client_column or next(iter(named), None)
  if client is not None:
    roles.check_names('--client_column', [client], tables.names, options.data_file or '')
  other = next((name for name in named if name != client), None)
  if other is not None:
    raise UsageError(f'--columns={other}:client: the clients are in column {client}')
  return client


def _labels(
  tables: Tables, options: DatasetOptions, said: Mapping[str, str]
) -> tuple[tuple[str, ...], str]:
  """The labels' columns and why they are it."""
  text = options.label_column
  if text:
    # A name may have a comma in it.
    chosen = [text] if text in tables.names else [name.strip() for name in text.split(',')]
    roles.check_names('--label_column', chosen, tables.names, options.data_file or '')
    return tuple(dict.fromkeys(chosen)), ''
  named = [name for name, role in said.items() if role == 'label']
  if named:
    return tuple(named), roles.SAID
  if tables.apart:
    return tuple(tables.apart), 'labels apart'
  found = roles.label_by_name(tables.names)
  if found is None:
    raise UsageError(
      f'--label_column is missing: it says which column of {options.data_file} to predict, one of '
      f'{roles.listed(tables.names)}'
    )
  return (found,), 'by its name'


def _split(tables: Tables, said: Mapping[str, str]) -> Optional[str]:
  named = next((name for name, role in said.items() if role == 'split'), None)
  divided = tables.pieces[0].test is not None
  if named is not None and divided:
    raise UsageError(f'--columns={named}:split: the files are named train and test already')
  return None if divided else named or _split_by_name(tables, said)


def _split_by_name(tables: Tables, said: Mapping[str, str]) -> Optional[str]:
  """A column that is called split, and begins with words for training and test rows."""
  names = [name for name in tables.names if name.lower() == 'split' and name not in said]
  if len(names) != 1:
    return None
  rows = next(tables.rows(names), None)
  words = [] if rows is None else values.names(rows.table[names[0]])[1]
  return names[0] if {row_owners.part(word) for word in words} == {0, 1} else None
