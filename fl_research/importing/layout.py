"""Which file of a folder of tables is what: whose rows, x or y, training or test.

patients.csv                                   rows of many clients, or of nobody
hill.csv, coast.csv                            a file a client
client_1_X.csv, client_1_y.csv                 x and y apart, row by row
train.csv, test.csv                            the same, divided already
hill_train.csv, hill_test.csv                  both
train/hill.csv, test/hill.csv                  likewise
"""

from collections.abc import Iterable, Sequence
import dataclasses
import os
import re
from typing import Optional

from fl_research.importing import table_files
from fl_research.registry import UsageError

_SIDES = {
  **dict.fromkeys(('x', 'features', 'inputs'), 'x'),
  **dict.fromkeys(('y', 'label', 'labels', 'target', 'targets'), 'y'),
}
_PARTS = {
  **dict.fromkeys(('train', 'training'), 'train'),
  **dict.fromkeys(('test', 'testing'), 'test'),
}


@dataclasses.dataclass(frozen=True)
class Piece:
  """Rows that belong together.

  Attributes:
    path: their file.
    labels: the file with the rows' labels, where they lie apart.
    client: whose they are by the file's name; None where it does not say.
    test: whether they are test rows; None where nobody says.
  """

  path: str
  labels: Optional[str] = None
  client: Optional[str] = None
  test: Optional[bool] = None


@dataclasses.dataclass(frozen=True)
class Layout:
  """The tables of a file or folder.

  Attributes:
    pieces: in the order of their clients.
    left_out: names of files that are no tables.
  """

  pieces: Sequence[Piece]
  left_out: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class _Named:
  """A file, and what its name says."""

  path: str
  client: str
  side: str
  part: str


def find(data_file: str) -> Layout:
  """The tables of a file or folder.

  Raises:
    UsageError: it is not there, has no tables, or their names contradict one another.
  """
  if os.path.isfile(data_file):
    return Layout([Piece(data_file)])
  if not os.path.isdir(data_file):
    raise UsageError(f'--data_file={data_file}: no such file or folder')
  paths, left_out = _tables(data_file)
  if not paths:
    raise UsageError(
      f'--data_file={data_file}: is a folder without tables (files that end in '
      f'{", ".join(table_files.SUFFIXES)}, CSVs also with .gz)'
    )
  return Layout(_pieces(data_file, [_named(data_file, path) for path in paths]), left_out)


def _tables(folder: str) -> tuple[list[str], list[str]]:
  """The tables in a folder, or in its folders train and test; and the names of other files."""
  folders = [folder] + [
    os.path.join(folder, name)
    for name in sorted(os.listdir(folder))
    if name.lower() in _PARTS and os.path.isdir(os.path.join(folder, name))
  ]
  found = [os.path.join(place, name) for place in folders for name in os.listdir(place)]
  shown = [path for path in found if not os.path.basename(path).startswith('.')]
  tables = [path for path in shown if os.path.isfile(path) and table_files.is_table(path)]
  others = {os.path.basename(path) for path in shown} - {os.path.basename(path) for path in tables}
  return sorted(tables, key=_natural), sorted(others - {os.path.basename(p) for p in folders})


def _named(folder: str, path: str) -> _Named:
  """What a file's name says: words for side and part at its ends, the client between them."""
  inside = os.path.relpath(os.path.dirname(path), folder).lower()
  words = re.split(r'([_\-. ]+)', table_files.stem(path))
  said = {'side': '', 'part': _PARTS.get(inside, '')}
  for end in (-1, 0, -1, 0):
    for what, meanings in (('side', _SIDES), ('part', _PARTS)):
      meaning = meanings.get(words[end].lower()) if words else None
      if meaning and not said[what]:
        said[what] = meaning
        words = words[:-2] if end else words[2:]
        break
  return _Named(path, ''.join(words), said['side'], said['part'])


def _pieces(folder: str, named: Sequence[_Named]) -> list[Piece]:
  named = _without_lonely_words(named)
  clients = {file.client for file in named}
  pieces = []
  for client, part in dict.fromkeys((file.client, file.part) for file in named):
    same = [file for file in named if (file.client, file.part) == (client, part)]
    x, labels = _sides(folder, same)
    pieces.append(
      Piece(x, labels, client if clients != {''} else None, None if not part else part == 'test')
    )
  if len(pieces) == 1:
    return [dataclasses.replace(pieces[0], client=None)]
  if len({piece.test is None for piece in pieces}) > 1:
    undecided = next(piece for piece in pieces if piece.test is None)
    raise UsageError(
      f'--data_file={folder}: some files are named train or test, '
      f'{os.path.basename(undecided.path)} is neither'
    )
  if '' in clients and len(clients) > 1:
    nameless = next(file for file in named if not file.client)
    raise UsageError(
      f'--data_file={folder}: the name of {os.path.basename(nameless.path)} has no client in it, '
      'as those of others have'
    )
  return pieces


def _without_lonely_words(named: Sequence[_Named]) -> list[_Named]:
  """Takes words for names again where nothing stands beside them: an X without y, but one part."""
  sides = {file.side for file in named}
  parts = {file.part for file in named}
  paired = {'x', 'y'} <= sides
  divided = {'train', 'test'} <= parts
  if paired and divided:
    return list(named)
  return [
    dataclasses.replace(
      file,
      client=file.client
      if (paired or not file.side) and (divided or not file.part)
      else table_files.stem(file.path),
      side=file.side if paired else '',
      part=file.part if divided else '',
    )
    for file in named
  ]


def _sides(folder: str, same: Sequence[_Named]) -> tuple[str, Optional[str]]:
  """The file of the rows, and that of their labels where there is one."""
  by_side = {file.side: file.path for file in same}
  if len(by_side) < len(same):
    names = ' and '.join(os.path.basename(file.path) for file in same)
    raise UsageError(f'--data_file={folder}: {names} have one name; which one is it?')
  if set(by_side) == {'x', 'y'}:
    return by_side['x'], by_side['y']
  if set(by_side) == {''}:
    return by_side[''], None
  lonely = os.path.basename(next(file.path for file in same if file.side))
  raise UsageError(f'--data_file={folder}: {lonely} has no file with its other half (X and y)')


def _natural(path: str) -> list:
  """client_2 before client_10."""
  pieces: Iterable[str] = re.split(r'(\d+)', path)
  return [(1, int(p), '') if p.isdigit() else (0, 0, p) for p in pieces]
