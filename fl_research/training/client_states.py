"""What clients keep from round to round, behind one store that reads and writes only what it must.

The states are rows of a SQLite table, in a file beside the checkpoints or, where nothing has to
last, in memory alone. What fits SQLite's cache is held in memory, so that a small population is
read from there and a large one from the disk, at a memory that does not grow with it. A
memory-mapped file would need what SQLite has already: free space, and writes that are whole or not
there, whenever the process is killed.

A row is a state *since* a checkpoint: it was put after the checkpoint of that round (0: before the
first) and before the next, which is the only thing that one checkpoint writes. A state of the
checkpoint of round r is the row of its client with the largest `since` below r. So the checkpoints
that are still there have their states as they were then, and rows that none of them can need are
deleted.

States that were put or read of late are held as they are, up to a limit beyond which those that
have not been asked for the longest go. One that is put goes to the table when it has to, or at the
next checkpoint: what is put again before then is not written twice, nor is a checksum made of it.

Every row has the SHA-256 of its client and state, which is compared whenever it is read. The XOR of
those of all clients stands in the checkpoint: a file that is missing, old or of another run is
noticed when a run resumes, without any state being read. An index by `since` holds the checksums
beside, so that a checkpoint looks at what has changed and no more, however many clients there are.
"""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import errno
import hashlib
import os
import pathlib
import sqlite3
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research.registry import UsageError
from fl_research.round import process as process_lib

FILE = 'client_states.sqlite'
_CACHE_KIB = 64 * 1024
_HELD_BYTES, _BYTES_OF_STRUCTURE = 64 << 20, 256
"""What states take that are held beside SQLite's cache, and what holding one takes beside it."""
_LARGE_STATE, _LARGE_PAGE = 1 << 15, 1 << 16
"""Bytes; a state above a page is a chain of pages, every one of which is visited to delete it."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class ClientStates:
  """The states of a run's clients, by position.

  Args:
    initial: the state of a client never seen before: arrays, whose shapes are those of all states.
    path: the file, whose folder is there; None for a store that ends with the process. What the
      file holds is taken up by `restore` or dropped by `clear`; one of them comes first.
  """

  def __init__(self, initial: Any, path: Optional[pathlib.Path] = None):
    self._initial = initial
    self._leaves = [np.asarray(leaf) for leaf in tf.nest.flatten(initial)]
    self._path = path
    self._size = sum(leaf.nbytes for leaf in self._leaves)
    self._since = self._deleted_up_to = 0
    self._checksum = 0
    self._most_held = max(1, _HELD_BYTES // (self._size + _BYTES_OF_STRUCTURE))
    self._held: collections.OrderedDict[int, bytes] = collections.OrderedDict()
    self._unwritten: set[int] = set()
    try:
      with self._errors():
        self._connection = _connect(path, self._size)
    except UsageError:
      # Nothing in it can be read: no checkpoint will find its states, and `clear` begins a new one.
      self._connection = _connect(None, self._size)

  def get(self, ids: Iterable[int]) -> list[Any]:
    """The states of these clients, in this order: what a round takes as {T}@CLIENTS.

    Raises:
      UsageError: one of them is damaged.
      OSError: the file cannot be read.
    """
    with self._errors():
      return [self._get(int(client)) for client in ids]

  def put(self, ids: Iterable[int], stacked: Any) -> None:
    """Stores new states of these clients, stacked in this order.

    Raises:
      OSError: the file cannot be written (disk full, …).
    """
    leaves = [np.asarray(leaf) for leaf in tf.nest.flatten(stacked)]
    with self._errors():
      for row, client in enumerate(ids):
        self._put(int(client), [leaf[row] for leaf in leaves])

  def commit(self) -> str:
    """Brings all states to the disk for a checkpoint; gives what `restore` will know them by.

    Raises:
      OSError: the file cannot be written (disk full, …).
    """
    with self._errors():
      for client in sorted(self._unwritten):
        self._write(client)
      self._connection.execute('COMMIT')
      self._connection.execute('BEGIN')
    return _text(self._checksum)

  def advance(self, round_num: int, oldest: int) -> None:
    """What is put from here on comes after the checkpoint of a round, which has been written.

    Args:
      round_num: that round.
      oldest: the round of the oldest checkpoint that can still be gone back to; states that it and
        later ones do not need are deleted, on the disk at the next `commit`.
    """
    self._since = round_num
    with self._errors():
      self._connection.execute(
        'DELETE FROM states WHERE rowid IN (SELECT old.rowid FROM states AS new CROSS JOIN states '
        'AS old ON old.client = new.client AND old.since < new.since '
        'WHERE new.since >= ? AND new.since < ?)',
        (self._deleted_up_to, oldest),
      )
    self._deleted_up_to = oldest

  def restore(self, round_num: int, known_by: str) -> bool:
    """Goes back to the states at the checkpoint of a round.

    Args:
      round_num: that round.
      known_by: what `commit` gave then.

    Returns:
      Whether they are there; nothing has happened if they are not.
    """
    in_order = 'SELECT client, hex(digest) FROM states WHERE since < ? ORDER BY since'
    checksum = 0
    newest: dict[int, int] = {}
    try:
      with self._errors():
        for client, digest in self._connection.execute(in_order, (round_num,)):
          checksum ^= newest.get(client, 0) ^ _number(digest)
          newest[client] = _number(digest)
        if _text(checksum) != known_by:
          return False
        self._connection.execute('DELETE FROM states WHERE since >= ?', (round_num,))
    except UsageError:
      return False
    self._since, self._deleted_up_to, self._checksum = round_num, 0, checksum
    self._hold_nothing()
    return True

  def adopt(self, states: Mapping[int, Sequence[np.ndarray]]) -> None:
    """Takes over the states, flattened, of a checkpoint that was made before this store was."""
    self.clear()
    with self._errors():
      for client, leaves in states.items():
        self._put(client, leaves)

  def clear(self) -> None:
    """No client has been seen."""
    self.close()
    if self._path is not None:
      for path in (self._path, self._path.with_name(f'{self._path.name}-journal')):
        path.unlink(missing_ok=True)
    self._since = self._deleted_up_to = self._checksum = 0
    self._hold_nothing()
    with self._errors():
      self._connection = _connect(self._path, self._size)

  def close(self) -> None:
    """Ends the use of the file, which goes back to the last `commit`."""
    self._connection.close()

  def _get(self, client: int) -> Any:
    if client not in self._held:
      state = self._read(client)
      if state is None:
        return self._initial
      self._hold(client, state)
    self._held.move_to_end(client)
    state = self._held[client]
    leaves, end = [], 0
    for like in self._leaves:
      flat = np.frombuffer(state, like.dtype, like.size, end)
      leaves.append(flat.reshape(like.shape))
      end += like.nbytes
    return tf.nest.pack_sequence_as(self._initial, leaves)

  def _put(self, client: int, leaves: Sequence[np.ndarray]) -> None:
    # A copy: as long as a part of the stack is held, all of the stack is in memory.
    state = b''.join(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data for leaf in leaves)
    self._unwritten.add(client)
    self._hold(client, state)

  def _hold(self, client: int, state: bytes) -> None:
    """Holds a state, the newest, and lets go of others where there are too many."""
    self._held[client] = state
    self._held.move_to_end(client)
    while len(self._held) > self._most_held:
      oldest = next(iter(self._held))
      if oldest in self._unwritten:
        self._write(oldest)
      del self._held[oldest]

  def _hold_nothing(self) -> None:
    self._held.clear()
    self._unwritten.clear()

  def _read(self, client: int) -> Optional[bytes]:
    """A client's state in the table."""
    row = self._newest(client, 'hex(digest), state')
    if row is None:
      return None
    digest, state = row
    if not isinstance(state, bytes) or _digest(client, state).hex().upper() != digest:
      raise UsageError(
        f'{self._path}: the state of client {client} is damaged; restore the file from a copy, or '
        'remove its folder to begin again'
      )
    return state

  def _write(self, client: int) -> None:
    """Brings a state that is held to the table."""
    state = self._held[client]
    digest = _digest(client, state)
    before = self._newest(client, 'hex(digest)')
    self._connection.execute(
      'INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)', (client, self._since, digest, state)
    )
    self._checksum ^= int.from_bytes(digest) ^ (_number(before[0]) if before else 0)
    self._unwritten.remove(client)

  def _newest(self, client: int, columns: str) -> Optional[tuple[Any, ...]]:
    """Columns of a client's newest row."""
    newest = f'SELECT {columns} FROM states WHERE client = ? ORDER BY since DESC LIMIT 1'
    return self._connection.execute(newest, (client,)).fetchone()

  @contextlib.contextmanager
  def _errors(self) -> Iterator[None]:
    """Turns SQLite's errors into `OSError`, or into the line that a damaged file deserves."""
    try:
      yield
    except sqlite3.DatabaseError as error:
      if error.sqlite_errorcode in _DAMAGED:
        raise UsageError(
          f'{self._path}: is damaged; restore it from a copy, or remove its folder to begin again'
        ) from error
      full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
      number = errno.ENOSPC if full else errno.EIO
      raise OSError(number, f'{os.strerror(number)} ({error})', str(self._path)) from error


