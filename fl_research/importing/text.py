"""Text by author: a folder of .txt files, one or a folder per author, or a table of texts.

The next character or word is predicted (see `tokens`). An author's last texts, a fifth of them, are
its test part; of a single text its last examples are. The vocabulary comes from the other texts.
The texts are gone through three times (their lengths, the vocabulary, the examples) and never kept.
"""

import collections
from collections.abc import Callable, Iterator
import hashlib
import os
import pathlib
from typing import NamedTuple, Optional

import numpy as np
import pandas as pd

from fl_research import registry
from fl_research.datasets import files
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.datasets.splits import held_out_counts
from fl_research.importing import dialect, forms, memory, table_files
from fl_research.importing.source import Counts, Found, Part, Source, Spec
from fl_research.importing.tokens import Tokenizer
from fl_research.registry import UsageError

_OF_TABLES = ('separator', 'decimal', 'encoding', 'header')
_LARGEST_TEXT = 256 << 20


def load(options: DatasetOptions) -> memory.Data:
  """Reads the texts of `options.data_file` into memory."""
  return memory.read(open_source(options))


def open_source(options: DatasetOptions) -> Source:
  """The texts of the folder or table `options.data_file`.

  Raises:
    UsageError: there are none, a file is no UTF-8 text, or a column is not there; one line.
  """
  path = options.data_file or ''
  if os.path.isdir(path):
    for flag in ('client_column', 'text_column', *_OF_TABLES):
      if getattr(options, flag):
        raise UsageError(f'--{flag}={getattr(options, flag)}: only read for text in a table')
    folder = _Folder(path)
    return Texts(folder.texts, options, f'.txt files ({len(folder.paths)})', folder.whose, folder)
  if not os.path.isfile(path):
    raise UsageError(f'--data_file={path}: no such file or folder')
  if forms.suffix_of(pathlib.Path(path)) in forms.TEXTS and not options.text_column:
    raise UsageError(
      f'--data_file={path}: is one text; text by author is a folder with a file or a folder each'
    )
  table = _Table(options)
  whose = f'column {options.client_column}'
  return Texts(table.texts, options, table.form, whose, table, options.text_column or '')


def new(
  path: str, given: dialect.Given, column: Optional[str]
) -> Iterator[tuple[pd.DataFrame, list[str]]]:
  """New texts with what they are put beside, some at a time.

  Args:
    path: a text, a folder of texts, or a table.
    given: what the user says of a CSV.
    column: of a table; None for its only one.

  Raises:
    UsageError: there are none, or a table has no such column; one line.
  """
  if os.path.isfile(path) and forms.suffix_of(pathlib.Path(path)) not in forms.TEXTS:
    yield from _new_rows(path, given, column)
    return
  folder = _Folder(path) if os.path.isdir(path) else _Folder(os.path.dirname(path) or '.', path)
  for name in folder.paths:
    yield pd.DataFrame({'file': [name]}), [folder.text(name)]


def _new_rows(
  path: str, given: dialect.Given, column: Optional[str]
) -> Iterator[tuple[pd.DataFrame, list[str]]]:
  table = table_files.open_table(path, given)
  column = table.names[0] if column is None and len(table.names) == 1 else column
  if column not in table.names:
    what = f'no column {column}, which the run was trained on' if column else 'several columns'
    raise UsageError(
      f'--data_file={path}: has {what} ({", ".join(table.names[:30])}); leave the texts alone in it'
    )
  for rows in table.chunks(list(table.names), [column]):
    yield rows.reset_index(drop=True), [str(text) for text in rows[column].fillna('')]


class Text(NamedTuple):
  """A text and whose it is; `test` is None where nobody says what is a test text."""

  author: str
  text: str
  test: Optional[bool] = None


class Files:
  """Files that are hashed while they are read.

  Attributes:
    hashes: SHA-256 by name.
    notes: what was seen on the way, a line each.
  """

  def __init__(self) -> None:
    self.hashes: dict[str, str] = {}
    self.notes: list[str] = []

  def hashed(self) -> dict[str, str]:
    """SHA-256 of what was read, as in `Source.files`."""
    return self.hashes


