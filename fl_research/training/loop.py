"""The training loop: the only one there is.

    step of the server -> metrics -> evaluation -> checkpoint

until the last step, a target, convergence, or a signal. It knows no method, aggregator or data set
by name, nor how a step comes about: that is its driver's (`fl_research.training.driver`), for which
a step is a round of a cohort, or what the results do that have arrived. Steps are called rounds in
all that is written.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import time
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research import metrics
from fl_research.round import process as process_lib
from fl_research.settings import Settings
from fl_research.training import checkpoints, model_evaluation, stability
from fl_research.training import client_states as client_states_lib
from fl_research.training import columns as columns_lib
from fl_research.training import driver as driver_lib
from fl_research.training.model_evaluation import Rows
from fl_research.training.observer import Observer
from fl_research.training.run_data import RunData


@dataclasses.dataclass
class Progress:
  """Where a run stands.

  Attributes:
    round_num: the last finished round; 0 before training.
    state: the server state.
    client_states: what clients keep; None where it is nothing.
    best: best value of the watched metric so far, None before the first.
    evaluations_since_best: how many evaluations have passed since.
    stopped: why training has ended before its last round; empty while it has not.
    interrupted: why it only pauses after this round; not part of a checkpoint.
    lost_rounds: how many rounds in a row, up to the last, had no finite update.
    first_loss: the test loss of round 0, of clients' own models where they have some; None before
      it, and where there is none.
    driver: what the driver needs to go on from the last checkpoint.
  """

  round_num: int
  state: Any
  client_states: Optional[client_states_lib.ClientStates]
  best: Optional[float] = None
  evaluations_since_best: int = 0
  stopped: str = ''
  simulated_seconds: float = 0.0
  interrupted: str = ''
  lost_rounds: int = 0
  first_loss: Optional[float] = None
  driver: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def start(
  process: process_lib.FederatedProcess,
  client_states: Optional[client_states_lib.ClientStates],
) -> Progress:
  """The progress of a run that has not begun."""
  return Progress(0, process.initialize(), client_states)


def to_checkpoint(progress: Progress) -> checkpoints.Checkpoint:
  """What must be saved, besides the clients' states, to go on later."""
  return checkpoints.Checkpoint(
    round_num=progress.round_num,
    state=[np.asarray(leaf) for leaf in tf.nest.flatten(progress.state)],
    progress={
      'best': progress.best,
      'evaluations_since_best': progress.evaluations_since_best,
      'stopped': progress.stopped,
      'simulated_seconds': progress.simulated_seconds,
      'lost_rounds': progress.lost_rounds,
      'first_loss': progress.first_loss,
    },
    driver=progress.driver,
  )


def from_checkpoint(
  process: process_lib.FederatedProcess,
  checkpoint: checkpoints.Checkpoint,
  client_states: Optional[client_states_lib.ClientStates],
) -> Progress:
  """The progress that a checkpoint and the clients' states, as they were then, make up."""
  return Progress(
    round_num=checkpoint.round_num,
    state=tf.nest.pack_sequence_as(process.initialize(), checkpoint.state),
    client_states=client_states,
    driver=checkpoint.driver,
    **checkpoint.progress,
  )


