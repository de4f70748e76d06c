"""The training loop: the only one there is.

    sample cohort -> broadcast -> client work -> aggregate -> server update -> metrics
    -> evaluation -> checkpoint

until the last round, a target, convergence, or a signal. It knows no method, aggregator or data set
by name; all it knows is a `FederatedProcess`.
"""

from collections.abc import Callable, Mapping
import concurrent.futures
import dataclasses
import math
import time
from typing import Any, Optional, Protocol

import numpy as np
import tensorflow as tf

from fl_research import client_data, metrics, runtime
from fl_research.population import participation
from fl_research.round import process as process_lib
from fl_research.settings import Settings
from fl_research.training import checkpoints, model_evaluation
from fl_research.training import client_states as client_states_lib
from fl_research.training import evaluation as evaluation_lib
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
  """

  round_num: int
  state: Any
  client_states: Optional[client_states_lib.ClientStates]
  best: Optional[float] = None
  evaluations_since_best: int = 0
  stopped: str = ''
  simulated_seconds: float = 0.0
  interrupted: str = ''


@dataclasses.dataclass(frozen=True)
class Observers:
  """What the loop tells the outside.

  Attributes:
    row: takes every row of metrics.csv.
    client_rows: takes rows of clients.csv; None when nobody wants them.
    checkpoint: takes the progress whenever it should be saved.
    interrupted: asked after each evaluation or round for a reason to pause; empty to go on.
  """

  row: Callable[[dict[str, Any]], None]
  client_rows: Optional[Callable[[list[dict[str, Any]]], None]]
  checkpoint: Callable[[Progress], None]
  interrupted: Callable[[], str]


class RoundColumns(Protocol):
  """Columns of metrics.csv that depend on the number of the round alone, as a privacy budget."""

  def columns(self) -> list[str]:
    """Their names."""

  def row(self, round_num: int) -> dict[str, Any]:
    """Their values after a round; round 0 is before the first."""


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
    by_round: further columns, known from the round's number.
  """

  def __init__(
    self,
    settings: Settings,
    process: process_lib.FederatedProcess,
    data: RunData,
    plans: participation.Participation,
    evaluation: model_evaluation.ModelEvaluation,
    by_round: Optional[RoundColumns] = None,
  ):
    self._settings = settings
    self._process = process
    self._data = data
    self._plans = plans
    self._evaluation = evaluation
    self._by_round = by_round
    self._personal = evaluation_lib.personal_evaluator(process, data.train, settings)

  def run(self, progress: Progress, observers: Observers) -> Progress:
    """Trains from `progress` to the end; `progress` is renewed in place and returned."""
    if progress.round_num == 0:
      begin = time.monotonic()
      row, client_rows = self._evaluate(progress)
      row.update(self._round_columns(0))
      self._tell(observers, progress, {**row, 'seconds': time.monotonic() - begin}, client_rows)
    progress.interrupted = observers.interrupted()
    with concurrent.futures.ThreadPoolExecutor(1, 'next cohort') as preparing:
      upcoming = preparing.submit(self._cohort_data, progress.round_num + 1)
      while not (self.ended(progress) or progress.interrupted):
        begin = time.monotonic()
        plan, clients = upcoming.result()
        if progress.round_num + 2 <= self._settings.total_rounds:
          upcoming = preparing.submit(self._cohort_data, progress.round_num + 2)
        self._round(progress, plan, clients, begin, observers)
    return progress

  def ended(self, progress: Progress) -> bool:
    """Whether nothing is left to train."""
    return progress.round_num >= self._settings.total_rounds or bool(progress.stopped)

  def _round(
    self,
    progress: Progress,
    plan: participation.RoundPlan,
    clients: list,
    begin: float,
    observers: Observers,
  ) -> None:
    result = self._process.run_round(progress.state, clients, progress.client_states)
    progress.state = result.state
    progress.round_num += 1
    row, client_rows = self._training_row(result.measured, plan, progress)
    row.update(self._round_columns(progress.round_num))
    last = progress.round_num >= self._settings.total_rounds
    evaluated = last or progress.round_num % self._settings.rounds_per_evaluation == 0
    seconds = time.monotonic() - begin
    if evaluated:
      evaluation_row, evaluation_clients = self._evaluate(progress)
      row.update(evaluation_row)
      client_rows += evaluation_clients
      self._watch(progress, row)
    progress.interrupted = observers.interrupted()
    self._tell(observers, progress, {**row, 'seconds': seconds}, client_rows)
    due = progress.round_num % self._settings.rounds_per_checkpoint == 0
    if due or self.ended(progress) or progress.interrupted:
      observers.checkpoint(progress)

  def _cohort_data(self, round_num: int) -> tuple[participation.RoundPlan, list]:
    """A round's plan and its clients' data, in the form their computation takes."""
    settings = self._settings
    plan = self._plans.plan(round_num)
    clients = [
      client_data.client_data(
        self._data.train.examples(int(position)),
        batch_size=settings.batch_size or client_data.FULL_BATCH,
        epochs=float(epochs),
        seed=settings.seed,
        round_num=round_num,
        client=int(position),
        max_examples=settings.max_examples_per_client or None,
      )
      for position, epochs in zip(plan.uploading, plan.epochs)
    ]
    return plan, runtime.stack_clients(clients)

  def _training_row(
    self, measured: Any, plan: participation.RoundPlan, progress: Progress
  ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One round's columns, and its rows by client, from the clients' reports."""
    positions = np.asarray(measured['report']['client'])
    order = np.argsort(positions, kind='stable')
    values = np.asarray(measured['report']['values'], np.float64)[order]
    report = dict(zip(self._process.report_columns, values.T))
    finite = report['finite'] > 0
    names = metrics.sum_names(self._data.problem, self._data.num_classes)
    sums = {name: report[name][finite] for name in names}
    row: dict[str, Any] = {
      f'train/{name}': float(value)
      for name, value in metrics.from_sums(
        self._data.problem, {name: column.sum() for name, column in sums.items()}
      ).items()
    }
    ids = [self._data.train.ids[position] for position in positions[order]]
    row.update(self._costs(report, [i for i, kept in zip(ids, finite) if not kept], plan))
    progress.simulated_seconds += self._simulated_seconds(report, plan)
    row['simulated_hours'] = progress.simulated_seconds / 3600
    measured_values = self._process.aggregation_metrics(measured)
    row.update({f'aggregation/{name}': value for name, value in measured_values.items()})
    kept_ids = [i for i, kept in zip(ids, finite) if kept]
    by_client = metrics.from_sums(self._data.problem, sums)
    return row, model_evaluation.long_rows(
      'train', kept_ids, report['num_examples'][finite], by_client
    )

  def _costs(
    self, report: Mapping[str, np.ndarray], dropped: list[str], plan: participation.RoundPlan
  ) -> dict[str, Any]:
    return {
      'cohort_size': len(plan.selected),
      'cohort_examples': int(report['num_examples'].sum()),
      'participants': int(report['finite'].sum()),
      'stragglers': plan.stragglers,
      'dropouts': plan.dropouts,
      'dropped': len(dropped),
      'dropped_clients': ' '.join(dropped),
      'bytes_down': len(plan.selected) * self._process.bytes_down_per_client,
      'bytes_up': int(report['bytes_up'].sum()),
      'bytes_up_uncompressed': len(plan.uploading) * self._process.bytes_up_per_client,
    }

  def _simulated_seconds(
    self, report: Mapping[str, np.ndarray], plan: participation.RoundPlan
  ) -> float:
    """How long the round takes on the virtual clock: as long as the slowest that uploads."""
    if not len(plan.uploading):
      return 0.0
    visited = plan.epochs * self._data.train.sizes[plan.uploading]
    down = self._process.bytes_down_per_client
    # Reports and plan both list the uploading clients by ascending position.
    seconds = self._plans.devices.seconds(plan.uploading, visited, down, report['bytes_up'])
    return float(seconds.max())

  def _evaluate(self, progress: Progress) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    weights = self._process.model_weights(progress.state)
    personal = None
    if self._personal is not None:
      personal = self._personal.at(progress.state, progress.client_states)
    return self._evaluation.evaluate(weights, personal)

  def _watch(self, progress: Progress, row: Mapping[str, Any]) -> None:
    """Decides on `--target_value` and `--patience` after an evaluation."""
    name = self._settings.target_metric
    if not name:
      return
    value = float(row.get(name, math.nan))
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

  def _round_columns(self, round_num: int) -> dict[str, Any]:
    return self._by_round.row(round_num) if self._by_round else {}

  def _tell(self, observers, progress, row, client_rows) -> None:
    columns = {name: row.get(name) for name in self.columns()}
    observers.row({'round': progress.round_num, **columns})
    if observers.client_rows is not None:
      observers.client_rows([{'round': progress.round_num, **row} for row in client_rows])

  def columns(self) -> list[str]:
    """The columns of metrics.csv after `round`."""
    problem, classes = self._data.problem, self._data.num_classes
    trained = metrics.ratios(metrics.sum_names(problem, classes))
    derived = metrics.from_sums(problem, dict.fromkeys(metrics.sum_names(problem, classes), 1.0))
    return [
      *(f'train/{name}' for name in {**trained, **derived}),
      *self._evaluation.columns(),
      *(f'aggregation/{name}' for name in self._process.aggregation_columns),
      *(self._by_round.columns() if self._by_round else ()),
      'cohort_size',
      'cohort_examples',
      'participants',
      'stragglers',
      'dropouts',
      'dropped',
      'dropped_clients',
      'bytes_down',
      'bytes_up',
      'bytes_up_uncompressed',
      'simulated_hours',
      'seconds',
    ]
