"""JSON in LEAF's form: `users`, `num_samples`, `user_data: {user: {x: [...], y: [...]}}`.

One file, or a folder of them, perhaps in `train/` and `test/`. What is in it follows from the first
example:

- x of numbers, y whole numbers: classes; 784 or 3,072 numbers are a square picture;
- x a line of text and y the character after it (LEAF's Shakespeare): the next character, of which
  only the last place counts, as in LEAF.

A file is gone through user by user, twice, so that memory holds one user and not the file.
"""

import collections
from collections.abc import Iterator
import hashlib
import json
import os
import pathlib
import re
from typing import Any, NamedTuple, Optional

import numpy as np

from fl_research.datasets import files, pixels
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.importing import forms, held_out, memory, problems
from fl_research.importing.source import Counts, Found, Part, Source, Spec
from fl_research.importing.tokens import PAD, Tokenizer
from fl_research.registry import UsageError

_CHUNK = 1 << 20
_LARGEST_USER = 1 << 29
_SPACE = re.compile(r'[\s,]*')


def load(options: DatasetOptions) -> memory.Data:
  """Reads the file or folder `options.data_file` into memory; also reads `options.seed`."""
  return memory.read(open_source(options))


def open_source(options: DatasetOptions) -> Source:
  """The file or folder `options.data_file`.

  Raises:
    UsageError: a file is damaged, is not of LEAF's form, or holds what is not read; one line.
  """
  return held_out.complete(_Leaf(options), options.seed)


class _User(NamedTuple):
  """One user's examples in one file."""

  name: str
  x: list
  y: list
  test: bool
  path: str


class _Leaf(Source):
  """The users of all files; who is in several has the examples of all."""

  def __init__(self, options: DatasetOptions):
    self._path = options.data_file or ''
    where = f'--data_file={self._path}'
    self._files = _listing(self._path, where)
    is_folder = os.path.isdir(self._path)
    self._root = pathlib.Path(self._path if is_folder else os.path.dirname(self._path))
    self._hashes: dict[str, str] = {}
    sizes: dict[str, list[int]] = {}
    measured: Optional[_Reader] = None
    for user in self._users():
      if not user.x:
        continue
      measured = measured or _reader(user, options)
      measured.measure(user)
      sizes.setdefault(user.name, [0, 0])[user.test] += len(user.y)
    if measured is None:
      raise UsageError(f'{where}: no user has an example')
    self._reader = measured
    self.spec = measured.spec(where)
    self.preprocessing = measured.preprocessing
    ids = list(sizes)
    self._position = {name: k for k, name in enumerate(ids)}
    counts = np.array([sizes[name] for name in ids], np.int64)
    self.counts = Counts(ids, counts[:, 0], counts[:, 1])
    described = problems.described(self.spec.problem, self.spec.num_classes)
    self.found = Found(
      form=f"LEAF's JSON ({len(self._files)} file{'s' * (len(self._files) > 1)})",
      clients='users of the files',
      label=f'y, {described}',
      notes=measured.notes,
    )

  def _users(self) -> Iterator[_User]:
    for path, test in self._files:
      digest = hashlib.sha256()
      for name, data in _user_data(path, digest):
        yield _checked(name, data, test, str(path))
      self._hashes[str(path.relative_to(self._root))] = digest.hexdigest()

  @property
  def files(self):  # type: ignore[override]
    return self._hashes

  def parts(self) -> Iterator[Part]:
    for user in self._users():
      if user.x:
        if user.name not in self._position:
          raise UsageError(f'{user.path}: has changed while it was read; start again')
        yield Part(self._position[user.name], user.test, self._reader.examples(user))


def new(path: str) -> Iterator[tuple[str, list, Optional[list]]]:
  """Users of new files, with their x and, where they have some, y as they are written.

  Raises:
    UsageError: there are no such files, or one is damaged; one line.
  """
  for own, _ in _listing(path, f'--data_file={path}'):
    for name, data in _user_data(own, hashlib.sha256()):
      without = isinstance(data, dict) and isinstance(data.get('x'), list) and 'y' not in data
      user = _checked(name, {**data, 'y': data['x']} if without else data, False, str(own))
      if user.x:
        yield user.name, user.x, None if without else user.y


def _listing(path: str, where: str) -> list[tuple[pathlib.Path, bool]]:
  """The files, and whether each holds test examples."""
  if os.path.isfile(path):
    return [(pathlib.Path(path), False)]
  if not os.path.isdir(path):
    raise UsageError(f'{where}: no such file or folder')
  found = sorted(
    own
    for own in pathlib.Path(path).rglob('*')
    if forms.suffix_of(own) == '.json' and not forms.is_hidden(own.name) and own.is_file()
  )
  if not found:
    raise UsageError(f'{where}: no .json file in it')
  root = pathlib.Path(path)
  listed = [(own, _is_test(own.relative_to(root))) for own in found]
  return sorted(listed, key=lambda pair: pair[1])


