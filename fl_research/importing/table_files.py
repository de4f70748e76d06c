"""A file with a table, CSV or Parquet, read a bounded number of rows at a time."""

import abc
from collections.abc import Iterator, Sequence
import functools
import os

import pandas as pd

from fl_research.datasets import files
from fl_research.importing import dialect
from fl_research.registry import UsageError

SUFFIXES = ('.csv', '.tsv', '.tab', '.data', '.parquet', '.pq')
"""What the names of tables in a folder end in; of CSVs also with `.gz`, `.bz2` or `.xz`."""

MAX_COLUMNS = 10_000
"""Most columns of a table; arrays belong into .npz files."""

_PACKED = ('.gz', '.bz2', '.xz')
_PARQUET_MAGIC = b'PAR1'
_MISSING = ['?']
_CELLS = 4_000_000
_MOST_ROWS = 200_000


class TableFile(abc.ABC):
  """A file with a table.

  Attributes:
    path: where it is.
    names: its columns.
    form: how it is written, in a few words.
    decimal: its decimal mark.
  """

  path: str
  names: tuple[str, ...]
  form: str
  decimal: str = '.'

  @property
  def name(self) -> str:
    return os.path.basename(self.path)

  @property
  def chunk_rows(self) -> int:
    """How many rows are read at a time, the fewer the wider."""
    return max(1, min(_MOST_ROWS, _CELLS // len(self.names)))

  @abc.abstractmethod
  def chunks(self, columns: Sequence[str], texts: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The rows of some columns, at most `chunk_rows` at a time.

    Args:
      columns: which ones, in the order of the file.
      texts: those of them that are text even where they look like numbers.

    Raises:
      UsageError: the file is damaged.
    """


def stem(path: str) -> str:
  """A file's name without what says its form."""
  name = os.path.basename(path)
  base, suffix = os.path.splitext(name)
  return os.path.splitext(base)[0] if suffix.lower() in _PACKED else base


def is_table(path: str) -> bool:
  """Whether a file's name is that of a table."""
  name = os.path.basename(path)
  return name[len(stem(path)) :].lower().startswith(SUFFIXES) and not name.startswith('.')


def open_table(path: str, given: dialect.Given) -> TableFile:
  """Opens a CSV or Parquet file, and sees what its columns are.

  Raises:
    UsageError: it cannot be read, or its columns are too many, or two have one name.
  """
  with files.reading(path), open(path, 'rb') as stream:
    parquet = stream.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
  table: TableFile = _Parquet(path) if parquet else _Csv(path, given)
  if len(table.names) > MAX_COLUMNS:
    raise UsageError(
      f'{path}: has {len(table.names)} columns, more than {MAX_COLUMNS}; arrays belong into .npz '
      'files (--task=npz)'
    )
  twice = next((name for name in table.names if table.names.count(name) > 1), None)
  if twice is not None:
    raise UsageError(f'{path}: several columns are named {twice}')
  return table


class _Csv(TableFile):
  """A CSV, of any dialect."""

  def __init__(self, path: str, given: dialect.Given):
    self.path = path
    self.dialect = dialect.find_out(path, given)
    self._missing = [*_MISSING, *given.missing]
    self.names = self.dialect.names
    self.decimal = self.dialect.decimal
    self.form = f'CSV ({self.dialect.words()})'

  def chunks(self, columns: Sequence[str], texts: Sequence[str]) -> Iterator[pd.DataFrame]:
    found = self.dialect
    read = functools.partial(
      pd.read_csv,
      sep=found.separator,
      decimal=found.decimal,
      encoding=found.encoding,
      header=0 if found.header else None,
      names=list(self.names),
      usecols=list(columns),
      dtype={name: str for name in texts},
      na_values=self._missing,
      skipinitialspace=True,
      low_memory=False,  # a chunk is small, and its columns are to have one type each
      chunksize=self.chunk_rows,
    )
    try:
      # Opened here, as pandas leaves a file open that it cannot parse.
      with dialect.open_bytes(self.path) as stream:
        if columns:
          yield from read(stream)
    except (ValueError, OverflowError, OSError, EOFError, pd.errors.ParserError) as error:
      raise UsageError(f'{self.path}: not readable as CSV ({files.one_line(error)})') from error


class _Parquet(TableFile):
  """A Parquet file."""

  def __init__(self, path: str):
    self.path = path
    self.form = 'Parquet'
    schema = self._reading(lambda file: file.schema_arrow)
    self.names = tuple(' '.join(name.split()) for name in schema.names)
    self._fields = list(schema.names)

  def _reading(self, use):
    import pyarrow.parquet

    try:
      with pyarrow.parquet.ParquetFile(self.path) as file:
        return use(file)
    except Exception as error:  # damaged bytes make the parser raise nearly anything
      raise self._damaged(error) from error

  def _damaged(self, error: Exception) -> UsageError:
    return UsageError(f'{self.path}: not readable as Parquet ({files.one_line(error)})')

  def chunks(self, columns: Sequence[str], texts: Sequence[str]) -> Iterator[pd.DataFrame]:
    import pyarrow.parquet

    fields = [field for field, name in zip(self._fields, self.names) if name in set(columns)]
    try:
      with pyarrow.parquet.ParquetFile(self.path) as file:
        for batch in file.iter_batches(self.chunk_rows, columns=fields):
          yield _frame(batch, columns)
    except Exception as error:  # as above
      raise self._damaged(error) from error


def _frame(batch, columns: Sequence[str]) -> pd.DataFrame:
  table = batch.to_pandas(ignore_metadata=True)
  table.columns = pd.Index(list(columns))
  return table
