"""Numbers as people write them: 1,234.50  $30  45 %  7 kg  1.234,5  > 89  2:05:30  3h 20m.

A *form* says how all numbers of a column are written, `#` standing for digits: `#,###.# kg` has
commas between thousands, a decimal point and a unit. One that begins with `<` is that of numbers of
which some have a bound's sign before them (`> 89`, `<0.5`), and are read without it. `#:##` are
times of two or three parts, each 60 of the next, in units of the last (`2:05:30` is 7,530, `12:30`
is 750); `#h #m` are durations, in seconds.
"""

from collections.abc import Iterable, Sequence
import re
from typing import Optional

import numpy as np
import pandas as pd

TIME, DURATION = '#:##', '#h #m'

_MARKS = ",.'’ \u00a0\u202f"
_CURRENCY = '[$€£¥]'
_BEFORE = rf'(?:{_CURRENCY}|[A-Z]{{3}}(?=[ \u00a0\d]))'
_LETTERS = r'°?[^\W\d_]{1,10}'
_AFTER = rf'(?:[%‰°]|{_CURRENCY}|{_LETTERS}(?:/{_LETTERS})?)'
_THAN = '[<>≤≥]=?'
_FORM = re.compile(
  r'(?P<than><?)(?P<before>[^#]*)#(?:(?P<thousands>[^#])###)?(?P<decimal>[.,])#(?P<after>[^#]*)'
)
_TIME = re.compile(r'(?:(\d{1,3}):)?(\d{1,4}):([0-5]\d(?:\.\d+)?)')
_SECONDS = {'d': 86_400.0, 'h': 3600.0, 'm': 60.0, 's': 1.0}
_PART = r'(\d+(?:\.\d+)?)\s*(d|h|m|s)(?:ays?|(?:ou)?rs?|in(?:ute)?s?|ec(?:ond)?s?)?'
_DURATION = re.compile(rf'{_PART}(?:[\s,]*{_PART})*', re.IGNORECASE)
_PARTS = re.compile(_PART, re.IGNORECASE)
_TRIED = 200


def find(texts: Sequence[str], decimal: str = '.') -> str:
  """The form in which all the texts are numbers; empty where there is none.

  Args:
    texts: different cells.
    decimal: the file's decimal mark, tried first: with a point `1,234` are thousands.
  """
  other = {'.': ',', ',': '.'}[decimal]
  form = next(filter(None, (_found(texts, mark) for mark in (decimal, other))), '')
  if form or not texts:
    return form
  for form, pattern in ((TIME, _TIME), (DURATION, _DURATION)):
    if all(pattern.fullmatch(text.strip()) for text in texts):
      return form
  return ''


def units(texts: Iterable[str]) -> list[str]:
  """The units after numbers, where all the texts are numbers with one."""
  found = [_pattern('.').fullmatch(text.strip()) for text in texts]
  return sorted({match['after'] or '' for match in found if match}) if all(found) else []


def unit(form: str) -> str:
  """What stands beside the digits in a form; empty where nothing does."""
  parts = _FORM.fullmatch(form)
  return (parts['before'] + parts['after']).strip() if parts else ''


def numbers(cells: pd.Series, form: str) -> np.ndarray:
  """The cells as float64 [n], NaN where there is no number of that form.

  Cells that are numbers already are taken as they are.
  """
  if pd.api.types.is_numeric_dtype(cells):
    return cells.to_numpy(np.float64, na_value=np.nan)
  codes, uniques = pd.factorize(cells)
  read = [_number(value, form) for value in uniques]
  return np.array([*read, np.nan], np.float64)[codes]


def _pattern(decimal: str) -> re.Pattern:
  marks = re.escape(_MARKS.replace(decimal, ''))
  whole = rf'[1-9]\d{{0,2}}(?P<mark>[{marks}])\d{{3}}(?:(?P=mark)\d{{3}})*|\d+'
  return re.compile(
    rf'(?P<than>{_THAN})?\s?(?P<sign>[-+−]?)(?P<before>{_BEFORE})?\s?(?P<inner>[-+−]?)'
    rf'(?P<whole>{whole})(?P<part>{re.escape(decimal)}\d+)?\s?(?P<after>{_AFTER})?'
  )


def _found(texts: Sequence[str], decimal: str) -> str:
  pattern = _pattern(decimal)
  matches: list[Optional[re.Match]] = []
  for some in (texts[:_TRIED], texts):  # a few first, as most columns are of words
    matches = [pattern.fullmatch(text.strip()) for text in some]
    if not all(matches):
      return ''
  found = [match for match in matches if match]
  beside = {(match['before'] or '', match['after'] or '') for match in found}
  marks = {match['mark'] for match in found} - {None}
  if len(beside) != 1 or len(marks) > 1:
    return ''
  (before, after), mark = beside.pop(), ''.join(marks)
  bounds = sum(match['than'] is not None for match in found)
  if 2 * bounds > len(found):
    return ''  # names of ranges
  return (
    f'{"<" * bool(bounds)}{before}#{mark and mark + "###"}{decimal}#{" " if after else ""}{after}'
  )


def _number(value: object, form: str) -> float:
  if not isinstance(value, str):
    return float(value) if isinstance(value, (int, float, np.number)) else np.nan
  text = value.strip()
  if form == TIME:
    match = _TIME.fullmatch(text)
    return _in_sixties(match.groups('0')) if match else np.nan
  if form == DURATION:
    pairs = _PARTS.findall(text) if _DURATION.fullmatch(text) else []
    return sum(float(n) * _SECONDS[unit.lower()] for n, unit in pairs) if pairs else np.nan
  return _plain(text, form)


def _in_sixties(parts: Sequence[str]) -> float:
  hours, minutes, seconds = map(float, parts)
  return 3600 * hours + 60 * minutes + seconds


def _plain(text: str, form: str) -> float:
  parts = _FORM.fullmatch(form)
  if parts is None:
    raise ValueError(f'{form!r} is no form of numbers')
  found = _pattern(parts['decimal']).fullmatch(text)
  beside = found and (found['before'] or '', found['after'] or '')
  if not found or beside != (parts['before'], parts['after'].strip()):
    return np.nan
  if found['than'] and not parts['than']:
    return np.nan
  if found['mark'] not in (None, parts['thousands']):
    return np.nan
  digits = found['whole'].replace(found['mark'], '') if found['mark'] else found['whole']
  number = float(digits + (found['part'] or '').replace(',', '.'))
  return -number if {found['sign'], found['inner']} & {'-', '−'} else number
