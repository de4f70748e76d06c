"""Shakespeare by role as TFF publishes it: predict the next character of what a role says.

Caldas et al. 2018 (LEAF's processing of McMahan et al. 2017's data); the Shakespeare task of Reddi
et al. 2021: 715 roles, each with 80 % or so of its snippets for training and the rest for testing.
"""

import numpy as np
import tensorflow_federated as tff

from fl_research.datasets import files, tff_bridge
from fl_research.datasets.federated_data import (
  DatasetOptions,
  Examples,
  FederatedData,
  Problem,
)
from fl_research.datasets.shakespeare import BEGIN, END, NUM_TOKENS, PAD, UNKNOWN, VOCABULARY
from fl_research.registry import UsageError

_FILE = 'shakespeare.sqlite'
_TOKEN_OF_BYTE = np.full(256, UNKNOWN, np.int32)
_TOKEN_OF_BYTE[np.frombuffer(VOCABULARY.encode(), np.uint8)] = np.arange(1, UNKNOWN)


def load(options: DatasetOptions) -> FederatedData:
  """Loads the roles: x and y int32 [sequence_length], y being x one character later.

  A snippet becomes begin, its bytes' tokens, end, padded with 0 to a multiple of the sequence
  length plus one and cut into pieces of that length, of which x is all but the last token and y
  all but the first, as in TFF's baseline. The 90 tokens are those of `shakespeare`.

  Raises:
    UsageError: the sequence length is below 1, the file cannot be had, or is not such a database.
  """
  length = 80 if options.sequence_length is None else options.sequence_length
  if length < 1:
    raise UsageError(f'--sequence_length={length}: accepted is an integer of at least 1')
  path = tff_bridge.fetch_database(options.data_dir, _FILE)
  for split in ('train', 'test'):
    tff_bridge.database_sizes(path, split)
  parts = tff.simulation.datasets.shakespeare.load_data(cache_dir=str(path.parent))
  convert = lambda raw: sequences(raw['snippets'], length)
  train, test = (tff_bridge.read_all(tff_bridge.from_client_data(part, convert)) for part in parts)
  return FederatedData(
    train,
    test.pooled(),
    Problem.NEXT_TOKEN,
    NUM_TOKENS,
    test,
    {_FILE: files.sha256_of(path)},
  )


def sequences(snippets: np.ndarray, length: int) -> Examples:
  """Cuts snippets (an array of bytes) into examples as `load` says."""
  pieces = [np.zeros((0, length + 1), np.int32)]
  for snippet in snippets:
    tokens = _TOKEN_OF_BYTE[np.frombuffer(snippet, np.uint8)]
    framed = np.concatenate([[BEGIN], tokens, [END]]).astype(np.int32)
    padded = np.pad(framed, (0, -len(framed) % (length + 1)), constant_values=PAD)
    pieces.append(padded.reshape(-1, length + 1))
  joined = np.concatenate(pieces)
  return {'x': joined[:, :-1], 'y': joined[:, 1:]}