def _connect(path: Optional[pathlib.Path], size: int) -> sqlite3.Connection:
  """A connection in a transaction, for states of so many bytes; `commit` alone ends one."""
  # One thread at a time uses it, but not always the same one.
  connection = sqlite3.connect(path or ':memory:', isolation_level=None, check_same_thread=False)
  if size >= _LARGE_STATE:  # Of a file that is there already the pages stay as they are.
    connection.execute(f'PRAGMA page_size={_LARGE_PAGE}')
  # One process has the file, and deleted states need not be overwritten with zeros.
  for pragma in ('locking_mode=EXCLUSIVE', 'secure_delete=OFF', f'cache_size=-{_CACHE_KIB}'):
    connection.execute(f'PRAGMA {pragma}')
  connection.execute('BEGIN')
  connection.execute(
    'CREATE TABLE IF NOT EXISTS states '
    '(client INTEGER, since INTEGER, digest BLOB, state BLOB, PRIMARY KEY (client, since))'
  )
  connection.execute('CREATE INDEX IF NOT EXISTS changes ON states (since, client, digest)')
  return connection


def _digest(client: int, state: bytes) -> bytes:
  digest = hashlib.sha256(b'%d ' % client)
  digest.update(state)
  return digest.digest()


def _number(digest: str) -> int:
  return int(digest or '0', 16)


def _text(checksum: int) -> str:
  return f'{checksum:064x}'


def build(
  process: process_lib.FederatedProcess, folder: Optional[pathlib.Path] = None
) -> Optional[ClientStates]:
  """The store of a method's clients, in a folder or in memory; None where they keep nothing."""
  if not process.keeps_client_state:
    return None
  if folder is None:
    return ClientStates(process.initial_client_state)
  folder.mkdir(parents=True, exist_ok=True)
  return ClientStates(process.initial_client_state, folder / FILE)
