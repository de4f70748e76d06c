"""Stack Overflow by user: predict the next word of a sentence.

The set behind the largest experiments of Reddi et al. 2021 ("Adaptive federated optimization"), as
TFF publishes it: 342,477 training users with 135,818,730 sentences, 204,088 test users. It is read
user by user, never as a whole.
"""

from collections.abc import Mapping, Sequence
import pathlib
import tarfile

import numpy as np
import tensorflow_federated as tff

from fl_research.datasets import files, tff_bridge
from fl_research.datasets.federated_data import (
  Clients,
  DatasetOptions,
  Examples,
  FederatedData,
  Problem,
)
from fl_research.registry import UsageError

DATABASE = 'stackoverflow.sqlite'
_WORDS_FILE = 'stackoverflow.word_count.tar.bz2'
_WORDS_SHA256 = '1dc00256d6e527c54b9756d968118378ae14e6692c0b3b6cad470cdd3f0c519c'
_VOCABULARY_SIZE = 10_000
# Reddi et al. 2021: no user trains on more, and so many sentences are the validation set.
_MOST_EXAMPLES = 1_000
_MOST_TEST_EXAMPLES = 10_000
_SPECIAL_TOKENS = 4


def load(options: DatasetOptions) -> FederatedData:
  """Loads the users: x and y int32 [sequence_length], y being x one word later.

  Token 0 is padding; 1..V are the V = 10,000 words that most users write, V + 1 any other word,
  V + 2 begins a sentence and V + 3 ends one (there is no end where the sentence is cut off), as in
  TFF's baseline. The published experiments have 20 words per example. A user's first 1,000
  sentences are read; the central test set is 10,000 sentences of test users drawn from the run's
  seed.

  Raises:
    UsageError: the sequence length is below 1, or a file cannot be had or is damaged.
  """
  length = 20 if options.sequence_length is None else options.sequence_length
  if length < 1:
    raise UsageError(f'--sequence_length={length}: accepted is an integer of at least 1')
  vocabulary, words_path = load_words(options.data_dir)
  token_of_word = {word: token for token, word in enumerate(vocabulary, start=1)}
  convert = lambda raw: sentences(raw['tokens'], token_of_word, length)
  path, train, test = open_users(options.data_dir, convert)
  return FederatedData(
    train,
    tff_bridge.central_test(test, _MOST_TEST_EXAMPLES, options.seed),
    Problem.NEXT_TOKEN,
    len(vocabulary) + _SPECIAL_TOKENS,
    test,
    {item.name: files.sha256_of(item) for item in (path, words_path)},
  )


def open_users(data_dir: str, convert: tff_bridge.Convert) -> tuple[pathlib.Path, Clients, Clients]:
  """The database, and its training and test users read through `convert`."""
  path = tff_bridge.fetch_database(data_dir, DATABASE)
  sizes = {split: tff_bridge.database_sizes(path, split) for split in ('train', 'test')}
  train, _, test = tff.simulation.datasets.stackoverflow.load_data(cache_dir=str(path.parent))
  return (
    path,
    tff_bridge.from_client_data(train, convert, sizes['train'], _MOST_EXAMPLES),
    tff_bridge.from_client_data(test, convert, sizes['test'], _MOST_EXAMPLES),
  )


def load_words(data_dir: str) -> tuple[Sequence[str], pathlib.Path]:
  """The words of the vocabulary, most frequent first, and the file they come from."""
  path = files.fetch(
    data_dir, tff_bridge.FOLDER, _WORDS_FILE, tff_bridge.URL + _WORDS_FILE, _WORDS_SHA256
  )
  lines = read_counts(path, 'stackoverflow.word_count').splitlines()
  return [line.split()[0] for line in lines[:_VOCABULARY_SIZE]], path


def read_counts(path: pathlib.Path, member: str) -> str:
  """The text file `member` of a .tar.bz2 archive.

  Raises:
    UsageError: the archive is damaged or does not have it.
  """
  with files.reading(path), tarfile.open(path, 'r:bz2') as archive:
    for entry in archive:
      stream = archive.extractfile(entry) if entry.name.endswith(member) else None
      if stream is not None:
        return stream.read().decode()
  raise UsageError(f'{path}: has no {member}')


def sentences(texts: np.ndarray, token_of_word: Mapping[str, int], length: int) -> Examples:
  """Sentences (an array of bytes, words parted by spaces) as examples, as `load` says."""
  unknown = len(token_of_word) + 1
  begin, end = unknown + 1, unknown + 2
  rows = np.zeros((len(texts), length + 1), np.int32)
  for row, text in zip(rows, texts):
    words = text.decode().split()[:length]
    tokens = [begin, *(token_of_word.get(word, unknown) for word in words)]
    if len(words) < length:
      tokens.append(end)
    row[: len(tokens)] = tokens
  return {'x': rows[:, :-1], 'y': rows[:, 1:]}
