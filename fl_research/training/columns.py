"""The columns of metrics.csv: whoever contributes a number gives its name with it.

A table of columns maps their names, in the order of the file, to functions that give their values.
So all names are known before the first round, and what is listed and what is written cannot part.

Of the clients that do not count, `dropouts` are those that fell silent before they sent anything
(`--dropout_probability`, or whose phone was no longer ready, `--availability=trace`); `rejected`
are those whose update or new state held an infinity or a NaN, which the server left out.
`participants` are those that count.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
import types
from typing import Any, NamedTuple, Optional

import numpy as np

from fl_research import metrics
from fl_research.aggregation import privacy
from fl_research.population import participation
from fl_research.round import process as process_lib
from fl_research.round.client_half import METHOD
from fl_research.training.run_data import RunData


class TrainedRound:
  """A round as its clients report it.

  Args:
    process: the method.
    data: the run's data.
    plan: who took part, and how.
    measured: M.
    round_num: its number.

  Attributes:
    plan: the plan.
    ids: the clients that report, by ascending position.
    report: their numbers, float64 [clients], by the process's `report_columns`.
    counts: which of them count: all but the dropped, bool [clients].
  """

  def __init__(
    self,
    process: process_lib.FederatedProcess,
    data: RunData,
    plan: participation.RoundPlan,
    measured: Any,
    round_num: int,
  ):
    self._process, self._data, self._measured = process, data, measured
    self._round_num = round_num
    self.plan = plan
    positions = np.asarray(measured['report']['client'])
    order = np.argsort(positions, kind='stable')
    values = np.asarray(measured['report']['values'], np.float64)[order]
    self.ids = [data.train.ids[position] for position in positions[order]]
    self.report = dict(zip(process.report_columns, values.T))
    self.counts = self.report['finite'] > 0

  def counting(self, column: str) -> np.ndarray:
    """A column of the report, of the clients that count."""
    return self.report[column][self.counts]

  @functools.cached_property
  def dropped(self) -> list[str]:
    """The clients that do not count."""
    return [client for client, counts in zip(self.ids, self.counts) if not counts]

  @functools.cached_property
  def training(self) -> Mapping[str, Any]:
    """The metrics of all training together; none where neither clients nor the process say."""
    names = metrics.sum_names(self._data.problem, self._data.num_classes)
    whole = self._process.training_metrics(self._measured)
    if whole is None:
      sums = {name: self.counting(name).sum() for name in names}
    elif 'loss' not in whole:
      return {}
    elif not self.counts.any():
      sums = dict.fromkeys(names, np.float64(0.0))
    else:
      sums = {name: np.float64(whole.get(name, 1.0)) for name in names}  # Divided already.
    return metrics.from_sums(self._data.problem, sums)

  @functools.cached_property
  def aggregation(self) -> Mapping[str, Any]:
    """What the aggregator measures."""
    return self._process.aggregation_metrics(self._measured)

  @functools.cached_property
  def method(self) -> Mapping[str, Any]:
    """What the method measures."""
    return self._process.method_metrics(self._measured)

  def by_client(self) -> tuple[list[str], Any, Mapping[str, Any]]:
    """Of the clients that count: ids, numbers of examples, and the numbers that they report."""
    names = metrics.sum_names(self._data.problem, self._data.num_classes)
    if self._process.training_metrics(self._measured) is not None:
      return [], self.counting('num_examples')[:0], {}
    values = metrics.from_sums(self._data.problem, {name: self.counting(name) for name in names})
    own = {name: self.counting(name) for name in self.report if name.startswith(METHOD)}
    ids = [client for client, counts in zip(self.ids, self.counts) if counts]
    return ids, self.counting('num_examples'), {**values, **own}

  def simulated_seconds(self, plans: participation.Participation) -> float:
    """How long it takes on the virtual clock: as long as the slowest that uploads.

    Longer, where a client it waits for drops out after that.
    """
    uploading, round_num = self.plan.uploading, self._round_num
    visited = plans.visited(uploading, self.plan.epochs)
    down = 0 if self.plan.knows_model else self._process.bytes_down_per_client
    # Reports and plan both list the uploading clients by ascending position.
    seconds = plans.devices.seconds(uploading, visited, down, self.report['bytes_up'], round_num)
    return self.plan.seconds_before + float(seconds.max(initial=self.plan.last_dropout))


class Record(NamedTuple):
  """What a row is made of.

  Attributes:
    round_num: its round.
    trained: the round; None before the first.
    evaluation: what evaluation gave, by column; empty where it is not due.
    simulated_hours: time so far on the virtual clock; None before the first round.
    seconds: how long the round took.
  """

  round_num: int
  trained: Optional[TrainedRound]
  evaluation: Mapping[str, Any]
  simulated_hours: Optional[float]
  seconds: float


Columns = Mapping[str, Callable[[Record], Any]]
ByTrainedRound = Mapping[str, Callable[[TrainedRound], Any]]
ByRoundNumber = Mapping[str, Callable[[int], Any]]
"""Columns that depend on the round's number alone (0: before the first), as a privacy budget."""


