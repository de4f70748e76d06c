"""The training loop: the only one there is.

    sample cohort -> broadcast -> client work -> aggregate -> server update -> metrics
    -> evaluation -> checkpoint

until the last round, a target, convergence, or a signal. It knows no method, aggregator or data set
by name; all it knows is a `FederatedProcess`.
"""

from collections.abc import Callable, Mapping, Sequence
import concurrent.futures
import dataclasses
import math
import time
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research import client_data, metrics, runtime
from fl_research.population import participation
from fl_research.round import process as process_lib
from fl_research.settings import Settings
from fl_research.training import checkpoints, model_evaluation, run_data, stability
from fl_research.training import client_states as client_states_lib
from fl_research.training import columns as columns_lib
from fl_research.training import evaluation as evaluation_lib
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
    **checkpoint.progress,
  )


class Loop:
  """One run.

  Args:
    settings: what to do.
    process: the method.
    data: the data.
    plans: who takes part, and how.
    evaluation: how the model is evaluated.
    by_round_number: further columns, known from the round's number.
  """

  def __init__(
    self,
    settings: Settings,
    process: process_lib.FederatedProcess,
    data: RunData,
    plans: participation.Participation,
    evaluation: model_evaluation.ModelEvaluation,
    by_round_number: Optional[columns_lib.ByRoundNumber] = None,
  ):
    self._settings = settings
    self._process = process
    self._data = data
    self._source = run_data.source(data)
    self._plans = plans
    self._evaluation = evaluation
    self._loss = f'{evaluation.headline}/loss'
    self._personal = evaluation_lib.personal_evaluator(process, data.train, settings)
    tables = columns_lib.contributors(
      process, data, evaluation.columns(), by_round_number or {}, settings.withholds
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
    with concurrent.futures.ThreadPoolExecutor(1, 'next cohort') as preparing:
      upcoming = self._prepare(preparing, progress.round_num + 1, progress)
      while not (self.ended(progress) or progress.interrupted):
        begin = time.monotonic()
        plan, clients = upcoming()
        if progress.round_num + 2 <= self._settings.total_rounds:
          upcoming = self._prepare(preparing, progress.round_num + 2, progress)
        self._round(progress, plan, clients, begin, observers)
    return progress

  def ended(self, progress: Progress) -> bool:
    """Whether nothing is left to train."""
    return progress.round_num >= self._settings.total_rounds or bool(progress.stopped)

  def diverged(self, progress: Progress) -> bool:
    """Whether it ended since no client sent a finite update any more."""
    return progress.stopped.startswith(stability.DIVERGED)

  def _round(
    self,
    progress: Progress,
    plan: participation.RoundPlan,
    clients: Sequence,
    begin: float,
    observers: Sequence[Observer],
  ) -> None:
    result = self._process.run_round(progress.state, clients, progress.client_states)
    progress.state = result.state
    progress.round_num += 1
    trained = columns_lib.TrainedRound(
      self._process, self._data, plan, result.measured, progress.round_num
    )
    begins = max(progress.simulated_seconds, plan.begins)
    progress.simulated_seconds = begins + trained.simulated_seconds(self._plans.devices)
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
      for observer in observers:
        observer.checkpoint(progress)

  def _prepare(
    self, executor: concurrent.futures.Executor, round_num: int, progress: Progress
  ) -> Callable[[], tuple[participation.RoundPlan, Sequence]]:
    """What gives `_cohort_data`: under way at once, unless it depends on when rounds before end."""
    if self._plans.readiness is None:
      return executor.submit(self._cohort_data, round_num, 0.0).result
    return lambda: self._cohort_data(round_num, progress.simulated_seconds)

  def _cohort_data(
    self, round_num: int, seconds: float
  ) -> tuple[participation.RoundPlan, Sequence]:
    """A round's plan and its clients' data, in the form their computation takes."""
    settings = self._settings
    plan = self._plans.plan(round_num, seconds)
    cohort = client_data.cohort(
      self._source,
      plan.uploading,
      plan.epochs,
      batch_size=settings.batch_size or client_data.FULL_BATCH,
      seed=settings.seed,
      round_num=round_num,
      max_examples=settings.max_examples_per_client or None,
    )
    return plan, runtime.stack_clients(cohort)

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
