"""The data of one run: who trains on what, who is evaluated on what."""

import collections
from collections.abc import Mapping
import dataclasses
import socket
from typing import Any, Optional

import numpy as np

from fl_research import (
  aggregation,
  client_data,
  metrics,
  models,
  registry,
  tasks,
)
from fl_research import settings as settings_lib
from fl_research.algorithms import of_tff
from fl_research.datasets import (
  class_weights,
  device_traces,
  federated_data,
  files,
  passport,
)
from fl_research.datasets.federated_data import (
  Clients,
  FederatedData,
  Problem,
)
from fl_research.models import own as own_models
from fl_research.models.specification import ModelSpec
from fl_research.population import cohorts
from fl_research.population.readiness import Readiness
from fl_research.registry import UsageError
from fl_research.settings import own_files as own_files_lib
from fl_research.settings import Settings
from fl_research.soundness import chains
from fl_research.training import client_groups, dealing

_PHASES = ('train', 'eval', 'held_out', 'train_set')


@dataclasses.dataclass(frozen=True)
class RunData:
  """What a run trains and evaluates on.

  Attributes:
    train: the clients that can be drawn.
    test: the central test examples.
    test_clients: clients with test examples of their own, or None.
    held_out: clients kept from training, for validation; None without any.
    server: the server's own examples; None without any.
    cohort_size: clients that are wanted in a round; where results arrive by themselves, that are at
      work at a time.
    combined: how many clients' updates a step of the server combines; as many as are in a cohort
      where that is left to time.
    availability: who can be drawn in which round; None where it does not depend on the round.
    readiness: whose phones are ready when; None where all always are.
    phones: how fast measured phones are; None without any.
    problem, num_classes: what is predicted.
    spec: what a model must accept.
    model: the model's name, which the data decide where the settings do not.
    sources: checksums of the files read, those of the model's too.
    passport: measures of how unequal the training clients are.
    tests_clients: whether the central test examples are clients' own, and not only dealt out to
      them.
    class_names: names of the classes or tags; empty without names.
    preprocessing: what was done to the values of the user's own files.
    group_of: of clients that have the same examples in groups, each in a way of its own, the group
      by id; None without groups.
    origin: the settings that all of it can be loaded from once more; None where it cannot.
    sites: those that have the examples, a `driver.Elsewhere`; None where these are here.
  """

  train: Clients
  test: federated_data.Examples
  test_clients: Optional[Clients]
  held_out: Optional[Clients]
  server: Optional[federated_data.Examples]
  cohort_size: int
  combined: int
  availability: Optional[cohorts.AvailabilityTrace]
  problem: federated_data.Problem
  num_classes: int
  spec: ModelSpec
  model: str
  sources: dict[str, str]
  passport: passport.Passport
  readiness: Optional[Readiness] = None
  phones: Optional[device_traces.Phones] = None
  tests_clients: bool = False
  class_names: tuple[str, ...] = ()
  preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  group_of: Optional[Mapping[str, int]] = None
  origin: Optional[Settings] = None
  sites: Optional[Any] = None

  def decide(self, settings: Settings) -> Settings:
    """The settings, with what the data decide where they leave it open."""
    return dataclasses.replace(settings, model=self.model)


def load(settings: Settings) -> RunData:
  """Loads and deals out the data that the settings name, and checks the settings against them.

  TensorFlow is not imported.

  Raises:
    UsageError: one line naming the flag or file.
  """
  data = of(tasks.load(settings.task, options(settings)), settings)
  return dataclasses.replace(data, origin=settings)


class _Reopened(client_data.Source):
  """A population that other processes open for themselves, from the settings."""

  def __init__(self, data: RunData):
    super().__init__(data.train)
    self._how = (data.origin, data.sources, data.passport)

  def __reduce__(self):
    return _reopen, self._how


def _reopen(
  settings: Settings, sources: Mapping[str, str], expected: passport.Passport
) -> _Reopened:
  data = load(settings)
  if data.sources != sources or data.passport != expected:
    raise UsageError(
      f'--task={settings.task}: {socket.gethostname()} finds other data than the driver; the same '
      'files must be on every node'
    )
  return _Reopened(data)