def _is_test(path: pathlib.Path) -> bool:
  """By its folder, or by LEAF's way of naming: `all_data_0_niid_05_keep_0_test_9.json`."""
  return 'test' in path.parts[:-1] or bool(re.search(r'(^|_)test(_|\.)', path.name))


def _user_data(path: pathlib.Path, digest) -> Iterator[tuple[str, Any]]:
  """Users and their data, one at a time.

  Raises:
    UsageError: the file is cut short, no JSON, or has no `user_data`.
  """
  with files.reading(path):
    opened = files.open_text(path, digest)
    with opened as stream:
      buffer = _Buffer(stream)
      try:
        yield from _walk(buffer)
      except (ValueError, RecursionError) as error:
        raise UsageError(
          f"{path}: no JSON of LEAF's form (users, num_samples, user_data), or cut short "
          f'({files.one_line(error)[:80]})'
        ) from error


class _Buffer:
  """JSON text of which a window is in memory."""

  def __init__(self, stream):
    self._stream = stream
    self._text = ''
    self._at = 0
    self._ended = False
    self._decoder = json.JSONDecoder()

  def _more(self) -> bool:
    if len(self._text) - self._at > _LARGEST_USER:
      raise ValueError(f'no whole user in {_LARGEST_USER >> 20} MB')
    # The window doubles, so that a long value is tried a few times only.
    read = self._stream.read(max(_CHUNK, len(self._text) - self._at))
    self._text = self._text[self._at :] + read
    self._at = 0
    self._ended = not read
    return bool(read)

  def next_sign(self) -> str:
    """The next sign that is neither space nor comma; it stays."""
    while True:
      match = _SPACE.match(self._text, self._at)
      self._at = match.end() if match else self._at
      if self._at < len(self._text):
        return self._text[self._at]
      if not self._more():
        raise ValueError('it ends too early')

  def skip(self, sign: str) -> None:
    if self.next_sign() != sign:
      raise ValueError(f'{self.next_sign()!r} where {sign!r} was expected')
    self._at += 1

  def value(self) -> Any:
    """The next value, whole."""
    self.next_sign()
    while True:
      try:
        value, end = self._decoder.raw_decode(self._text, self._at)
        # A number at the end of the window may go on in the next one.
        if end < len(self._text) or self._ended:
          self._at = end
          return value
      except ValueError:
        if self._ended:
          raise
      self._more()

  def ends(self) -> bool:
    """Whether nothing but space follows."""
    try:
      self.next_sign()
    except ValueError:
      return True
    return False


def _walk(buffer: _Buffer) -> Iterator[tuple[str, Any]]:
  buffer.skip('{')
  seen = False
  while buffer.next_sign() != '}':
    key = buffer.value()
    buffer.skip(':')
    if key != 'user_data':
      buffer.value()
      continue
    seen = True
    buffer.skip('{')
    while buffer.next_sign() != '}':
      name = buffer.value()
      buffer.skip(':')
      yield str(name), buffer.value()
    buffer.skip('}')
  buffer.skip('}')
  if not seen:
    raise ValueError('no user_data in it')
  if not buffer.ends():
    raise ValueError('something follows its end')


def _checked(name: str, data: Any, test: bool, path: str) -> _User:
  if not isinstance(data, dict) or 'x' not in data or 'y' not in data:
    raise UsageError(f'{path}: user {name} has no x and y')
  x, y = data['x'], data['y']
  if not isinstance(x, list) or not isinstance(y, list):
    raise UsageError(f'{path}: x and y of user {name} are no lists')
  if len(x) != len(y):
    raise UsageError(f'{path}: user {name} has {len(x)} x and {len(y)} y')
  return _User(name, x, y, test, path)


class _Reader:
  """How examples of one kind are read.

  Attributes:
    notes, preprocessing: as in `Source` and `Found`.
  """

  notes: list[str]
  preprocessing: dict[str, Any]

  def measure(self, user: _User) -> None:
    """Looks at a user's examples, before any is read."""

  def spec(self, where: str) -> Spec:
    """What an example is, when all users have been measured."""
    raise NotImplementedError

  def examples(self, user: _User) -> dict[str, np.ndarray]:
    """A user's x and y."""
    raise NotImplementedError


def _reader(user: _User, options: DatasetOptions) -> _Reader:
  x, y = user.x[0], user.y[0]
  if isinstance(x, str) and isinstance(y, str) and len(y) == 1:
    return _Lines(options)
  if isinstance(x, (int, float, list)) and not isinstance(y, str):
    return _Numbers(user)
  if isinstance(x, str) and re.search(r'\.(jpe?g|png)$', x, re.IGNORECASE):
    raise UsageError(
      f'{user.path}: x are names of picture files ({x}); put the pictures in folders '
      '<client>/<class>/ and name that folder'
    )
  raise UsageError(
    f'{user.path}: x are {_kind(x)} and y {_kind(y)}; read are numbers with numbers, and lines of '
    'text with the next character'
  )


def _kind(value: Any) -> str:
  if isinstance(value, list):
    return f'lists of {_kind(value[0])}' if value else 'empty lists'
  return {str: 'text', int: 'whole numbers', float: 'fractions', dict: 'objects'}.get(
    type(value), type(value).__name__
  )


