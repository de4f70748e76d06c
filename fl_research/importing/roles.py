"""What becomes of a column: its role, guessed with a reason, or said by `--columns`."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import re
from typing import Optional

import numpy as np
import pandas as pd

from fl_research import registry
from fl_research.importing import survey, values, written
from fl_research.registry import UsageError

ROLES = (
  'number',
  'category',
  'identifier',
  'text',
  'date',
  'label',
  'client',
  'weight',
  'split',
  'ignored',
)
"""All roles.

number: standardised. category: a position of x for each value, or for each name in a list.
identifier: one position with a number for each id, to be embedded. date: three positions. label,
client: what is predicted, and whose the row is. split: whether it is a training or a test row. text
and ignored: left out. weight: refused, as training does not weigh examples.
"""

MAX_CATEGORIES = 100
"""Most different values that get a position each."""

PLAIN = 'numbers'
"""Why a column of plain numbers has its role."""

_COUNTS = 'counts the rows'
SAID = '--columns says so'

_WORDS = {**{role: role for role in ROLES}, 'ignore': 'ignored'}
# Above this share of rows with a value of their own a column names rows, or tells them at length.
_UNIQUE = 0.5
_OF_ANY_KIND = ('ignored', 'text', 'category', 'identifier', 'client', 'split')
_LABELS = ('label', 'target', 'y', 'class', 'outcome')
_ID_NAME = re.compile(r'(^|[_\-. ])(ids?|uuid|guid)$|id$', re.IGNORECASE)
_ID_WORD = re.compile(r'[a-z](Id|ID)$')
# Names of columns that number rows, where their values do: no two are alike.
_RECORD_NAME = re.compile(
  r'(^|[_\-. ])(index|idx|key|nr|mrn)$|[a-z]Nr$|nummer$|^unnamed', re.IGNORECASE
)
# Words that end like ids written in one word (`hospitalid`), and are none.
_NO_IDS = re.compile(
  r'(pa|val|inval|cov|flu|ac|sol|hum|vo|avo|gr|stero|opio|thyro|lip|rap|b)id$', re.I
)
_TIME_NAME = re.compile(r'time|date|epoch|(^|_)ts$|_at$', re.IGNORECASE)
_SECONDS, _MILLISECONDS = (1e8, 4.2e9), (1e11, 4.2e12)
# Whole numbers with these names are no quantities.
_CODE_NAME = re.compile(
  r'(^|[_\-. ])(zip|zip_?code|plz|postleitzahl|post_?code|postal_?code|code)s?$|[a-z]Code$',
  re.IGNORECASE,
)
# Amounts with a unit of letters are names of doses and sizes where there are no more of them.
_FEW_AMOUNTS = 10
_MOST_UNITS = 5
_LIST_SEPARATORS = ('|', ';')
_TRIED = 200


@dataclasses.dataclass(frozen=True)
class Role:
  """A column's role.

  Attributes:
    role: one of `ROLES`.
    reason: why, in a few words.
    form: of a date, as `values.days` has it; of numbers that are texts, as `written` has it.
    separator: of a category whose cells are lists, what is between their names; empty where they
      are lists already. None for other columns.
  """

  role: str
  reason: str
  form: str = ''
  separator: Optional[str] = None


def parse(text: str) -> dict[str, str]:
  """Roles by column from `--columns=name:role,name:role`; names may have commas and colons in them.

  Raises:
    UsageError: a role is unknown, or a column is named twice.
  """
  said: dict[str, str] = {}
  rest = text
  while rest:
    found = re.match(rf'(.+?):({"|".join(_WORDS)})(,|$)', rest)
    if not found:
      raise UsageError(
        f'--columns={text}: {rest.partition(",")[0]!r} is no column:role; roles are '
        f'{", ".join(ROLES)}'
      )
    name = found[1].strip()
    if name in said:
      raise UsageError(f'--columns={text}: {name} has two roles')
    said[name] = _WORDS[found[2]]
    rest = rest[found.end() :]
  return said


def check_names(flag: str, asked: Sequence[str], names: Sequence[str], where: str) -> None:
  """Refuses names that no column has."""
  for name in asked:
    if name not in names:
      hint = registry.suggestion(name, names)
      raise UsageError(f'{flag}={name}: no such column{hint}; {where} has {listed(names)}')


def listed(names: Sequence[str], most: int = 30) -> str:
  """Names for a message."""
  more = len(names) - most
  return ', '.join(names[:most]) + (f' and {more} more' if more > 0 else '')


def label_by_name(names: Sequence[str]) -> Optional[str]:
  """The one column that is called what labels are called; None where there is not one."""
  found = [name for name in names if name.lower() in _LABELS]
  return found[0] if len(found) == 1 else None


def guess(column: survey.Column) -> Role:
  """The role of a column that no flag speaks of."""
  if column.kind == 'empty':
    return Role('ignored', 'has no values')
  if column.distinct == 1:
    return Role('ignored', 'has one value')
  if column.names_files and _is_name(column):
    return Role('ignored', 'one value a file, which it names')
  if column.kind == 'truth':
    return Role('category', 'true or false')
  if column.kind == 'date':
    return Role('date', 'dates', 'ISO8601')
  if column.kind == 'list':
    return Role('category', 'lists', separator='')
  if column.kind == 'number':
    return _of_numbers(column)
  return _of_texts(column)


def said(column: survey.Column, role: str) -> Role:
  """The role that `--columns` gives a column.

  Raises:
    UsageError: its cells cannot be that.
  """
  if role == 'weight':
    raise UsageError(
      f'--columns={column.name}:weight: training does not weigh examples; say '
      f'{column.name}:ignore, or number'
    )
  if role == 'number' and column.kind in ('text', 'mixed') and written_form(column):
    return Role(role, SAID, written_form(column))
  if role == 'number' and column.kind not in ('number', 'truth', 'empty'):
    raise UsageError(f'--columns={column.name}:number: its cells are of kind {column.kind}')
  if role == 'date':
    return dataclasses.replace(_dates(column), reason=SAID)
  if role == 'category':
    separator = '' if column.kind == 'list' else list_separator(column)
    return Role(role, SAID, separator=separator)
  return Role(role, SAID)


def _dates(column: survey.Column) -> Role:
  form = 'ISO8601' if column.kind == 'date' else ''
  if column.kind == 'number':
    form = _epoch(column)
  if column.kind == 'text':
    form = next(iter(_formats(column)), '')
  if not form:
    example = next(iter(sorted(map(str, column.different))), '')
    raise UsageError(
      f'--columns={column.name}:date: values like {example!r} are no dates of one form that is '
      f'known ({", ".join(values.DATE_FORMATS)}, YYYYMMDD, seconds or milliseconds since 1970)'
    )
  return Role('date', SAID, form)


def _is_name(column: survey.Column) -> bool:
  """Whether its values are names: texts, or numbers that are counted or called ids."""
  if column.kind != 'number':
    return column.kind == 'text'
  counted = column.highest - column.lowest == len(column.different) - 1
  return column.whole and (counted or _is_id_name(column.name))


def _epoch(column: survey.Column) -> str:
  if column.whole and _is_compact(column):
    return values.COMPACT
  inside = lambda bounds: bounds[0] <= column.lowest and column.highest <= bounds[1]
  if inside(_SECONDS):
    return values.EPOCH_SECONDS
  return values.EPOCH_MILLISECONDS if inside(_MILLISECONDS) else ''


def _is_compact(column: survey.Column) -> bool:
  """Whether all numbers are dates written as 20260131."""
  if not 19_000_101 <= column.lowest <= column.highest <= 21_001_231 or len(column.different) < 3:
    return False
  written = pd.Series(list(column.different), dtype=np.float64)
  return bool(np.isfinite(values.days(written, values.COMPACT)).all())


def _is_id_name(name: str) -> bool:
  if _ID_WORD.search(name):
    return True
  return bool(_ID_NAME.search(name)) and not _NO_IDS.search(name)


def _is_record_id(column: survey.Column) -> bool:
  named = _is_id_name(column.name) or bool(_RECORD_NAME.search(column.name))
  return named and (column.counts_rows or column.uniqueness > _UNIQUE)


def _of_numbers(column: survey.Column) -> Role:
  epoch = _epoch(column) if column.whole else ''
  if epoch == values.COMPACT:
    return Role('date', f'dates written {epoch}', epoch)
  if epoch and _TIME_NAME.search(column.name):
    return Role('date', f'its name, and numbers that are {epoch}', epoch)
  if column.whole and _is_record_id(column):
    return Role('ignored', f'a record id: {_COUNTS if column.counts_rows else _share(column)}')
  if column.whole and _is_id_name(column.name):
    return Role('identifier', 'whole numbers named like an id, many of them in several rows')
  if column.whole and _CODE_NAME.search(column.name):
    if column.uniqueness > _UNIQUE:
      return Role('ignored', f'a code: {_share(column)}')
    few = column.distinct is not None and column.distinct <= MAX_CATEGORIES
    return Role('category' if few else 'identifier', 'whole numbers named like a code')
  return Role('number', PLAIN)


def _of_texts(column: survey.Column) -> Role:
  formats = _formats(column)
  if formats:
    also = ' (month first would fit, too)' if {'%d/%m/%Y', '%m/%d/%Y'} <= set(formats) else ''
    return Role('date', f'dates written {formats[0]}{also}', formats[0])
  form = written_form(column)
  if form and not _are_doses(column, form):
    return Role('number', f'numbers written {form}', form)
  separator = list_separator(column)
  if separator is not None:
    return Role('category', f'lists of names with {separator} between them', separator=separator)
  few = column.distinct is not None and column.distinct <= MAX_CATEGORIES
  if column.uniqueness > _UNIQUE or not few:
    _refuse_units(column)
  if column.uniqueness > _UNIQUE:
    if any(' ' in text for text in column.different):
      return Role('text', f'free text: {_share(column)}')
    return Role('ignored', f'a record id: {_share(column)}')
  if _is_record_id(column):
    return Role('ignored', f'a record id: {_COUNTS}')
  if _is_id_name(column.name):
    return Role('identifier', 'named like an id, many of them in several rows')
  if not few:
    return Role('identifier', f'more than {MAX_CATEGORIES} different texts')
  return Role('category', 'texts')


def written_form(column: survey.Column) -> str:
  """How its numbers are written that are texts, as `written` has it; empty where they are none."""
  texts = [text for text in column.different if isinstance(text, str)]
  form = written.find(texts, column.decimal)
  if len(texts) == len(column.different):
    return form if len(texts) > 1 else ''
  # Plain numbers in other files are of no unit.
  return '' if written.unit(form) else form


def _are_doses(column: survey.Column, form: str) -> bool:
  letters = any(character.isalpha() for character in written.unit(form))
  return letters and len(column.different) <= _FEW_AMOUNTS


def _refuse_units(column: survey.Column) -> None:
  """Refuses numbers in several units, which would pass for names."""
  texts = [text for text in itertools.islice(column.different, _TRIED) if isinstance(text, str)]
  units = written.units(texts)
  if 1 < len(units) <= _MOST_UNITS:
    raise UsageError(
      f'{column.kinds["text"].path}: column {column.name}: numbers in several units '
      f'({", ".join(unit or "none" for unit in units)}); write them in one, or say '
      f'--columns={column.name}:ignore (or category)'
    )


def _share(column: survey.Column) -> str:
  # Rounded down, so that 100 % means every row.
  return f'{int(100 * column.uniqueness)} % of its rows have one of their own'


def _formats(column: survey.Column) -> list[str]:
  """The date formats that all of a column's texts have, tried on a few first."""
  texts = [text for text in column.different if isinstance(text, str)]
  if len(texts) < len(column.different) or not texts:
    return []
  return values.date_formats(texts) if values.date_formats(texts[:_TRIED]) else []


