"""Text as tokens: characters or words, a vocabulary, and examples that predict the next token.

0 is padding, 1 to V the vocabulary, most frequent first, V + 1 anything else, V + 2 and V + 3 begin
and end. A text between begin and end is a stream of tokens, cut into examples of a length: x are
tokens t and y tokens t + 1, so that every token after begin is predicted exactly once, and the last
example is filled with 0, which is not scored (as in `datasets.shakespeare`).
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
import re
from typing import Any

import numpy as np

from fl_research.datasets.federated_data import DatasetOptions, Examples

PAD = 0
_LENGTHS = {'characters': 80, 'words': 20}
_VOCABULARIES = {'characters': 1000, 'words': 10_000}
_WORD = re.compile(r'\w+|[^\w\s]')


class Tokenizer:
  """How texts are cut: `tokens`, `length` and the size of the vocabulary, from the user's flags."""

  def __init__(self, options: DatasetOptions):
    self.tokens = options.tokens or 'characters'
    self.length = options.sequence_length or _LENGTHS[self.tokens]
    self._most = options.vocabulary_size or _VOCABULARIES[self.tokens]

  def cut(self, text: str) -> Sequence[str]:
    """A text's characters, or its words and signs in lower case."""
    return text if self.tokens == 'characters' else _WORD.findall(text.lower())

  def examples_of(self, text: str) -> int:
    """How many examples a text makes."""
    return -(-(len(self.cut(text)) + 1) // self.length)

  def vocabulary(self, counts: 'collections.Counter[str]') -> 'Vocabulary':
    """The most frequent tokens; of equally frequent ones the alphabetically first."""
    frequent = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Vocabulary(self, [token for token, _ in frequent[: self._most]])


class Vocabulary:
  """Tokens that are told apart, by number."""

  def __init__(self, tokenizer: Tokenizer, tokens: Sequence[str]):
    self.tokens = list(tokens)
    self._tokenizer = tokenizer
    self._number = {token: k + 1 for k, token in enumerate(tokens)}
    self._unknown, self._begin, self._end = (len(tokens) + k for k in (1, 2, 3))

  @property
  def num_tokens(self) -> int:
    """All of them, with padding, unknown, begin and end."""
    return len(self.tokens) + 4

  def examples(self, text: str) -> Examples:
    """x and y int32 [examples, length] of one text."""
    stream = np.array([self._begin, *self.numbers(text), self._end], np.int32)
    length = self._tokenizer.length
    x, y = (np.full((self._tokenizer.examples_of(text), length), PAD, np.int32) for _ in 'xy')
    x.reshape(-1)[: len(stream) - 1] = stream[:-1]
    y.reshape(-1)[: len(stream) - 1] = stream[1:]
    return {'x': x, 'y': y}

  def numbers(self, text: str) -> list[int]:
    """The number of each token of a text."""
    return [self._number.get(token, self._unknown) for token in self._tokenizer.cut(text)]

  def ending(self, text: str) -> tuple[np.ndarray, int]:
    """The end of a text as x int32 [length], and the place at which what follows is predicted."""
    length = self._tokenizer.length
    stream = [self._begin, *self.numbers(text)][-length:]
    return np.array([*stream, *[PAD] * (length - len(stream))], np.int32), len(stream) - 1

  def line(self, text: str) -> np.ndarray:
    """The end of a text as x int32 [length], padding coming first."""
    length = self._tokenizer.length
    numbers = self.numbers(text)[-length:]
    return np.array([*[PAD] * (length - len(numbers)), *numbers], np.int32)

  def names(self) -> list[str]:
    """What stands for each number."""
    return ['<padding>', *self.tokens, '<unknown>', '<begin>', '<end>']

  def preprocessing(self) -> dict[str, Any]:
    """What a run keeps, to read new texts likewise."""
    return {
      'kind': 'text',
      'tokens': self._tokenizer.tokens,
      'sequence_length': self._tokenizer.length,
      'vocabulary': self.tokens,
    }

  def note(self) -> str:
    """The vocabulary in a line."""
    return (
      f'{len(self.tokens)} different {self._tokenizer.tokens} of the training texts are told '
      f'apart, {self._tokenizer.length} are an example'
    )


def count(texts: Iterable[str], tokenizer: Tokenizer) -> 'collections.Counter[str]':
  """How often each token is in some texts."""
  counts: collections.Counter[str] = collections.Counter()
  for text in texts:
    counts.update(tokenizer.cut(text))
  return counts


def from_preprocessing(how: Mapping[str, Any]) -> Vocabulary:
  """The vocabulary whose `preprocessing` gave this."""
  options = DatasetOptions('', tokens=how['tokens'], sequence_length=how['sequence_length'])
  return Vocabulary(Tokenizer(options), how['vocabulary'])
