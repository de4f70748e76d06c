"""How files of the user's own that are no plain table are read."""

import dataclasses
from typing import Optional

from fl_research import domains
from fl_research.settings import section

_setting = section.settings_of('Your own files')

COLOURS = ('grey', 'colour')
TOKENS = ('characters', 'words')
WINDOW_LABELS = ('majority', 'last')


@dataclasses.dataclass(frozen=True)
class OwnFiles:
  """Settings of pictures, text and time series in files of the user's own."""

  folder_levels: str = _setting(
    '',
    'pictures: what the folders say from the outermost to the innermost, of client, class, split '
    '(train and test folders) and ignore: client/class; found out when empty',
  )
  image_size: Optional[int] = _setting(
    None,
    'pictures: height and width in pixels (default: the most common size, at most 64)',
    optional=int,
    valid=lambda value: 4 <= value <= 1024,
    domain='an integer from 4 to 1024',
  )
  image_colour: str = _setting(
    '', 'pictures: grey or colour; what most of them are when empty', choices=lambda: COLOURS
  )
  text_column: str = _setting('', 'text in a table: the column that holds it')
  tokens: str = _setting(
    '', 'text: what is predicted, the next of; characters when empty', choices=lambda: TOKENS
  )
  vocabulary_size: Optional[int] = _setting(
    None,
    'text: so many of the most frequent characters or words are told apart (default 1000, 10000)',
    optional=int,
    **domains.COUNT,
  )
  window_length: Optional[int] = _setting(
    None,
    'time series in a table: so many rows make an example',
    optional=int,
    valid=lambda value: value >= 2,
    domain='an integer of at least 2',
  )
  window_stride: Optional[int] = _setting(
    None,
    'time series: rows from the start of a window to the next (default: half the length)',
    optional=int,
    **domains.COUNT,
  )
  window_label: str = _setting(
    '',
    "time series: a window's label is that of most of its rows, or of the last one; majority for "
    'classes and last for numbers when empty',
    choices=lambda: WINDOW_LABELS,
  )
  time_column: str = _setting(
    '', 'time series: the column that says when; no window crosses a gap (more than two steps)'
  )
