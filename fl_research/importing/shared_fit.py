"""What becomes of a table's columns, found out by several owners of its rows together.

Nobody's rows leave their owner. Each says what its columns are and, once that is agreed, which
categories it has; then it gives sums over its training rows, in two rounds:

    facts        names and roles of the columns, names of classes
    categories   names of categories
    sums         of numbers and dates: how many, and Σ x; of categories: how often each occurs
    squares      of numbers and dates: Σ (x - mean)², with the mean of all

A column in which an owner has no value, or always the same, has the role that the others see in it.

All that is added up is numbers, so that the sums may be secure ones. What comes of it is what one
would find who had all rows: mean Σ x / n, deviation √(Σ (x - mean)² / n), all categories, and the
most frequent of them. A category that an owner has fewer than some number of rows of is left out by
that owner; its rows count as of a value never seen.

Identifiers are refused: their names are all they say, and those stay where they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fl_research.datasets.federated_data import DatasetOptions, LabelScale
from fl_research.importing import encoders, labels
from fl_research.importing.encoders import Category, Date, Encoder, Names, Number
from fl_research.importing.preprocessing import Preprocessing
from fl_research.importing.surveyed_table import in_file, SurveyedTable
from fl_research.registry import UsageError

ROUNDS = ('facts', 'categories', 'sums', 'squares')
"""What owners are asked, in this order."""

_SCALED = (Number, Date)
_NAMED = (Category, Names)

Columns = Sequence[Mapping[str, Any]]
"""Columns as `Encoder.to_data` has them."""


class Part:
  """One owner's rows.

  Args:
    options: where they are, and how they are read.
    least: how many training rows a category must have to be named.

  Raises:
    UsageError: a file, a column or a value cannot be used; one line that names it.
  """

  def __init__(self, options: DatasetOptions, least: int = 1):
    self._table = SurveyedTable(options, is_part=True)
    self._label = self._table.label
    self._least = least
    self._encoders: list[Encoder] = []
    self._agreed: Columns = ()

  def facts(self) -> dict[str, Any]:
    """What the columns are, as JSON has it.

    Raises:
      UsageError: a column cannot be shared.
    """
    columns = [encoder.to_data() for encoder in self._table.encoders()]
    for column in columns:
      if column['role'] == encoders.Identifier.role:
        name = column['name']
        raise UsageError(
          f'column {name}: holds ids, whose names may not leave their owner; say '
          f'--columns={name}:ignore'
        )
    alike = [name for name in self._table.alike if self._table.roles[name].role == 'ignored']
    order = list(self._table.roles)
    label = _label_facts(self._label)
    return {'columns': columns, 'order': order, 'alike': alike, 'label': label}

  def categories(self, columns: Columns) -> dict[str, list[str]]:
    """Names by column of categories, of those that are agreed on."""
    self._agree(columns)
    return {
      encoder.name: sorted(n for n, count in encoder.tally.counts.items() if count >= self._least)
      for encoder in self._encoders
      if isinstance(encoder, _NAMED)
    }

  def _agree(self, columns: Columns) -> None:
    """Takes these as the columns, and counts their categories."""
    if columns == self._agreed:
      return
    self._encoders = [encoders.from_data(dict(column)) for column in columns]
    for _, table, owners in self._training():
      for encoder in self._encoders:
        if isinstance(encoder, _NAMED):
          encoder.fit(table[encoder.name], owners)
    self._agreed = columns

  def sums(self, columns: Columns, categories: Mapping[str, Sequence[str]]) -> np.ndarray:
    """float64: n and Σ x of every scaled column, then of the label's; counts of the categories."""
    named = self.categories(columns)
    totals = np.zeros([2, self._scaled], np.float64)
    for numbers in self._numbers():
      there = ~np.isnan(numbers)
      totals += np.stack([there.sum(axis=0), np.where(there, numbers, 0).sum(axis=0)])
    tallies = {e.name: e.tally.counts for e in self._encoders if isinstance(e, _NAMED)}
    counts = [
      float(tallies[column][name]) if name in named[column] else 0.0
      for column in sorted(categories)
      for name in categories[column]
    ]
    return np.concatenate([totals.ravel(), counts])

  def squares(self, columns: Columns, means: np.ndarray) -> np.ndarray:
    """float64: Σ (x - mean)² of every scaled column, then of the label's."""
    self._agree(columns)
    total = np.zeros(self._scaled, np.float64)
    for numbers in self._numbers():
      total += np.nansum(np.square(numbers - means), axis=0)
    return total

  @property
  def _scaled(self) -> int:
    """How many columns of numbers there are."""
    label = self._label.columns if isinstance(self._label, labels.Numbers) else ()
    return sum(isinstance(encoder, _SCALED) for encoder in self._encoders) + len(label)

  def _training(self):
    """Training rows, and whose they are."""
    for rows, owners, test in self._table.again([encoder.name for encoder in self._encoders]):
      if not test.all():
        yield rows, rows.table[~test], owners[~test]

  def _numbers(self):
    """The numbers of training rows, float64 [n, columns]."""
    for rows, table, _ in self._training():
      try:
        columns = [e.numbers(table[e.name]) for e in self._encoders if isinstance(e, _SCALED)]
      except UsageError as error:
        raise in_file(error, rows) from error
      if isinstance(self._label, labels.Numbers):
        columns += list(self._label.numbers(table).T)
      yield np.stack(columns, axis=1) if columns else np.zeros([len(table), 0])