def is_date(column: survey.Column) -> bool:
  """Whether all of a column's texts are dates of one form."""
  return bool(_formats(column))


def list_separator(column: survey.Column) -> Optional[str]:
  """What stands between the names in a column of lists; None where its cells are no lists.

  Lists are made of few names, at most `MAX_CATEGORIES`, that come in several of them.
  """
  for separator in _LIST_SEPARATORS:
    cells = [str(t).split(separator) for t in column.different if isinstance(t, str)]
    joined = [cell for cell in cells if len(cell) > 1]
    parts = [part.strip() for cell in cells for part in cell]
    if len(joined) > 1 and 2 <= len(set(parts)) <= min(MAX_CATEGORIES, len(parts) / 1.2):
      return separator
  return None


def check_finite(column: survey.Column) -> None:
  """Refuses numbers that float32 has not."""
  beyond = column.first_beyond
  if beyond is not None:
    raise UsageError(
      f'{beyond.path}: column {column.name}: row {beyond.row} holds a number beyond float32'
    )


def agree(columns: Mapping[str, survey.Column], parts: Mapping[str, Optional[str]]) -> None:
  """Refuses columns whose cells are of two kinds, or of none that can be used.

  Raises:
    UsageError: one line with files and rows.
  """
  for name, column in columns.items():
    if parts.get(name) in _OF_ANY_KIND:
      continue
    if (column.stray is not None or column.kind == 'mixed') and written_form(column):
      continue
    or_category = f', or say --columns={name}:category'
    if column.stray is not None:
      raise UsageError(
        f'{column.stray.path}: column {name}: row {column.stray.row} holds {column.stray.value!r} '
        f'among numbers; correct it, or say --missing={column.stray.value!r} where there is none'
        f'{"" if parts.get(name) == "label" else or_category}'
      )
    if column.kind == 'mixed':
      (one, at), (other, there) = [item for item in column.kinds.items() if item[0] != 'empty'][:2]
      raise UsageError(
        f'{there.path}: column {name} is of kind {other} from row {there.row} on, and of kind '
        f'{one} in {at.path}; make them alike, or say --columns={name}:ignore'
      )
    if column.kind == 'other':
      raise UsageError(
        f'{column.kinds["other"].path}: column {name} holds neither numbers, texts, dates nor '
        f'lists; say --columns={name}:ignore'
      )