def contributors(
  process: process_lib.FederatedProcess,
  data: RunData,
  evaluation: Sequence[str],
  by_round_number: ByRoundNumber,
  withholds: bool = False,
  of_driver: ByTrainedRound = types.MappingProxyType({}),
) -> list[Columns]:
  """The tables of all columns after `round`, in the order of the file.

  Args:
    process: the method.
    data: the run's data.
    evaluation: names of the columns that evaluation fills.
    by_round_number: further columns.
    withholds: whether to leave out what differential privacy does not cover.
    of_driver: columns that the driver has of its own.
  """
  evaluated = lambda name: lambda record: record.evaluation.get(name)
  by_number = lambda value: lambda record: value(record.round_num)
  measurements = _measurements(process)
  of_evaluation = {name: evaluated(name) for name in evaluation}
  of_number = {name: by_number(value) for name, value in by_round_number.items()}
  if withholds:
    covered = {n: value for n, value in measurements.items() if n in privacy.COVERED_COLUMNS}
    return [of_evaluation, _once_trained(covered), of_number]
  return [
    _once_trained(_training(data)),
    of_evaluation,
    _once_trained(measurements),
    of_number,
    _once_trained(_costs(process)),
    _once_trained(of_driver),
    {
      'simulated_hours': lambda record: record.simulated_hours,
      'seconds': lambda record: record.seconds,
    },
  ]


def _once_trained(columns: ByTrainedRound) -> Columns:
  """These columns, empty before the first round."""
  of = lambda value: lambda record: None if record.trained is None else value(record.trained)
  return {name: of(value) for name, value in columns.items()}


def _training(data: RunData) -> ByTrainedRound:
  ones = dict.fromkeys(metrics.sum_names(data.problem, data.num_classes), 1.0)

  def value(name: str) -> Callable[[TrainedRound], Optional[float]]:
    found = lambda trained: trained.training.get(name)
    return lambda trained: None if found(trained) is None else float(found(trained))

  return {f'train/{name}': value(name) for name in metrics.from_sums(data.problem, ones)}


def _measurements(process: process_lib.FederatedProcess) -> ByTrainedRound:
  aggregation = lambda name: lambda trained: trained.aggregation[name]
  method = lambda name: lambda trained: trained.method[name]
  return {
    **{f'aggregation/{name}': aggregation(name) for name in process.aggregation_columns},
    **{f'{METHOD}{name}': method(name) for name in process.method_columns},
  }


def of_training(process: process_lib.FederatedProcess, data: RunData) -> list[str]:
  """Names of the columns that sum up what clients say of their training."""
  return [*_training(data), *(n for n in process.report_columns if n.startswith(METHOD))]


def _costs(process: process_lib.FederatedProcess) -> ByTrainedRound:
  down, up = process.bytes_down_per_client, process.bytes_up_per_client
  return {
    'cohort_size': lambda trained: len(trained.plan.selected),
    'cohort_examples': lambda trained: int(trained.report['num_examples'].sum()),
    'participants': lambda trained: int(trained.report['finite'].sum()),
    'stragglers': lambda trained: trained.plan.stragglers,
    'dropouts': lambda trained: trained.plan.dropouts,
    'rejected': lambda trained: len(trained.dropped),
    'rejected_clients': lambda trained: ' '.join(trained.dropped),
    'bytes_down': lambda trained: (
      len(trained.plan.selected) * down + trained.plan.further_bytes_down
    ),
    'bytes_up': lambda trained: (
      int(trained.report['bytes_up'].sum()) + trained.plan.further_bytes_up
    ),
    'bytes_up_uncompressed': lambda trained: len(trained.plan.uploading) * up,
  }