def _label_facts(label: labels.Label) -> dict[str, Any]:
  if isinstance(label, labels.Numbers):
    forms = {'forms': label.forms} if label.forms else {}
    return {'form': 'numbers', 'columns': list(label.columns), **forms}
  if isinstance(label, labels.TagList):
    raise UsageError(
      f'--label_column={label.columns[0]}: lists of tags, which several owners cannot agree on; '
      'make a column of 0 and 1 of each tag'
    )
  return label.to_data()


class Agreement:
  """What all owners' columns are.

  Args:
    facts: what each owner says of its rows, by its name.

  Attributes:
    columns: the columns, not fitted.
    categories: the names of every column of categories, once they are known.

  Raises:
    UsageError: they have different columns, or take a column for different things.
  """

  def __init__(self, facts: Mapping[str, Mapping[str, Any]]):
    self.columns = _agreed(facts)
    self._label = _agreed_label(facts)
    self.categories: dict[str, list[str]] = {}

  def name_categories(self, named: Sequence[Mapping[str, Sequence[str]]]) -> None:
    """Takes all names that anybody has."""
    self.categories = {
      column: encoders.sorted_names({name for own in named for name in own[column]})
      for column in named[0]
    }

  @property
  def _scaled(self) -> list[str]:
    columns = [e['name'] for e in self.columns if e['role'] in (Number.role, Date.role)]
    label = self._label['columns'] if self._label['form'] == 'numbers' else []
    return [*columns, *(f'label {name}' for name in label)]

  def means(self, sums: np.ndarray) -> np.ndarray:
    """The mean of every scaled column, 0 of one without values, from the sum of all `Part.sums`."""
    count, total, _ = self._split(sums)
    return np.divide(total, count, out=np.zeros_like(total), where=count > 0)

  def _split(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    scaled = len(self._scaled)
    return sums[:scaled], sums[scaled : 2 * scaled], sums[2 * scaled :]

  def preprocessing(self, sums: np.ndarray, squares: np.ndarray) -> Preprocessing:
    """What becomes of the columns, from the sums of all `Part.sums` and `Part.squares`.

    Raises:
      UsageError: no column is left that could be learnt from.
    """
    count, _, occurrences = self._split(sums)
    means, deviations = self.means(sums), _deviations(count, self.means(sums), squares)
    by_name = dict(zip(self._scaled, zip(means.tolist(), deviations.tolist())))
    counts = dict(zip(self._keys(), occurrences.tolist()))
    fitted = [encoders.from_data(self._fitted(column, by_name, counts)) for column in self.columns]
    inputs = [encoder for encoder in fitted if encoder.width]
    if not inputs:
      raise UsageError('no column besides client and label can be learnt from')
    return Preprocessing(inputs, self._fitted_label(means, deviations))

  def _keys(self) -> list[tuple[str, str]]:
    return [(name, key) for name in sorted(self.categories) for key in self.categories[name]]

  def _fitted(self, column: Mapping[str, Any], by_name, counts) -> dict[str, Any]:
    name = column['name']
    if name in by_name and column['role'] in (Number.role, Date.role):
      mean, deviation = by_name[name]
      return {**column, 'mean': mean, 'deviation': deviation}
    known = self.categories[name]
    usual = max(known, key=lambda key: counts[name, key], default='')
    return {**column, 'categories': known, **({'usual': usual} if 'usual' in column else {})}

  def _fitted_label(self, means: np.ndarray, deviations: np.ndarray) -> labels.Label:
    if self._label['form'] != 'numbers':
      return labels.from_data(self._label)
    columns = tuple(self._label['columns'])
    shape = () if len(columns) == 1 else (len(columns),)
    own = lambda found: found[len(found) - len(columns) :].astype(np.float32).reshape(shape)
    scale = LabelScale(own(means), own(deviations), columns)
    return labels.Numbers(columns, scale, self._label.get('forms', {}))


def _deviations(count: np.ndarray, means: np.ndarray, squares: np.ndarray) -> np.ndarray:
  """√(Σ (x - mean)² / n), and 1 for what is constant but for rounding, as scikit-learn has it."""
  variances = np.divide(squares, count, out=np.zeros_like(squares), where=count > 0)
  precision = np.finfo(np.float64).eps
  rounding = count * precision * variances + np.square(count * means * precision)
  return np.where(variances <= rounding, 1.0, np.sqrt(variances))


def _agreed(facts: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
  """The columns, which must be the same ones of the same roles wherever they say anything."""
  kept = ('name', 'role', 'kind', 'form', 'separator')
  plain = lambda column: {key: column[key] for key in kept if key in column}
  found: dict[str, tuple[str, Mapping[str, Any]]] = {}
  for owner, own in facts.items():
    for column in own['columns']:
      first, before = found.setdefault(column['name'], (owner, column))
      if plain(before) != plain(column):
        name = column['name']
        roles = f'{_role(before)} at {first} and {_role(column)} at {owner}'
        raise UsageError(f'column {name}: {roles}; say which with --columns={name}:ROLE at both')
  for name, (first, _) in found.items():
    for owner, own in facts.items():
      if name not in own['alike'] and name not in [column['name'] for column in own['columns']]:
        raise UsageError(
          f'column {name}: an input at {first} and none at {owner}; say --columns={name}:ignore at '
          f'{first}, or which role it has at {owner}'
        )
  order = next(iter(facts.values()))['order']
  return [found[name][1] for name in order if name in found]


def _role(column: Mapping[str, Any]) -> str:
  return f'{column["role"]} ({column["kind"]})'


def _agreed_label(facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """The label, of all classes that anybody has."""
  first, *others = facts
  label = dict(facts[first]['label'])
  names = set(label.get('names', ()))
  for other in others:
    found = facts[other]['label']
    if {**found, 'names': ()} != {**label, 'names': ()}:
      raise UsageError(
        f'--label_column: {_form(label)} at {first} and {_form(found)} at {other}; name the same '
        'column at both, and say --columns=NAME:category or NAME:number'
      )
    names |= set(found.get('names', ()))
  if 'names' in label:
    label['names'] = encoders.sorted_names(names)
    if len(names) < 2:
      raise UsageError('--label_column: all rows of all sites have one label; nothing to learn')
  return label


def _form(label: Mapping[str, Any]) -> str:
  columns = label.get('columns') or [label['column']]
  kind = f' ({label["kind"]})' if 'kind' in label else ''
  return f'{label["form"]}{kind} of {", ".join(columns)}'
