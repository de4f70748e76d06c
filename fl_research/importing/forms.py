"""What form files of the user's own have, and so which task reads them."""

from collections.abc import Iterator
import dataclasses
import gzip
import os
import pathlib
import re

from fl_research.datasets import files
from fl_research.importing import store
from fl_research.registry import UsageError

PICTURES = frozenset({'.png', '.jpg', '.jpeg'})
TABLES = frozenset({'.csv', '.tsv', '.parquet', '.pq', '.data'})
TEXTS = frozenset({'.txt'})
_SUFFIXES = {
  **dict.fromkeys(PICTURES, 'images'),
  **dict.fromkeys(TABLES, 'tabular'),
  **dict.fromkeys(TEXTS, 'text'),
  '.npz': 'npz',
  '.json': 'leaf',
  **dict.fromkeys(('.h5', '.hdf5', '.sqlite', '.sqlite3', '.db'), 'tff_files'),
}
_WORDS = {
  'images': 'pictures',
  'tabular': 'tables',
  'text': 'text',
  'npz': 'NumPy arrays (.npz)',
  'leaf': "JSON in LEAF's form",
  'tff_files': "databases in TFF's form",
  'idx': 'IDX files',
  'windows': 'a table of time series (--window_length)',
  'imported': 'a folder of experiments.import_data',
}
_STARTS = {
  b'SQLite format 3\0': 'tff_files',
  b'\x89HDF\r\n\x1a\n': 'tff_files',
  b'PAR1': 'tabular',
  b'\x89PNG': 'images',
  b'\xff\xd8\xff': 'images',
}
_ADVICE = {
  **dict.fromkeys(
    ('.zip', '.tar', '.tgz', '.xz', '.bz2', '.7z', '.rar'),
    'is an archive; unpack it and name the folder',
  ),
  **dict.fromkeys(
    ('.wav', '.mp3', '.flac', '.ogg'),
    'is sound; make spectrograms of it and save them as .npz files (x, y), one per client',
  ),
  **dict.fromkeys(
    ('.bmp', '.gif', '.tif', '.tiff', '.webp', '.heic', '.dcm', '.nii'),
    'is a picture of a form that is not read; save it as PNG (Pillow does it)',
  ),
  '.xml': 'is XML; make a CSV file of it, a row an example',
  '.arff': 'is ARFF; save it as CSV (scipy.io.arff.loadarff, then pandas)',
  **dict.fromkeys(
    ('.xls', '.xlsx', '.ods'), 'is a spreadsheet; save each sheet that matters as CSV'
  ),
  **dict.fromkeys(
    ('.pkl', '.pickle', '.pt', '.pth', '.npy'),
    'is never unpickled or has no clients; save x and y as .npz files, one per client',
  ),
  **dict.fromkeys(
    ('.svm', '.libsvm', '.t'),
    'looks like LIBSVM; save it as CSV (sklearn.datasets.load_svmlight_file)',
  ),
}
_PAPERS = ('source', 'readme', 'licence', 'license', 'copying', 'citation', 'sha256sums')
_ENOUGH = 2000
_START = 2048
_LIBSVM = re.compile(rb'[-+0-9.]+([ \t]+[0-9]+:[-+0-9.eE]+)+[ \t\r]*\n')
# Letters, other than those in which numbers are written, and whatever is not of ASCII.
_LETTERS = re.compile(rb'[a-df-zA-DF-Z\x80-\xff]')


@dataclasses.dataclass(frozen=True)
class Form:
  """The task that reads some files, and what they are in words."""

  task: str
  words: str