class Texts(Source):
  """Texts of authors, which can be gone through again and again.

  Args:
    texts: begins a pass over all texts; an author's texts need not lie together.
    options: how they are cut.
    form, whose: as in `Found`.
    read: the files behind them.
    column: of a table, or feature, that holds the texts; empty where files are texts.
  """

  def __init__(
    self,
    texts: Callable[[], Iterator[Text]],
    options: DatasetOptions,
    form: str,
    whose: str,
    read: Files,
    column: str = '',
  ):
    self._texts = texts
    self._read = read
    tokenizer = Tokenizer(options)
    authors = self._measure(tokenizer, options.data_file or '')
    counts: collections.Counter[str] = collections.Counter()
    for author, text, number in self._numbered():
      kept = authors[author].training_tokens(number, tokenizer.length)
      counts.update(tokenizer.cut(text)[:kept])
    self._vocabulary = tokenizer.vocabulary(counts)
    self._authors = authors
    ids = list(authors)
    sizes = np.array([authors[own].rows for own in ids], np.int64).reshape(-1, 2)
    self.counts = Counts(ids, sizes[:, 0], sizes[:, 1])
    shape = (tokenizer.length,)
    whole = np.dtype(np.int32)
    num_tokens = self._vocabulary.num_tokens
    self.spec = Spec(shape, whole, shape, whole, Problem.NEXT_TOKEN, num_tokens)
    self.preprocessing = {
      **self._vocabulary.preprocessing(),
      **({'column': column} if column else {}),
    }
    held = [] if self._split_given else ["each author's last texts, a fifth, are the test part"]
    self.found = Found(
      form=form,
      clients=whose,
      label=f'the next of {tokenizer.tokens}, {num_tokens} tokens',
      notes=(self._vocabulary.note(), *held, *read.notes),
    )

  def _measure(self, tokenizer: Tokenizer, path: str) -> 'dict[str, _Author]':
    """How many examples each text of each author makes."""
    lengths: dict[str, list[int]] = {}
    tests: dict[str, list[bool]] = {}
    self._split_given = False
    for own in self._texts():
      if not own.text:
        continue
      lengths.setdefault(own.author, []).append(tokenizer.examples_of(own.text))
      if own.test is not None:
        self._split_given = True
        tests.setdefault(own.author, []).append(own.test)
    if not lengths:
      raise UsageError(f'--data_file={path}: all texts are empty')
    return {author: _Author(own, tests.get(author)) for author, own in lengths.items()}

  def _numbered(self) -> Iterator[tuple[str, str, int]]:
    seen: dict[str, int] = {}
    for own in self._texts():
      if own.text:
        number = seen[own.author] = seen.get(own.author, -1) + 1
        yield own.author, own.text, number

  @property
  def files(self):  # type: ignore[override]
    return self._read.hashed()

  def parts(self) -> Iterator[Part]:
    position = {author: k for k, author in enumerate(self._authors)}
    for author, text, number in self._numbered():
      if author not in position or number >= len(self._authors[author].lengths):
        raise UsageError(f'--data_file: texts of {author} have changed while they were read')
      examples = self._vocabulary.examples(text)
      train = self._authors[author].training_rows(number)
      for test, rows in ((False, slice(train)), (True, slice(train, None))):
        own = {key: array[rows] for key, array in examples.items()}
        if len(own['y']):
          yield Part(position[author], test, own)


class _Author:
  """How many examples an author's texts make, and which are for training.

  Args:
    lengths: of each text.
    tests: what is a test text; None where nobody says.
  """

  def __init__(self, lengths: list[int], tests: Optional[list[bool]]):
    self.lengths = lengths
    self._tests = tests
    count = len(lengths)
    # Of one text the last examples are held out, of several the last texts.
    self._last = int(held_out_counts(np.array(count if count > 1 else lengths[0])))
    train = sum(self.training_rows(number) for number in range(count))
    self.rows = (train, sum(lengths) - train)

  def training_rows(self, number: int) -> int:
    """How many examples of a text are for training, the first ones."""
    if self._tests is not None:
      return 0 if self._tests[number] else self.lengths[number]
    if len(self.lengths) == 1:
      return self.lengths[0] - self._last
    return self.lengths[number] if number < len(self.lengths) - self._last else 0

  def training_tokens(self, number: int, length: int) -> Optional[int]:
    """How many tokens of a text the vocabulary may look at; None for all."""
    rows = self.training_rows(number)
    return None if rows == self.lengths[number] else rows * length