def source(data: RunData) -> client_data.Source:
  """The clients that train, as cohorts are drawn from them."""
  return client_data.Source(data.train) if data.origin is None else _Reopened(data)


def of(data: tasks.Data, settings: Settings) -> RunData:
  """Deals out data that are there already, and checks the settings against them; see `load`."""
  own_sources = {
    **own_models.sources(settings.model, settings.initial_model),
    **of_tff.sources(settings.algorithm),
  }
  _check_auc(data, settings)
  _check_target(data, settings)
  clients = dealing.deal_out(data, settings)
  clients = dealing.test_on_own(clients, settings)
  clients = client_groups.of(clients, settings)
  train, held_out = dealing.hold_out(clients.train, settings)
  passport_of_split = _passport(train, data)
  if settings.centralized:
    train = dealing.one_client(train)
  spec = ModelSpec.from_data(data)
  model = model_name(settings, spec)
  spec = dataclasses.replace(
    spec,
    hyperparameters=settings.hyperparameters_of(model),
    class_weights=_class_weights(train, data, settings),
  )
  models.check(model, spec)
  cohort_size = cohort_size_of(train, settings)
  combined = _combined(train, cohort_size, settings)
  own = settings.hyperparameters_of(settings.aggregator)
  aggregation.check_cohort(settings.aggregator, own, combined)
  _check_returning(train, combined, settings)
  intervals, phones = _device_traces(settings)
  traces = [dict(trace.sources) for trace in (intervals, phones) if trace is not None]
  return RunData(
    train=train,
    test=clients.test,
    test_clients=dealing.few(clients.test_clients, settings),
    held_out=held_out,
    server=dealing.servers_own(train, settings),
    cohort_size=cohort_size,
    combined=combined,
    availability=_availability(train, held_out, settings),
    problem=data.problem,
    num_classes=data.num_classes,
    spec=spec,
    model=model,
    sources={**data.sources, **own_sources, **collections.ChainMap(*traces)},
    passport=passport_of_split,
    readiness=_readiness(intervals, train, cohort_size, settings),
    phones=phones,
    tests_clients=bool(settings.own_test_fraction) or _keeps_clients(data, settings),
    class_names=tuple(data.class_names),
    preprocessing=data.preprocessing,
    group_of=client_groups.group_of(clients.train.ids, settings),
  )


def _passport(train: Clients, data: tasks.Data) -> passport.Passport:
  """The training clients' passport, which was made at import where these are still the same."""
  if isinstance(data, FederatedData) and train is data.train and data.passport is not None:
    return data.passport
  return passport.passport(train, data.problem)


def _keeps_clients(data: tasks.Data, settings: Settings) -> bool:
  """Whether the data came with clients who have test examples, and stay with them."""
  natural = (settings.partition or settings_lib.NATURAL) == settings_lib.NATURAL
  return isinstance(data, FederatedData) and natural and data.test_clients is not None


def model_name(settings: Settings, spec: ModelSpec) -> str:
  """The model that the settings name, or else the one usual for the data."""
  return settings.model_name or models.usual(spec)


def options(settings: Settings) -> federated_data.DatasetOptions:
  """What the settings say to the reader of the data."""
  defaults = federated_data.DatasetOptions(data_dir='')
  own_files = dataclasses.fields(own_files_lib.OwnFiles)
  return federated_data.DatasetOptions(
    data_dir=files.data_dir(settings.data_dir),
    seed=settings.seed,
    data_file=settings.data_file or None,
    client_column=settings.client_column or None,
    label_column=settings.label_column or None,
    columns=settings.columns or None,
    separator=settings.separator or None,
    decimal=settings.decimal or None,
    encoding=settings.encoding or None,
    header=settings.header or None,
    missing=settings.missing or None,
    partition=settings.partition or None,
    alpha=settings.synthetic_alpha,
    beta=settings.synthetic_beta,
    num_clients=settings.num_clients or defaults.num_clients,
    sequence_length=settings.sequence_length,
    **{field.name: getattr(settings, field.name) or None for field in own_files},
  )


