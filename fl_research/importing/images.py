"""Pictures in folders: `<client>/<class>/x.png`; perhaps no clients, perhaps train and test levels.

JPEG and PNG of any size become float32 [height, width, channels] from 0 to 1. Where no level says
whose a picture is, they are dealt out by `--partition`. Opening reads every file's header, and
nothing else; a picture is decoded when its turn comes, so that memory does not grow with them.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import io
import os
import pathlib
import re
import struct
from typing import Any, NamedTuple, Optional
import warnings
import zlib

import numpy as np
from PIL import Image, UnidentifiedImageError

from fl_research.datasets import files, pixels
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.importing import folder_levels, forms, held_out, memory
from fl_research.importing.source import Counts, Found, Part, Source, Spec
from fl_research.registry import UsageError

_LARGEST_SIDE = 64
_MOST_PIXELS = 100_000_000
"""A picture of more is not unpacked: it would take 300 MB and more."""

_CHUNK = 256
_FORMATS = ('PNG', 'JPEG')
_GREY = frozenset({'1', 'L', 'LA', 'I', 'I;16', 'I;16B', 'I;16L'})
_DAMAGE = (OSError, EOFError, ValueError, SyntaxError, struct.error, zlib.error, TypeError)


def load(options: DatasetOptions) -> memory.Data:
  """Reads the folder `options.data_file` into memory; also reads `options.seed`."""
  return memory.read(open_source(options))


def open_source(options: DatasetOptions) -> Source:
  """The folder `options.data_file`, with a fifth held out where it has no test folders.

  Raises:
    UsageError: it is no folder, has no pictures, a file is none, or what the levels of folders are
      cannot be told; one line.
  """
  return held_out.complete(_Pictures(options), options.seed)


class New(NamedTuple):
  """New pictures, as a model takes them.

  Attributes:
    names: their paths below the folder.
    x: float32 [n, height, width, channels] from 0 to 1.
    y: their classes, int32 [n]; None where nobody asked for them.
  """

  names: Sequence[str]
  x: np.ndarray
  y: Optional[np.ndarray]


def new(path: str, kept: Mapping[str, Any], labels: bool) -> Iterator[New]:
  """The picture `path`, or all those of a folder, made as a run's were, some at a time.

  Args:
    path: a file or a folder.
    kept: the run's `preprocessing`.
    labels: whether the folders of the pictures say their classes.

  Raises:
    UsageError: there are none, or one is damaged or of no class; one line.
  """
  where = f'--data_file={path}'
  if not os.path.exists(path):
    raise UsageError(f'{where}: no such file or folder')
  names = _listing(path)[0] if os.path.isdir(path) else ['']
  if not names:
    raise UsageError(f'{where}: no .png or .jpg file in it')
  full = [os.path.join(path, name) if name else path for name in names]
  size, grey = (kept['height'], kept['width']), kept['colour'] == 'grey'
  for first in range(0, len(names), _CHUNK):
    some = full[first : first + _CHUNK]
    y = [_class_of(name, kept['classes'], where) for name in some] if labels else None
    x = np.stack([_pixels(name, size, grey)[0] for name in some])
    told = names[first : first + _CHUNK] if os.path.isdir(path) else [os.path.basename(path)]
    yield New(told, x, None if y is None else np.array(y, np.int32))


def _class_of(path: str, classes: Sequence[str], where: str) -> int:
  """The class that the innermost folder named like one says."""
  for folder in reversed(os.path.abspath(path).split(os.sep)[:-1]):
    if folder in classes:
      return list(classes).index(folder)
  raise UsageError(f'{where}: {path} lies in no folder named like a class ({", ".join(classes)})')


@dataclasses.dataclass(frozen=True)
class _Picture:
  """A file, and what its folders say."""

  path: str
  client: int
  label: int
  test: bool


class _Pictures(Source):
  """The pictures of a folder, sorted by client."""

  def __init__(self, options: DatasetOptions):
    folder = options.data_file or ''
    where = f'--data_file={folder}'
    if not os.path.isdir(folder):
      what = 'is a file, not a folder of pictures' if os.path.exists(folder) else 'no such folder'
      raise UsageError(f'{where}: {what}')
    self._folder = folder
    paths, others = _listing(folder)
    if not paths:
      raise UsageError(f'{where}: no .png or .jpg file in it')
    folders = [path.split('/')[:-1] for path in paths]
    levels = _levels(folders, paths, options.folder_levels, where)
    self._sort(paths, folders, levels, where)
    sizes, grey = _headers(folder, [picture.path for picture in self._pictures])
    self._size = _size(sizes, options.image_size)
    self._grey = _is_grey(grey, options.image_colour)
    self._hashes: dict[str, str] = {}
    num_classes = len(self._classes)
    binary = num_classes == 2
    self.spec = Spec(
      x_shape=(*self._size, 1 if self._grey else 3),
      x_dtype=np.dtype(np.float32),
      y_shape=(),
      y_dtype=np.dtype(np.int32),
      problem=Problem.BINARY if binary else Problem.CLASSIFICATION,
      num_classes=num_classes,
    )
    self.preprocessing = {
      'kind': 'pictures',
      'height': self._size[0],
      'width': self._size[1],
      'colour': 'grey' if self._grey else 'colour',
      'divided_by': pixels.LEVELS,
      'classes': list(self._classes),
    }
    whose = 'nobody: dealt out by --partition' if self.pooled else 'a folder each'
    level_names = '/'.join(levels.roles)
    self.found = Found(
      form='pictures in folders',
      clients=f'{whose} (levels are {level_names}: {levels.reason})',
      label=f'the folder of its class, {num_classes} classes',
      classes=self._classes,
      notes=(*self._size_notes(sizes, grey), *_left_out(others)),
    )

  def _sort(self, paths, folders, levels: folder_levels.Levels, where: str) -> None:
    """Whose every file is and of what class; sets pictures, classes, clients and counts."""
    self.pooled = folder_levels.CLIENT not in levels.roles
    names = [levels.pick(folder_levels.CLASS, own) or '' for own in folders]
    self._classes = sorted(set(names), key=_natural)
    if len(self._classes) < 2:
      raise UsageError(f'{where}: all pictures are of class {self._classes[0]}; nothing to learn')
    owners = [levels.pick(folder_levels.CLIENT, own) or 'all' for own in folders]
    ids = sorted(set(owners), key=_natural)
    splits = [levels.pick(folder_levels.SPLIT, own) for own in folders]
    named = {name for name in splits if name}
    folder_levels.check_split(named, '/'.join(levels.roles))
    tested = folder_levels.has_test(named)
    client_of = {name: k for k, name in enumerate(ids)}
    class_of = {name: k for k, name in enumerate(self._classes)}
    pictures = [
      _Picture(path, client_of[owner], class_of[name], folder_levels.is_test(split, tested))
      for path, owner, name, split in zip(paths, owners, names, splits)
    ]
    self._pictures = sorted(pictures, key=lambda picture: (picture.client, picture.test))
    count = lambda test: np.bincount(
      [picture.client for picture in pictures if picture.test == test], minlength=len(ids)
    ).astype(np.int64)
    self.counts = Counts(ids, count(False), count(True))

  def _size_notes(self, sizes: Sequence[tuple[int, int]], grey: Sequence[bool]) -> list[str]:
    height, width = self._size
    others = sum(size != (width, height) for size in sizes)
    notes = [f'pictures are {width} x {height}, levels from 0 to 1 (--image_size changes it)']
    if others:
      notes.append(f'{others} of {len(sizes)} pictures have another size and are resized')
    if self._grey and not all(grey):
      notes.append(f'{len(grey) - sum(grey)} of {len(grey)} pictures are in colour, made grey')
    if not self._grey and any(grey):
      notes.append(f'{sum(grey)} of {len(grey)} pictures are grey, made three colours')
    return notes

  @property
  def files(self):  # type: ignore[override]
    lines = '\n'.join(f'{path} {self._hashes.get(path)}' for path in sorted(self._hashes))
    name = os.path.basename(os.path.normpath(self._folder))
    return {f'{name}/**': hashlib.sha256(lines.encode()).hexdigest()}

  def parts(self) -> Iterator[Part]:
    chunk: list[_Picture] = []
    for picture in self._pictures:
      if chunk and (
        len(chunk) == _CHUNK or (chunk[0].client, chunk[0].test) != (picture.client, picture.test)
      ):
        yield self._part(chunk)
        chunk = []
      chunk.append(picture)
    yield self._part(chunk)

  def _part(self, chunk: Sequence[_Picture]) -> Part:
    x = np.stack([self._read(picture.path) for picture in chunk])
    y = np.array([picture.label for picture in chunk], np.int32)
    return Part(chunk[0].client, chunk[0].test, {'x': x, 'y': y})

  def _read(self, path: str) -> np.ndarray:
    own, self._hashes[path] = _pixels(f'{self._folder}/{path}', self._size, self._grey)
    return own


def _pixels(path: str, size: tuple[int, int], grey: bool) -> tuple[np.ndarray, str]:
  """A picture, float32 [height, width, channels], and its file's SHA-256."""
  try:
    content = pathlib.Path(path).read_bytes()
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # of odd metadata, which nobody reads
      with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
        _check_pixels(path, image.size)
        return _array(image, size, grey), hashlib.sha256(content).hexdigest()
  except (*_DAMAGE, Image.DecompressionBombError) as error:
    raise _damaged(path, error) from error


