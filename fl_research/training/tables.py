"""CSV files that grow by rows and survive crashes."""

import csv
import io
import os
import pathlib
from typing import Any, Optional

from fl_research.training import checkpoints


def _text(value: Any) -> str:
  """Numbers so that they read back exactly; nothing for None and NaN."""
  if value is None or value != value:
    return ''
  if isinstance(value, (bool, str)):
    return str(value)
  return repr(value.item() if hasattr(value, 'item') else value)


def _line(values: list[str]) -> str:
  buffer = io.StringIO()
  csv.writer(buffer, lineterminator='\n').writerow(values)
  return buffer.getvalue()


class Table:
  """A CSV file with a column `round`, to which rows are appended.

  Opening it drops the rows after a given round (and a torn last line), so that a resumed run
  continues where its checkpoint stands. The columns are those of the first row.

  Args:
    path: the file.
    last_round: rows of later rounds are dropped; -1 drops all.
  """

  def __init__(self, path: pathlib.Path, last_round: int):
    self._path = path
    self._columns: Optional[list[str]] = None
    kept = self._kept_lines(last_round)
    if len(kept) > 1:
      self._columns = next(csv.reader([kept[0]]))
      checkpoints.write_atomically(path, ''.join(kept).encode())
    else:
      path.unlink(missing_ok=True)

  def _kept_lines(self, last_round: int) -> list[str]:
    if not self._path.exists():
      return []
    lines = self._path.read_text(errors='replace').splitlines(keepends=True)
    if not lines or not lines[0].endswith('\n'):
      return []
    width = len(next(csv.reader([lines[0]])))
    kept = [lines[0]]
    for line in lines[1:]:
      values = next(csv.reader([line]))
      whole = line.endswith('\n') and len(values) == width and values[0].isdigit()
      if not whole or int(values[0]) > last_round:
        break
      kept.append(line)
    return kept

  def append(self, rows: list[dict[str, Any]]) -> None:
    """Adds rows, `round` being the first column, and brings them to the disk.

    Raises:
      OSError: they cannot be written; the file is cut back to what it held before.
    """
    if not rows:
      return
    header = ''
    if self._columns is None:
      self._columns = list(rows[0])
      header = _line(self._columns)
    text = header + ''.join(_line([_text(row.get(c)) for c in self._columns]) for row in rows)
    size = self._path.stat().st_size if self._path.exists() else 0
    try:
      with open(self._path, 'ab') as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    except OSError:
      os.truncate(self._path, size)
      raise