def find(data_file: str, *, windows: bool = False, text_column: bool = False) -> Form:
  """The form of a file or folder.

  Args:
    data_file: its path.
    windows: whether a table is a time series, of which windows are to be made.
    text_column: whether a table holds text by author.

  Raises:
    UsageError: there is no such file, or none of its form is read; one line that says what to do.
  """
  path = pathlib.Path(data_file)
  if not path.exists():
    raise UsageError(f'--data_file={data_file}: no such file or folder')
  task = _of_folder(path) if path.is_dir() else _of_file(path, f'--data_file={data_file}')
  if task == 'tabular' and (windows or text_column):
    task = 'windows' if windows else 'text'
  return Form(task, _WORDS[task])


def _of_folder(folder: pathlib.Path) -> str:
  if (folder / store.PAGE).is_file():
    return 'imported'
  where = f'--data_file={folder}'
  first: dict[str, pathlib.Path] = {}
  unknown: list[UsageError] = []
  for path in _some(folder):
    try:
      first.setdefault(_of_file(path, str(path)), path)
    except UsageError as error:
      unknown.append(error)
  if unknown and set(first) <= {'text'}:
    # A note beside data of another form is not the data.
    raise unknown[0]
  if len(first) == 1:
    return next(iter(first))
  if first:
    kinds = ', '.join(f'{_WORDS[task]} ({path.name})' for task, path in first.items())
    raise UsageError(f'{where}: holds {kinds}; name the one file, or a folder of one kind')
  raise UsageError(f'{where}: holds no files')


def _some(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Files below a folder, in a fixed order, not all where there are many; no papers about them."""
  seen = 0
  for base, folders, names in os.walk(folder):
    folders[:] = sorted(name for name in folders if not is_hidden(name))
    for name in sorted(names):
      if is_hidden(name) or is_paper(name):
        continue
      yield pathlib.Path(base) / name
      seen += 1
      if seen >= _ENOUGH:
        return


def is_hidden(name: str) -> bool:
  """Whether a file or folder is the system's, not the user's."""
  return name.startswith(('.', '__MACOSX')) or name in ('Thumbs.db', 'desktop.ini')


def is_paper(name: str) -> bool:
  """Whether a file is about the data, and not part of them."""
  stem = name.lower()
  return stem.endswith('.md') or any(
    stem == paper or stem.startswith((f'{paper}.', f'{paper}_', f'{paper}-')) for paper in _PAPERS
  )


def _of_file(path: pathlib.Path, where: str) -> str:
  suffix = suffix_of(path)
  if suffix in _ADVICE:
    raise UsageError(f'{where}: {_ADVICE[suffix]}')
  if suffix in _SUFFIXES and suffix not in TEXTS:
    return _SUFFIXES[suffix]
  start = _start(path, where)
  if _LIBSVM.match(start):
    raise UsageError(f'{where}: {_ADVICE[".libsvm"]}')
  if suffix in TEXTS:
    if start and not _LETTERS.search(start):
      raise UsageError(f'{where}: holds numbers and no text; save it as CSV or .npz')
    return 'text'
  for magic, task in _STARTS.items():
    if start.startswith(magic):
      return task
  if 'idx' in path.name.lower() or (start[:2] == b'\0\0' and 1 <= int.from_bytes(start[3:4]) <= 4):
    return 'idx'
  raise UsageError(
    f'{where}: of no form that is read (CSV, Parquet, .npz, PNG, JPEG, .txt, IDX, LEAF JSON, HDF5, '
    'SQLite); save it as CSV or .npz, or name the form by --task'
  )


def _start(path: pathlib.Path, where: str) -> bytes:
  """The first bytes of a file, unpacked."""
  try:
    with files.reading(path):
      if path.name.lower().endswith('.gz'):
        with gzip.open(path, 'rb') as stream:
          return stream.read(_START)
      with open(path, 'rb') as stream:
        return stream.read(_START)
  except UsageError as error:
    raise UsageError(f'{where}: cannot be read or is damaged') from error


def suffix_of(path: pathlib.Path) -> str:
  """The end of a file's name that tells its form, without `.gz`: `.csv` of `a.csv.gz`."""
  name = path.name.lower().removesuffix('.gz')
  return pathlib.PurePath(name).suffix