class _Numbers(_Reader):
  """x of numbers."""

  def __init__(self, user: _User):
    self._shape = self._array(user, 'x', user.x[:1]).shape[1:] or (1,)
    self._low, self._high = np.inf, -np.inf
    self._largest = 0.0
    self._whole = True
    self._y_shape = self._array(user, 'y', user.y[:1]).shape[1:]

  def _array(self, user: _User, key: str, values: list) -> np.ndarray:
    try:
      array = np.array(values, np.float64)
    except (ValueError, TypeError) as error:
      raise UsageError(
        f'{user.path}: {key} of user {user.name} are no numbers, or not all of one shape'
      ) from error
    if not np.isfinite(array).all():
      raise UsageError(f'{user.path}: {key} of user {user.name} holds NaN or infinity')
    return array

  def measure(self, user: _User) -> None:
    x, y = self._array(user, 'x', user.x), self._array(user, 'y', user.y)
    for key, own, shape in (('x', x, self._shape), ('y', y, self._y_shape)):
      if (own.shape[1:] or (1,) * (key == 'x')) != shape:
        raise UsageError(
          f'{user.path}: {key} of user {user.name} has the shape {list(own.shape[1:])}, that of '
          f'others is {list(shape)}'
        )
    self._largest = max(self._largest, float(np.abs(x).max(initial=0)))
    self._whole &= bool((y == np.floor(y)).all())
    self._low, self._high = min(self._low, y.min()), max(self._high, y.max())

  def spec(self, where: str) -> Spec:
    ends = np.array([self._low, self._high])
    y = ends.astype(np.int64) if self._whole else ends
    shaped = np.broadcast_to(y.reshape(2, *(1,) * len(self._y_shape)), (2, *self._y_shape))
    self._kind = problems.kind(shaped, np.zeros(0, np.float32), where)
    count = self._shape[0] if len(self._shape) == 1 else 0
    self._picture = pixels.shape_of_flat(count) if count else None
    shape = self._picture or self._shape
    is_picture = pixels.is_picture(shape)
    self._divided = is_picture and 1 < self._largest <= pixels.LEVELS
    self.notes, self.preprocessing = [], {}
    if self._picture:
      height, width, channels = self._picture
      self.notes.append(f'x of {count} numbers are pictures of {height} x {width} x {channels}')
    if self._divided:
      self.notes.append('levels of 0 to 255 are divided by 255')
      self.preprocessing = dict(pixels.preprocessing(shape))
    kind = self._kind
    return Spec(
      shape, np.dtype(np.float32), self._y_shape, kind.dtype, kind.problem, kind.num_classes
    )

  def examples(self, user: _User) -> dict[str, np.ndarray]:
    x = self._array(user, 'x', user.x).astype(np.float32)
    x = x.reshape(len(x), *(self._picture or self._shape))
    y = self._array(user, 'y', user.y).astype(self._kind.dtype)
    return {'x': pixels.scaled(x) if self._divided else x, 'y': y}


class _Lines(_Reader):
  """x a line of text, y the character after it."""

  def __init__(self, options: DatasetOptions):
    self._tokenizer = Tokenizer(options)
    if self._tokenizer.tokens != 'characters':
      raise UsageError('--tokens=words: x are lines with the next character; leave it out')
    if options.sequence_length:
      raise UsageError(
        f'--sequence_length={options.sequence_length}: the files have lines of their own; leave it '
        'out'
      )
    self._counts: collections.Counter[str] = collections.Counter()
    self._length = 0

  def measure(self, user: _User) -> None:
    self._check(user)
    self._length = max(self._length, max(len(line) for line in user.x))
    if not user.test:
      # Lines overlap by all but a character: the first line and what follows it are the text.
      self._counts.update(user.x[0])
      self._counts.update(''.join(user.y))

  def _check(self, user: _User) -> None:
    for line, following in zip(user.x, user.y):
      if not isinstance(line, str) or not isinstance(following, str) or len(following) != 1:
        raise UsageError(f'{user.path}: user {user.name} has x that are no lines of text')

  def spec(self, where: str) -> Spec:
    del where
    self._tokenizer.length = self._length
    self._vocabulary = self._tokenizer.vocabulary(self._counts)
    self.preprocessing = {**self._vocabulary.preprocessing(), 'lines': True}
    self.notes = [
      self._vocabulary.note(),
      'only the character after each line is scored, as in LEAF',
    ]
    shape, whole = (self._length,), np.dtype(np.int32)
    return Spec(shape, whole, shape, whole, Problem.NEXT_TOKEN, self._vocabulary.num_tokens)

  def examples(self, user: _User) -> dict[str, np.ndarray]:
    # Padding comes first, so that the last place is always the one after the line.
    x = np.stack([self._vocabulary.line(line) for line in user.x])
    y = np.full_like(x, PAD)
    y[:, -1] = [self._vocabulary.numbers(following)[0] for following in user.y]
    return {'x': x, 'y': y}
