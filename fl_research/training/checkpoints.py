"""Checkpoints that survive crashes: atomic, checksummed, and never unpickled.

A checkpoint is one .npz file whose name holds its round and its own SHA-256,
`round_00000120-<sha256>.npz`. It appears under that name by one rename, so a crash while writing
leaves no half checkpoint; a file whose content does not match its name is passed over.
"""

from collections.abc import Mapping
import contextlib
import hashlib
import io
import json
import os
import pathlib
import re
from typing import Any, NamedTuple, Optional
import uuid
import zipfile

from absl import logging
import numpy as np

_NAME = re.compile(r'round_(\d{8})-([0-9a-f]{64})\.npz')
_STATE, _CLIENT, _PROGRESS = 'state/', 'client/', 'progress'
_TEMPORARY = '.tmp'


class Checkpoint(NamedTuple):
  """All that a run needs to go on.

  Attributes:
    round_num: the last finished round.
    state: the server state's tensors, flattened.
    client_states: the clients' states, flattened, by position; those never seen are absent.
    progress: small facts of the training loop, as JSON can hold them.
  """

  round_num: int
  state: list[np.ndarray]
  client_states: Mapping[int, list[np.ndarray]]
  progress: Mapping[str, Any]


class CheckpointStore:
  """The checkpoints of one run.

  Args:
    folder: where they are; made when the first is saved.
    keep: how many of the newest stay.
  """

  def __init__(self, folder: pathlib.Path, keep: int):
    self._folder = folder
    self._keep = keep

  def save(self, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint, then removes the oldest ones beyond those to keep."""
    content = _encode(checkpoint)
    digest = hashlib.sha256(content).hexdigest()
    self._folder.mkdir(parents=True, exist_ok=True)
    target = self._folder / f'round_{checkpoint.round_num:08d}-{digest}.npz'
    write_atomically(target, content)
    for _, _, old in self._files()[self._keep :]:
      old.unlink()

  def newest(self, last_round: Optional[int] = None) -> Optional[Checkpoint]:
    """The newest valid checkpoint, None when there is none; each one passed over is a warning.

    Args:
      last_round: if given, checkpoints of later rounds are passed over too.
    """
    for round_num, digest, path in self._files():
      content = path.read_bytes()
      if hashlib.sha256(content).hexdigest() != digest:
        problem = 'is damaged'
      elif last_round is not None and round_num > last_round:
        problem = f'is of a round beyond the last whole row of the tables ({last_round})'
      else:
        return _decode(content)
      logging.warning('%s %s; going on from the one before it, or from the start', path, problem)
    return None

  def remove_partial(self) -> None:
    """Removes what a process that was killed while writing has left; none may be writing now."""
    for path in self._folder.glob(f'*{_TEMPORARY}'):
      path.unlink()

  def _files(self) -> list[tuple[int, str, pathlib.Path]]:
    """(round, SHA-256, path) of the checkpoints, newest first."""
    matches = [(_NAME.fullmatch(path.name), path) for path in self._folder.glob('round_*.npz')]
    found = [(int(match[1]), match[2], path) for match, path in matches if match]
    return sorted(found, reverse=True)


def write_atomically(target: pathlib.Path, content: bytes) -> None:
  """Writes a file so that it has either its old content or all of the new one.

  Several may write it at the same time; what is there in the end is one writer's content. A process
  that is killed meanwhile leaves a file of its own behind, `<name>.<hexadecimal>.tmp`.

  Raises:
    OSError: it cannot be written (disk full, …); what was there is untouched.
  """
  temporary = target.with_name(f'{target.name}.{uuid.uuid4().hex}{_TEMPORARY}')
  try:
    with open(temporary, 'wb') as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, target)
  except OSError as error:
    with contextlib.suppress(OSError):
      temporary.unlink()
    error.filename = str(target)
    raise
  _bring_to_disk(target.parent)


def _bring_to_disk(folder: pathlib.Path) -> None:
  """Makes the names in a folder, a rename for one, outlast a loss of power."""
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _encode(checkpoint: Checkpoint) -> bytes:
  arrays = {f'{_STATE}{i:05d}': array for i, array in enumerate(checkpoint.state)}
  for position, state in checkpoint.client_states.items():
    arrays.update({f'{_CLIENT}{position}/{i:05d}': array for i, array in enumerate(state)})
  facts = json.dumps({'round_num': checkpoint.round_num, **checkpoint.progress})
  arrays[_PROGRESS] = np.frombuffer(facts.encode(), np.uint8)
  buffer = io.BytesIO()
  np.savez(buffer, **arrays)
  return buffer.getvalue()


def _decode(content: bytes) -> Checkpoint:
  with zipfile.ZipFile(io.BytesIO(content)) as archive:
    names = sorted(name.removesuffix('.npy') for name in archive.namelist())
  arrays = np.load(io.BytesIO(content), allow_pickle=False)
  facts = json.loads(arrays[_PROGRESS].tobytes())
  state = [arrays[name] for name in names if name.startswith(_STATE)]
  clients: dict[int, list[np.ndarray]] = {}
  for name in names:
    if name.startswith(_CLIENT):
      clients.setdefault(int(name.split('/')[1]), []).append(arrays[name])
  return Checkpoint(facts.pop('round_num'), state, clients, facts)
