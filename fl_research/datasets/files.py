"""Original files of data sets: where they are looked for, fetched from, and how they are checked.

A file is taken from `<data_dir>/<folder>/<file>` or `<data_dir>/<file>`; when it is in neither
place it is downloaded from its canonical address into the first. Whatever goes wrong (no network,
another checksum, a file cut short) is a `UsageError` of one line that names the file.
"""

from collections.abc import Iterator, Sequence
import contextlib
import functools
import gzip
import hashlib
import http.client
import io
import lzma
import os
import pathlib
import struct
import tarfile
import tempfile
from typing import Optional, Protocol, Union
import urllib.error
import urllib.request
import zipfile
import zlib

from fl_research.registry import UsageError

DATA_DIR_VARIABLE = 'FL_RESEARCH_DATA_DIR'
_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 30
# Hashing less than this takes under a second on any machine: not worth a note on disk.
_REMEMBER_FROM_BYTES = 256 << 20

_DAMAGE = (
  EOFError,
  OSError,
  gzip.BadGzipFile,
  zlib.error,
  lzma.LZMAError,
  zipfile.BadZipFile,
  tarfile.TarError,
  struct.error,
  UnicodeDecodeError,
)

Path = Union[str, os.PathLike]


class Decompressor(Protocol):
  """What `lzma.LZMADecompressor` and `bz2.BZ2Decompressor` have in common."""

  @property
  def eof(self) -> bool: ...

  def decompress(self, data: bytes) -> bytes: ...


def cache_folder() -> pathlib.Path:
  """The user's own cache folder of this library: `$XDG_CACHE_HOME` or `~/.cache`."""
  base = os.environ.get('XDG_CACHE_HOME') or os.path.join(os.path.expanduser('~'), '.cache')
  return pathlib.Path(base) / 'fl_research'


def data_dir(flag_value: Optional[str] = None) -> str:
  """The folder of data files: the flag, else `$FL_RESEARCH_DATA_DIR`, else the user's cache."""
  chosen = flag_value or os.environ.get(DATA_DIR_VARIABLE) or str(cache_folder() / 'data')
  return os.path.abspath(os.path.expanduser(chosen))


def find(data_dir: Path, folder: str, file_name: str) -> Optional[pathlib.Path]:
  """The file in `<data_dir>/<folder>` or in `<data_dir>`, None when it is in neither."""
  root = pathlib.Path(data_dir)
  for candidate in (root / folder / file_name, root / file_name):
    if candidate.is_file():
      return candidate
  return None


def fetch(
  data_dir: Path,
  folder: str,
  file_name: str,
  url: str,
  sha256: Union[str, Sequence[str]] = (),
  *,
  content_md5: Optional[str] = None,
  decompressor: Optional[Decompressor] = None,
) -> pathlib.Path:
  """A data set's file, downloaded when it is not there, and never used unless it is the right one.

  Args:
    data_dir: folder of data files.
    folder: the data set's own folder below it.
    file_name: name of the file in that folder.
    url: its canonical address.
    sha256: checksum, or checksums, of the versions known to be right; empty when none was ever
      published, and then the file is taken as it is (its checksum still goes into the manifest).
    content_md5: published MD5 of the *uncompressed* content of a .gz file. The same content packed
      by another gzip has other bytes; it is accepted when this agrees.
    decompressor: unpacks what comes from the address on its way to the disk (the checksums are
      then those of the unpacked file).

  Raises:
    UsageError: the file is not there and cannot be downloaded, or is not the published one.
  """
  known = (sha256,) if isinstance(sha256, str) else tuple(sha256)
  present = find(data_dir, folder, file_name)
  if present is not None:
    if not _is_right(present, known, content_md5):
      raise UsageError(
        f'{present}: SHA-256 {sha256_of(present)} is not that of the published file '
        f'({known[0] if known else content_md5}); remove it, and it is downloaded from {url}'
      )
    return present
  target = pathlib.Path(data_dir) / folder / file_name
  _download(url, target, known, content_md5, decompressor)
  return target


def sha256_of(path: Path) -> str:
  """SHA-256 of a file in hexadecimal, remembered while its path, size and time stay the same."""
  try:
    status = os.stat(path)
    return _sha256(os.path.realpath(path), status.st_size, status.st_mtime_ns)
  except OSError as error:
    raise UsageError(f'{path}: cannot be read ({one_line(error)})') from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
  """Turns what a damaged or truncated file raises in the block into a `UsageError` naming it."""
  try:
    yield
  except UsageError:
    raise
  except _DAMAGE as error:
    raise UsageError(f'{path}: damaged, truncated or not readable ({one_line(error)})') from error


def read_bytes(path: Path) -> bytes:
  """The content of a file, unpacked when its name ends in .gz.

  Raises:
    UsageError: the file cannot be read or is cut short.
  """
  with reading(path):
    if str(path).endswith('.gz'):
      with gzip.open(path, 'rb') as stream:
        return stream.read()
    return pathlib.Path(path).read_bytes()


