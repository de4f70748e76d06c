"""What a site's clients keep from round to round, in step with the engine's checkpoints.

A state that a round has made is *held* until the engine says that the round counts, and for which
clients: a site does not know whether its answer came in time. What is held is on the disk before
the answer leaves, so that a site that is killed has it when it hears.

    work of round r     hold(r, …)
    next message        apply({r: clients})     the states are the clients' own now
    checkpoint          commit(r)               on the disk; what was held up to r is dropped
    engine resumes      restore(r, known_by)
"""

from collections.abc import Mapping, Sequence
import pathlib

import numpy as np

from fl_research.training import atomic_files, client_states


class KeptStates:
  """The states of a site's clients in one run.

  Args:
    initial: the state of a client that has never taken part, as a list of arrays.
    folder: where they are kept.
  """

  def __init__(self, initial: Sequence[np.ndarray], folder: pathlib.Path):
    self._folder = folder
    self._held = folder / 'held'
    self._held.mkdir(parents=True, exist_ok=True)
    self._states = client_states.ClientStates(list(initial), folder / client_states.FILE)
    self._applied: set[int] = set()

  def get(self, clients: Sequence[int]) -> list[list[np.ndarray]]:
    """The states of these clients, each a list of arrays."""
    return self._states.get(clients)

  def hold(self, round_num: int, clients: Sequence[int], stacked: Sequence[np.ndarray]) -> None:
    """Keeps what these clients would have after a round, stacked, until the round counts."""
    arrays = {f'{place:05d}': array for place, array in enumerate(stacked)}
    arrays['clients'] = np.asarray(clients, np.int64)
    path = self._path(round_num)
    atomic_files.stream_atomically(path, lambda file: np.savez(file, **arrays))

  def apply(self, applied: Mapping[str, Sequence[int]]) -> None:
    """Hears which rounds since the last checkpoint count, and for whom; more than once, perhaps.

    Args:
      applied: clients by round.

    Raises:
      FileNotFoundError: what a round has made is no longer there.
    """
    for round_num in sorted(map(int, applied)):
      clients = applied[str(round_num)]
      if round_num in self._applied:
        continue
      if clients:
        with np.load(self._path(round_num), allow_pickle=False) as held:
          order = held['clients'].tolist()
          rows = [order.index(client) for client in clients]
          stacked = [held[name][rows] for name in sorted(set(held.files) - {'clients'})]
        self._states.put(clients, stacked)
      self._applied.add(round_num)

  def commit(self, round_num: int) -> str:
    """Brings the states to the disk; gives what `restore` will know them by."""
    known_by = self._states.commit()
    self._drop(lambda held: held <= round_num)
    self._applied.clear()
    return known_by

  def advance(self, round_num: int, oldest: int) -> None:
    """The engine has its checkpoint of this round, and none before `oldest` any more."""
    self._states.advance(round_num, oldest)

  def restore(self, round_num: int, known_by: str) -> bool:
    """Goes back to the checkpoint of a round; nothing has happened where its states are gone."""
    if not self._states.restore(round_num, known_by):
      return False
    self._applied.clear()
    return True

  def clear(self) -> None:
    """Nobody has taken part."""
    self._states.clear()
    self._drop(lambda _: True)
    self._applied.clear()

  def close(self) -> None:
    """Ends the use of the files."""
    self._states.close()

  def _path(self, round_num: int) -> pathlib.Path:
    return self._held / f'round_{round_num:08d}.npz'

  def _drop(self, which) -> None:
    for path in self._held.glob('round_*.npz'):
      if which(int(path.stem.removeprefix('round_'))):
        path.unlink()