def _natural(name: str) -> tuple:
  """A key that sorts client_2 before client_10."""
  parts = [part for part in re.split(r'([0-9]+)', name) if part]
  return (*((int(part), '') if part.isdecimal() else (-1, part) for part in parts), (0, name))


def _listing(folder: str) -> tuple[list[str], list[str]]:
  """Paths below the folder of all pictures, and of all other files, sorted."""
  pictures: list[str] = []
  others: list[str] = []
  for base, folders, names in os.walk(folder):
    folders[:] = sorted(name for name in folders if not forms.is_hidden(name))
    own = os.path.relpath(base, folder).replace(os.sep, '/')
    prefix = '' if own == '.' else f'{own}/'
    for name in sorted(names):
      if forms.is_hidden(name) or (not prefix and forms.is_paper(name)):
        continue
      is_picture = os.path.splitext(name)[1].lower() in forms.PICTURES
      (pictures if is_picture else others).append(prefix + name)
  return pictures, others


def _left_out(others: Sequence[str]) -> list[str]:
  if not others:
    return []
  more = ', ...' if len(others) > 3 else ''
  return [f'{len(others)} files that are no pictures are left out: {", ".join(others[:3])}{more}']


def _levels(
  folders: Sequence[list[str]], paths: Sequence[str], flag: Optional[str], where: str
) -> folder_levels.Levels:
  depth = len(folders[0])
  for own, path in zip(folders, paths):
    if len(own) != depth:
      raise UsageError(
        f'{where}: {path} and {paths[0]} lie in different depths of folders; all must lie as deep'
      )
  if flag:
    return folder_levels.given(flag, depth, where)
  return folder_levels.guess([set(level) for level in zip(*folders)], where)