def _check_target(data: tasks.Data, settings: Settings) -> None:
  """Refuses misspelt metrics; columns of methods and of clients are known with the process only."""
  name = settings.target_metric
  if not name or ('/' in name and name.partition('/')[0] not in _PHASES):
    return
  of_problem = metrics.names(data.problem, data.num_classes, settings.evaluate_auc)
  columns = [f'{phase}/{metric}' for phase in _PHASES for metric in of_problem]
  registry.lookup('target_metric', name, dict.fromkeys(columns))


def _check_auc(data: tasks.Data, settings: Settings) -> None:
  if settings.evaluate_auc and data.problem is not Problem.CLASSIFICATION:
    always = ', which always has it' if data.problem is Problem.BINARY else ''
    raise UsageError(
      f'--evaluate_auc=true: only read for more than two classes, and {settings.task} is a '
      f'{data.problem.value} problem{always}'
    )


def _class_weights(train: Clients, data: tasks.Data, settings: Settings) -> Optional[np.ndarray]:
  """What examples count in training by their class; None where all count the same."""
  if settings.class_weighting == 'none':
    return None
  if data.problem not in class_weights.WEIGHTED:
    raise UsageError(
      f'--class_weighting={settings.class_weighting}: {settings.task} has no classes to weight '
      f'(it is a {data.problem.value} problem); accepted is none'
    )
  return class_weights.balanced(train, data.problem, data.num_classes)


def cohort_size_of(clients: Clients, settings: Settings) -> int:
  """The clients of a round: all of them without federation, else as many as were asked for.

  Raises:
    UsageError: there are not so many.
  """
  filled = clients.num_filled
  if settings.centralized or settings.local_only:
    return filled
  if settings.clients_per_round is None:
    return min(settings_lib.USUAL_COHORT, filled)
  if settings.clients_per_round > filled:
    has = 'client has' if filled == 1 else 'clients have'
    raise UsageError(
      f'--clients_per_round={settings.clients_per_round}: only {filled} {has} examples to train '
      f'on; accepted is {"1" if filled == 1 else f"1 to {filled}"}'
    )
  return settings.clients_per_round


def _combined(clients: Clients, cohort_size: int, settings: Settings) -> int:
  """How many clients' updates make a step of the server."""
  size, filled = settings.buffer_size, clients.num_filled
  if size is None:
    return cohort_size
  if size > filled:
    raise UsageError(
      f'--buffer_size={size}: would never be full, as only {filled} clients have examples to train '
      f'on and none is twice in a buffer; accepted is 1 to {filled}'
    )
  return size


def _check_returning(clients: Clients, cohort_size: int, settings: Settings) -> None:
  filled = clients.num_filled
  stages = settings.compressor_stages()
  chains.check_returning(stages, settings.total_rounds, cohort_size, filled)


def _availability(
  clients: Clients, held_out: Optional[Clients], settings: Settings
) -> Optional[cohorts.AvailabilityTrace]:
  path = settings.availability_trace
  if not path:
    return None
  return cohorts.AvailabilityTrace(path, clients.ids, held_out.ids if held_out else ())


def _device_traces(
  settings: Settings,
) -> tuple[Optional[device_traces.Intervals], Optional[device_traces.Phones]]:
  """What was measured of real phones, as far as the settings ask for it."""
  folder = files.data_dir(settings.data_dir)
  return (
    device_traces.load_intervals(folder) if settings.availability == 'trace' else None,
    device_traces.load_phones(folder) if settings.devices == 'trace' else None,
  )


def _readiness(
  intervals: Optional[device_traces.Intervals],
  clients: Clients,
  cohort_size: int,
  settings: Settings,
) -> Optional[Readiness]:
  """Whose phones are ready when; refused where the first round would never begin."""
  if intervals is None:
    return None
  readiness = Readiness(intervals, len(clients), settings.seed)
  readiness.earliest(0.0, cohort_size, clients.sizes > 0)
  return readiness