class _Hashing(io.RawIOBase):
  """A stream whose bytes go through a digest on their way."""

  def __init__(self, path: Path, digest):
    self._stream = open(path, 'rb')  # noqa: SIM115  closed by `close`
    self._digest = digest

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    count = self._stream.readinto(buffer)
    self._digest.update(memoryview(buffer)[:count])
    return count

  def close(self) -> None:
    self._stream.close()
    super().close()


def open_text(path: Path, digest) -> io.TextIOBase:
  """A UTF-8 file, unpacked when its name ends in .gz, whose bytes update `digest` as it is read."""
  raw = io.BufferedReader(_Hashing(path, digest), _CHUNK)
  if str(path).endswith('.gz'):
    return io.TextIOWrapper(gzip.GzipFile(fileobj=raw), encoding='utf-8-sig')
  return io.TextIOWrapper(raw, encoding='utf-8-sig')


def one_line(error: BaseException) -> str:
  """An error as text without line breaks, its type's name when it says nothing itself."""
  return ' '.join(str(error).split()) or type(error).__name__


def _is_right(path: pathlib.Path, known: tuple[str, ...], content_md5: Optional[str]) -> bool:
  if not known and content_md5 is None:
    return True
  if sha256_of(path) in known:
    return True
  return content_md5 is not None and hashlib.md5(read_bytes(path)).hexdigest() == content_md5


@functools.lru_cache(maxsize=256)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
  if size < _REMEMBER_FROM_BYTES:
    return _hash_file(path)
  key = hashlib.sha256(f'{path}|{size}|{mtime_ns}'.encode()).hexdigest()
  note = cache_folder() / 'checksums' / key
  with contextlib.suppress(OSError):
    remembered = note.read_text().strip()
    if len(remembered) == 64:
      return remembered
  digest = _hash_file(path)
  with contextlib.suppress(OSError):  # a read-only home only costs the time again
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(digest)
  return digest


def _hash_file(path: Path) -> str:
  with open(path, 'rb') as stream:
    return hashlib.file_digest(stream, 'sha256').hexdigest()


def _download(
  url: str,
  target: pathlib.Path,
  known: tuple[str, ...],
  content_md5: Optional[str],
  decompressor: Optional[Decompressor],
) -> None:
  """Downloads into a temporary file beside the target and renames it once it is verified."""
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: reading a .gz goes by its name.
    handle, name = tempfile.mkstemp(
      dir=target.parent, prefix='.partial-', suffix=''.join(target.suffixes[-1:])
    )
  except OSError as error:
    raise UsageError(
      f'{target}: not found, and {target.parent} cannot be written to for a download from {url} '
      f'({one_line(error)})'
    ) from error
  partial = pathlib.Path(name)
  try:
    with os.fdopen(handle, 'wb') as sink:
      _receive(url, target, sink, decompressor)
      sink.flush()
      os.fsync(sink.fileno())
    if not _is_right(partial, known, content_md5):
      raise UsageError(
        f'{target.name}: what {url} sent has SHA-256 {_hash_file(partial)}, not the published '
        f'{known[0] if known else content_md5}; put the right file at {target}'
      )
    os.chmod(partial, 0o644)
    os.replace(partial, target)
  finally:
    partial.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # goes only while empty: nothing stays after a failure
      target.parent.rmdir()


def _receive(
  url: str, target: pathlib.Path, sink: io.BufferedIOBase, decompressor: Optional[Decompressor]
) -> None:
  try:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
      length = response.headers.get('Content-Length')
      total = int(length) if length is not None else None
      received = _copy(response, sink, total, target.name, decompressor)
    if total is not None and received != total:
      raise EOFError(f'{received} of {total} bytes came')
    if decompressor is not None and not decompressor.eof:
      raise EOFError('the packed stream was cut short')
  except (OSError, EOFError, http.client.HTTPException, lzma.LZMAError) as error:
    raise UsageError(
      f'{target.name}: not in {target.parent}, and downloading {url} failed '
      f'({one_line(error)}); put the file at {target}'
    ) from error


def _copy(
  response,
  sink: io.BufferedIOBase,
  total: Optional[int],
  name: str,
  decompressor: Optional[Decompressor],
) -> int:
  """Copies a response to a file with a progress bar on standard error, if that is a terminal."""
  # Only a download needs rich, and importing it takes longer than opening a present file.
  import rich.console
  import rich.progress

  columns = (
    rich.progress.TextColumn('downloading {task.description}'),
    rich.progress.BarColumn(),
    rich.progress.DownloadColumn(),
    rich.progress.TransferSpeedColumn(),
    rich.progress.TimeRemainingColumn(),
  )
  console = rich.console.Console(stderr=True)
  received = 0
  with rich.progress.Progress(
    *columns, console=console, disable=not console.is_terminal
  ) as progress:
    bar = progress.add_task(name, total=total)
    while chunk := response.read(_CHUNK):
      sink.write(chunk if decompressor is None else decompressor.decompress(chunk))
      received += len(chunk)
      progress.update(bar, completed=received)
  return received
