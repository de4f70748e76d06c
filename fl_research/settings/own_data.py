"""What users say of their own files, where finding out is not enough."""

import dataclasses

from fl_research.settings import section

_setting = section.settings_of('Own data')


@dataclasses.dataclass(frozen=True)
class OwnData:
  """Settings of the user's own tables."""

  columns: str = _setting(
    '',
    'tabular: roles of columns, where the guess is another: movieId:identifier,note:ignore '
    '(number, category, identifier, text, date, label, client, split, ignore)',
  )
  separator: str = _setting(
    '', "tables: what is between a CSV's fields, or tab; found out when empty"
  )
  decimal: str = _setting(
    '', "tables: a CSV's decimal mark; found out when empty", choices=lambda: ['.', ',']
  )
  encoding: str = _setting(
    '', "tables: a CSV's encoding, as Python calls it: utf-8, latin-1; found out when empty"
  )
  missing: str = _setting(
    '',
    "tabular: texts of a CSV that stand for a missing value besides pandas' own (empty, NA, NaN, ? "
    'and the like), with commas between them: -999,unknown',
  )
  header: str = _setting(
    '',
    "tables: whether a CSV's first row has the columns' names; found out when empty",
    choices=lambda: ['yes', 'no'],
  )
