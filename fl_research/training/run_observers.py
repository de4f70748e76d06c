"""Those who bring what the training loop tells into a run's folder, and its reasons to pause."""

from collections.abc import Callable
from typing import Any

from fl_research.training import checkpoints, observer, run_folder, tables
from fl_research.training import loop as loop_lib


class Tables(observer.Observer):
  """Brings rows to the CSVs, and to the disk before a checkpoint: later ones are cut off anyway.

  Args:
    folder: where they are.
    last_round: rows of later rounds are cut off.
    by_client: whether clients' rows are wanted.
    every_row: whether each row of a round has to be on the disk before the next round.
  """

  def __init__(
    self, folder: run_folder.RunFolder, last_round: int, by_client: bool, every_row: bool
  ):
    self._metrics = tables.Table(folder.metrics, last_round)
    # Rows of later rounds are cut off though none may follow.
    self._clients = tables.Table(folder.clients, last_round)
    self._by_client, self._every_row = by_client, every_row

  def row(self, row: dict[str, Any]) -> None:
    self._metrics.append([row])
    if self._every_row:
      self._metrics.sync()

  def client_rows(self, rows: list[dict[str, Any]]) -> None:
    if self._by_client:
      self._clients.append(rows)

  def checkpoint(self, progress: loop_lib.Progress) -> None:
    del progress
    self._metrics.sync()
    self._clients.sync()


class Saver(observer.Observer):
  """Saves checkpoints, after all that is told before; `remember` is called before each."""

  def __init__(self, store: checkpoints.CheckpointStore, remember: Callable[[], None]):
    self._store, self._remember = store, remember

  def checkpoint(self, progress: loop_lib.Progress) -> None:
    self._remember()
    self._store.save(loop_lib.to_checkpoint(progress))


class Pauses(observer.Observer):
  """Has the reason to pause that somebody outside gives."""

  def __init__(self, interrupted: Callable[[], str]):
    self._interrupted = interrupted

  def reason_to_pause(self) -> str:
    return self._interrupted()
