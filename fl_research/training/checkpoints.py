"""Checkpoints that survive crashes: atomic, checksummed, and never unpickled.

A checkpoint is one .npz file whose name holds its round and its own SHA-256,
`round_00000120-<sha256>.npz`. It appears under that name by one rename, so a crash while writing
leaves no half checkpoint; a file whose content does not match its name is passed over. The clients'
states, of which a checkpoint changes a few only, are in a file of their own (see
`fl_research.training.client_states`), and a checkpoint whose states are not in it is passed over.
"""

from collections.abc import Mapping
import hashlib
import json
import pathlib
import re
import types
from typing import Any, BinaryIO, NamedTuple, Optional, Union
import zipfile

from absl import logging
import numpy as np

from fl_research import aligned
from fl_research.training import atomic_files
from fl_research.training import client_states as client_states_lib

_NAME = re.compile(r'round_(\d{8})-([0-9a-f]{64})\.npz')
_STATE, _CLIENT, _DRIVER, _PROGRESS = 'state/', 'client/', 'driver/', 'progress'
_CLIENT_STATES = 'client_states'


class Checkpoint(NamedTuple):
  """All that a run needs to go on.

  Attributes:
    round_num: the last finished round.
    state: the server state's tensors, flattened.
    progress: small facts of the training loop, as JSON can hold them.
    driver: arrays by name: what is in flight, where results arrive by themselves.
  """

  round_num: int
  state: list[np.ndarray]
  progress: Mapping[str, Any]
  driver: Mapping[str, np.ndarray] = types.MappingProxyType({})


class CheckpointStore:
  """The checkpoints of one run.

  Args:
    folder: where they are; made when the first is saved.
    keep: how many of the newest stay.
    client_states: what clients keep, which is saved and restored along; None where it is nothing.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    keep: int,
    client_states: Optional[client_states_lib.ClientStates] = None,
  ):
    self._folder = folder
    self._keep = keep
    self._client_states = client_states

  def save(self, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, then removes the oldest ones beyond those to keep.

    Those of later rounds are removed first: they were passed over when the run resumed, where its
    tables end, and it has gone another way since; kept, they would count as the newest.
    """
    # First the states: a crash in between leaves states that the checkpoint before does not have.
    states = self._client_states.commit() if self._client_states else None
    self._folder.mkdir(parents=True, exist_ok=True)
    name = f'round_{checkpoint.round_num:08d}'
    target = atomic_files.stream_atomically(
      self._folder / f'{name}.npz',
      lambda file: _write(checkpoint, states, file),
      lambda written: f'{name}-{_sha256(written)}.npz',
    )
    for round_num, _, passed_over in self._files():
      if round_num >= checkpoint.round_num and passed_over != target:
        passed_over.unlink()
    found = self._files()
    for _, _, old in found[self._keep :]:
      old.unlink()
    if self._client_states is not None:
      oldest, _, _ = found[: self._keep][-1]
      self._client_states.advance(checkpoint.round_num, oldest)

  def restore(self, last_round: Optional[int] = None) -> Optional[Checkpoint]:
    """The newest valid checkpoint, to which the clients' states go back; None when there is none.

    Each one passed over is a warning.

    Args:
      last_round: if given, checkpoints of later rounds are passed over too.
    """
    for round_num, digest, path in self._files():
      if _sha256(path) != digest:
        problem = 'is damaged'
      elif last_round is not None and round_num > last_round:
        problem = f'is of a round beyond the last whole row of the tables ({last_round})'
      else:
        checkpoint, states = _read(path)
        if self._restore_client_states(round_num, states):
          return checkpoint
        problem = f'has no states of clients, as {client_states_lib.FILE} is damaged or missing'
      logging.warning('%s %s; going on from the one before it, or from the start', path, problem)
    return None

  def _restore_client_states(self, round_num: int, states: '_States') -> bool:
    if self._client_states is None:
      return True
    if isinstance(states, str):
      return self._client_states.restore(round_num, states)
    self._client_states.adopt(states)
    return True

  def clear(self) -> None:
    """Makes ready for a run that begins, whatever a run before has left of its clients' states."""
    if self._client_states is not None:
      self._client_states.clear()

  def close(self) -> None:
    """Ends the use of the clients' states."""
    if self._client_states is not None:
      self._client_states.close()

  def remove_partial(self) -> None:
    """Removes what a process that was killed while writing has left; none may be writing now."""
    for path in self._folder.glob(f'*{atomic_files.TEMPORARY}'):
      path.unlink()

  def _files(self) -> list[tuple[int, str, pathlib.Path]]:
    """(round, SHA-256, path) of the checkpoints, newest first."""
    matches = [(_NAME.fullmatch(path.name), path) for path in self._folder.glob('round_*.npz')]
    found = [(int(match[1]), match[2], path) for match, path in matches if match]
    return sorted(found, reverse=True)


_States = Union[str, Mapping[int, list[np.ndarray]]]
"""What a checkpoint says of its clients' states: what `ClientStates.restore` knows them by, or, as
long as they had no file of their own, the states themselves, flattened, by position."""


def _sha256(path: pathlib.Path) -> str:
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def _write(checkpoint: Checkpoint, states: Optional[str], file: BinaryIO) -> None:
  arrays = {f'{_STATE}{i:05d}': array for i, array in enumerate(checkpoint.state)}
  arrays.update((f'{_DRIVER}{name}', array) for name, array in checkpoint.driver.items())
  facts = {'round_num': checkpoint.round_num, **checkpoint.progress}
  if states is not None:
    facts[_CLIENT_STATES] = states
  arrays[_PROGRESS] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
  np.savez(file, **arrays)


def _read(path: pathlib.Path) -> tuple[Checkpoint, _States]:
  # `np.load` looks for each name among all: quadratic where clients' states are in it.
  with zipfile.ZipFile(path) as archive:
    arrays = {name.removesuffix('.npy'): _array(archive, name) for name in archive.namelist()}
  facts = json.loads(arrays[_PROGRESS].tobytes())
  state = [arrays[name] for name in sorted(arrays) if name.startswith(_STATE)]
  driver = {n.removeprefix(_DRIVER): a for n, a in arrays.items() if n.startswith(_DRIVER)}
  clients: dict[int, list[np.ndarray]] = {}
  for name in sorted(arrays):
    if name.startswith(_CLIENT):
      clients.setdefault(int(name.split('/')[1]), []).append(arrays[name])
  states = facts.pop(_CLIENT_STATES, clients)
  return Checkpoint(facts.pop('round_num'), state, facts, driver), states


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
  with archive.open(name) as file:
    array = aligned.align(np.lib.format.read_array(file, allow_pickle=False))
  array.flags.writeable = False  # So that no runtime has to copy it.
  return array