class Loop:
  """One run.

  Args:
    settings: what to do.
    process: the method.
    data: the data.
    driver: what makes the server step.
    evaluation: how the model is evaluated.
    by_round_number: further columns, known from the round's number.
  """

  def __init__(
    self,
    settings: Settings,
    process: process_lib.FederatedProcess,
    data: RunData,
    driver: driver_lib.Driver,
    evaluation: model_evaluation.ModelEvaluation,
    by_round_number: Optional[columns_lib.ByRoundNumber] = None,
  ):
    self._settings = settings
    self._process = process
    self._data = data
    self._driver = driver
    self._evaluation = evaluation
    self._loss = f'{evaluation.headline}/loss'
    self._personal = evaluation.own_models(process, settings)
    tables = columns_lib.contributors(
      process,
      data,
      evaluation.columns(),
      by_round_number or {},
      settings.withholds,
      driver.columns(),
    )
    self._columns = {name: value for table in tables for name, value in table.items()}
    self._complained_of_loss = False

  def run(self, progress: Progress, observers: Sequence[Observer]) -> Progress:
    """Trains from `progress` to the end; `progress` is renewed in place and returned."""
    if progress.round_num == 0:
      begin = time.monotonic()
      evaluation, client_rows = self._evaluate(progress)
      seconds = time.monotonic() - begin
      progress.first_loss = evaluation.get(self._loss)
      self._tell(observers, columns_lib.Record(0, None, evaluation, None, seconds), client_rows)
    progress.interrupted = _reason_to_pause(observers)
    self._driver.resume(progress.driver)
    with self._driver.running():
      while not (self.ended(progress) or progress.interrupted):
        self._round(progress, observers)
    return progress

  def ended(self, progress: Progress) -> bool:
    """Whether nothing is left to train."""
    return progress.round_num >= self._settings.total_rounds or bool(progress.stopped)

  def diverged(self, progress: Progress) -> bool:
    """Whether it ended since no client sent a finite update any more."""
    return progress.stopped.startswith(stability.DIVERGED)

  def _round(self, progress: Progress, observers: Sequence[Observer]) -> None:
    begin = time.monotonic()
    step = self._driver.step(
      progress.round_num + 1, progress.state, progress.client_states, progress.simulated_seconds
    )
    progress.state = step.state
    progress.round_num += 1
    trained = columns_lib.TrainedRound(
      self._process, self._data, step.plan, step.measured, progress.round_num
    )
    progress.simulated_seconds = step.seconds(trained)
    client_rows: Rows = []
    # That no update was finite is the clients' secret too, where theirs are kept.
    if not self._settings.withholds:
      client_rows += model_evaluation.long_rows('train', *trained.by_client())
      self._watch_updates(progress, trained, observers)
    due = progress.round_num % self._settings.rounds_per_evaluation == 0
    evaluated = due or self.ended(progress)
    seconds = time.monotonic() - begin
    evaluation: Mapping[str, Any] = {}
    if evaluated:
      evaluation, evaluation_clients = self._evaluate(progress)
      client_rows += evaluation_clients
      self._watch_loss(progress, evaluation.get(self._loss), observers)
    hours = progress.simulated_seconds / 3600
    record = columns_lib.Record(progress.round_num, trained, evaluation, hours, seconds)
    if evaluated and not progress.stopped:
      self._watch(progress, record)
    progress.interrupted = _reason_to_pause(observers)
    self._tell(observers, record, client_rows)
    due = progress.round_num % self._settings.rounds_per_checkpoint == 0
    if due or self.ended(progress) or progress.interrupted:
      progress.driver = self._driver.saved()
      for observer in observers:
        observer.checkpoint(progress)

  def _evaluate(self, progress: Progress) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    weights = self._process.model_weights(progress.state)
    personal = None
    if self._personal is not None:
      personal = self._personal.at(progress.state, progress.client_states)
    return self._evaluation.evaluate(weights, personal)

  def _watch_updates(
    self, progress: Progress, trained: columns_lib.TrainedRound, observers: Sequence[Observer]
  ) -> None:
    """Complains when all updates are lost, and ends the run when they keep being so."""
    before, round_num = progress.lost_rounds, progress.round_num
    progress.lost_rounds = stability.lost_rounds(before, trained.counts)
    progress.stopped = stability.reason_to_end(progress.lost_rounds, round_num)
    if progress.lost_rounds == 1 and not before:
      count = len(trained.counts)
      _complain(observers, stability.complaint_of_updates(round_num, count, self._settings))

  def _watch_loss(
    self, progress: Progress, loss: Optional[float], observers: Sequence[Observer]
  ) -> None:
    """Complains when the loss has left all bounds; once, until it has come back."""
    first, round_num = progress.first_loss, progress.round_num
    complaint = stability.complaint_of_loss(round_num, loss, first, self._settings)
    if complaint and not self._complained_of_loss:
      _complain(observers, complaint)
    self._complained_of_loss = bool(complaint)

  def _watch(self, progress: Progress, record: columns_lib.Record) -> None:
    """Decides on `--target_value` and `--patience` after an evaluation."""
    name = self._settings.target_metric
    if not name:
      return
    value = self._columns[name](record)
    value = math.nan if value is None else float(value)
    lower = metrics.improves_by_falling(name)
    target = self._settings.target_value
    if target is not None and (value <= target if lower else value >= target):
      progress.stopped = f'{name} reached {target}'
      return
    worst = math.inf if lower else -math.inf
    best = worst if progress.best is None else progress.best
    if value < best if lower else value > best:
      progress.best, progress.evaluations_since_best = value, 0
      return
    progress.evaluations_since_best += 1
    if self._settings.patience and progress.evaluations_since_best >= self._settings.patience:
      progress.stopped = f'{name} has not improved for {self._settings.patience} evaluations'

  def columns(self) -> list[str]:
    """The columns of metrics.csv after `round`."""
    return list(self._columns)

  def _tell(
    self, observers: Sequence[Observer], record: columns_lib.Record, client_rows: Rows
  ) -> None:
    values = {name: value(record) for name, value in self._columns.items()}
    for observer in observers:
      observer.row({'round': record.round_num, **values})
      observer.client_rows([{'round': record.round_num, **row} for row in client_rows])


def _complain(observers: Sequence[Observer], line: str) -> None:
  for observer in observers:
    observer.complaint(line)


def _reason_to_pause(observers: Sequence[Observer]) -> str:
  """The first that any of them has."""
  return next(filter(None, (observer.reason_to_pause() for observer in observers)), '')