class _Folder(Files):
  """A folder with a file per author, or a folder per author; or one file in it."""

  def __init__(self, folder: str, file: str = ''):
    super().__init__()
    self._folder = folder
    self.paths = [os.path.basename(file)] if file else self._listing()
    deep = {path.count(os.sep) for path in self.paths}
    if len(deep) > 1:
      example = next(p for p in self.paths if p.count(os.sep) != self.paths[0].count(os.sep))
      raise UsageError(
        f'--data_file={folder}: {self.paths[0]} and {example} lie in different depths; put each '
        "author's files in a folder of its own"
      )
    self.whose = 'a folder each' if deep.pop() else 'a file each'

  def _listing(self) -> list[str]:
    folder = self._folder
    paths = sorted(
      os.path.relpath(os.path.join(base, name), folder)
      for base, _, names in os.walk(folder)
      for name in names
      if name.lower().endswith('.txt') and not forms.is_hidden(name)
    )
    paths = [path for path in paths if os.sep in path or not forms.is_paper(path)]
    if not paths:
      raise UsageError(f'--data_file={folder}: no .txt file in it')
    return paths

  def hashed(self) -> dict[str, str]:
    lines = '\n'.join(f'{path} {self.hashes[path]}' for path in sorted(self.hashes))
    name = os.path.basename(os.path.normpath(self._folder))
    return {f'{name}/**': hashlib.sha256(lines.encode()).hexdigest()}

  def texts(self) -> Iterator[Text]:
    for path in self.paths:
      author = path.split(os.sep)[0] if os.sep in path else path[: -len('.txt')]
      yield Text(author, self.text(path))

  def text(self, path: str) -> str:
    """The text of one file."""
    full = pathlib.Path(self._folder) / path
    try:
      if full.stat().st_size > _LARGEST_TEXT:
        raise UsageError(f'{full}: is larger than {_LARGEST_TEXT >> 20} MB; cut it into several')
      content = full.read_bytes()
      self.hashes[path] = hashlib.sha256(content).hexdigest()
      text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
      raise UsageError(
        f'{full}: is no UTF-8 text ({files.one_line(error)}); convert it, as by iconv -f latin1 '
        '-t utf8'
      ) from error
    except OSError as error:
      raise UsageError(f'{full}: cannot be read ({files.one_line(error)})') from error
    if '\0' in text:
      raise UsageError(f'{full}: holds the character 0, so it is no text')
    return text.replace('\r\n', '\n')


class _Table(Files):
  """A CSV or Parquet file with a column of authors and one of texts."""

  def __init__(self, options: DatasetOptions):
    super().__init__()
    self._path = options.data_file or ''
    for flag in ('client_column', 'text_column'):
      if not getattr(options, flag):
        raise UsageError(
          f'--{flag} is missing: text in a table needs --client_column, which says whose it is, '
          'and --text_column'
        )
    self._author = options.client_column or ''
    self._text = options.text_column or ''
    self._table = table_files.open_table(self._path, dialect.given(options))
    self.hashes = {os.path.basename(self._path): files.sha256_of(self._path)}
    self.form = f'text in a table, {self._table.form}'
    self._check_columns()

  def _check_columns(self) -> None:
    names = self._table.names
    for flag, name in (('client_column', self._author), ('text_column', self._text)):
      if name not in names:
        hint = registry.suggestion(name, names)
        raise UsageError(
          f'--{flag}={name}: no such column{hint}; {self._path} has {", ".join(names[:30])}'
        )
    if self._author == self._text:
      raise UsageError(f'--text_column={self._text}: is also the --client_column')

  def texts(self) -> Iterator[Text]:
    row = 0
    columns = [name for name in self._table.names if name in (self._author, self._text)]
    for table in self._table.chunks(columns, columns):
      missing = table[self._author].isna().to_numpy()
      if missing.any():
        first = row + int(np.argmax(missing)) + 1
        raise UsageError(f'--client_column={self._author}: row {first} has no author')
      texts = table[self._text].fillna('')
      row += len(table)
      yield from (Text(str(who), str(said)) for who, said in zip(table[self._author], texts))