def _headers(folder: str, paths: Sequence[str]) -> tuple[list[tuple[int, int]], list[bool]]:
  """Width and height of all pictures, and whether they are grey."""
  sizes, grey = [], []
  for path in paths:
    full = f'{folder}/{path}'
    try:
      with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with Image.open(full, formats=_FORMATS) as image:
          _check_pixels(full, image.size)
          sizes.append(image.size)
          grey.append(image.mode in _GREY)
    except (*_DAMAGE, Image.DecompressionBombError) as error:
      raise _damaged(full, error) from error
  return sizes, grey


def _check_pixels(path: str, size: tuple[int, int]) -> None:
  if size[0] * size[1] > _MOST_PIXELS:
    raise _too_large(path)


def _too_large(path: str) -> UsageError:
  return UsageError(
    f'{path}: has more than {_MOST_PIXELS:,} pixels, by mistake or to fill the memory; remove it '
    'or make it smaller'
  )


def _damaged(path: str, error: BaseException) -> UsageError:
  if isinstance(error, UsageError):
    return error
  if isinstance(error, Image.DecompressionBombError):
    return _too_large(path)
  if isinstance(error, UnidentifiedImageError):
    return UsageError(f'{path}: no PNG or JPEG picture; remove it or copy it again')
  return UsageError(
    f'{path}: damaged or cut short, or no picture ({files.one_line(error)[:80]}); remove it or '
    'copy it again'
  )


def _size(sizes: Sequence[tuple[int, int]], given: Optional[int]) -> tuple[int, int]:
  """Height and width of all examples."""
  if given:
    return given, given
  values, counts = np.unique(np.array(sizes), axis=0, return_counts=True)
  width, height = (int(side) for side in values[np.argmax(counts)])
  shrink = min(1.0, _LARGEST_SIDE / max(width, height))
  return max(1, round(height * shrink)), max(1, round(width * shrink))


def _is_grey(grey: Sequence[bool], given: Optional[str]) -> bool:
  return given == 'grey' if given else 2 * sum(grey) > len(grey)


def _array(image: Image.Image, size: tuple[int, int], grey: bool) -> np.ndarray:
  """float32 [height, width, channels] from 0 to 1."""
  if image.mode.startswith('I'):
    # 16 bits a pixel, which Pillow would clip rather than scale.
    levels = np.asarray(image, np.float32) / 65535
    image = Image.fromarray(levels * pixels.LEVELS, 'F')
    own = np.clip(np.asarray(_resized(image, size), np.float32) / pixels.LEVELS, 0, 1)[..., None]
    return own if grey else np.repeat(own, 3, axis=2)
  if image.mode in ('P', 'PA', '1', 'LA'):
    image = image.convert('RGB')
  image = _resized(image.convert('L' if grey else 'RGB'), size)
  own = pixels.scaled(np.asarray(image))
  return own[..., None] if grey else own


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
  height, width = size
  if image.size == (width, height):
    image.load()
    return image
  return image.resize((width, height), Image.Resampling.BILINEAR)
