"""Who has which rows of a folder that was imported, as files that are mapped and not read.

    ids.npy, id_ends.npy   the ids in UTF-8 one after another, and where each ends
    train_offsets.npy      int64 [clients + 1], the rows of clients that have training examples
    train_sizes.npy        int64 [clients], how many they are
    train_clients.npy      which ids these clients have, where some have none; likewise for test

So a population of any size opens in the same time, and what a client takes of memory is what has
been asked of it. Parquet has to be decoded whole before one client can be looked up; SQLite looks
one up as fast, but has no array of sizes, which ways of drawing need.
"""

from collections.abc import Callable, Iterable, Sequence
import itertools
import pathlib

import numpy as np

from fl_research.datasets.federated_data import ContiguousClients, Examples, SelectedIds
from fl_research.importing.source import Counts

_BLOCK = 1 << 16

Open = Callable[[str], np.ndarray]
"""From a file's name to its array, mapped."""


class StoredIds(Sequence):
  """Ids in two arrays.

  Args:
    text: uint8 [n], all of them in UTF-8.
    ends: int64 [number of ids], the byte after each one's last.
  """

  def __init__(self, text: np.ndarray, ends: np.ndarray):
    self._text, self._ends = text, ends

  def __len__(self) -> int:
    return len(self._ends)

  def __getitem__(self, position):
    if isinstance(position, slice):
      return SelectedIds(self, np.arange(*position.indices(len(self))))
    place = range(len(self))[position]
    first = self._ends[place - 1] if place else 0
    return self._text[first : self._ends[place]].tobytes().decode()

  def __iter__(self):
    for first in range(0, len(self), _BLOCK):
      ends = self._ends[first : first + _BLOCK]
      start = int(self._ends[first - 1]) if first else 0
      text = self._text[start : ends[-1]].tobytes()
      cuts = itertools.pairwise([0, *(ends - start).tolist()])
      yield from (text[begin:end].decode() for begin, end in cuts)


def write(folder: pathlib.Path, counts: Counts) -> None:
  """Writes the index of these clients."""
  _write_ids(folder, counts.ids)
  for split, sizes in (('train', counts.train), ('test', counts.test)):
    filled = np.flatnonzero(sizes)
    np.save(folder / f'{split}_sizes.npy', np.asarray(sizes, np.int64)[filled])
    offsets = np.zeros(len(filled) + 1, np.int64)
    np.cumsum(sizes[filled], out=offsets[1:])
    np.save(folder / f'{split}_offsets.npy', offsets)
    if len(filled) < len(sizes):
      np.save(folder / f'{split}_clients.npy', filled)


def _write_ids(folder: pathlib.Path, ids: Iterable[str]) -> None:
  lengths = []
  text = bytearray()
  for client in ids:
    coded = client.encode()
    text += coded
    lengths.append(len(coded))
  np.save(folder / 'ids.npy', np.frombuffer(text, np.uint8))
  np.save(folder / 'id_ends.npy', np.cumsum(lengths, dtype=np.int64))


def clients(split: str, names: Iterable[str], array: Open, examples: Examples) -> ContiguousClients:
  """The clients that have examples of a split.

  Args:
    split: `train` or `test`.
    names: the names of the files that are there.
    array: opens one of them.
    examples: the split's arrays.

  Raises:
    ValueError: the index is not of these arrays.
  """
  ids: Sequence[str] = StoredIds(array('ids.npy'), array('id_ends.npy'))
  if f'{split}_clients.npy' in names:
    ids = SelectedIds(ids, array(f'{split}_clients.npy'))
  sizes = array(f'{split}_sizes.npy')
  return ContiguousClients(examples, array(f'{split}_offsets.npy'), ids, sizes)
