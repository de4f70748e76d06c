"""Synchronous rounds whose cohort, or what of it is sent, depends on what clients report.

`fl_research.population.choosers` has the rules. So the next cohort's data cannot be made while a
round runs, as `fl_research.training.synchronous` does for all other ways of drawing.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
from typing import Any, cast, Optional

import numpy as np

from fl_research import client_data, random_streams, runtime
from fl_research.population import participation
from fl_research.population import rule as rule_lib
from fl_research.population.scores import Scores
from fl_research.registry import UsageError
from fl_research.round import process as process_lib
from fl_research.round import split, types
from fl_research.settings import Settings
from fl_research.training import client_states as client_states_lib
from fl_research.training import columns as columns_lib
from fl_research.training import driver
from fl_research.training import evaluation as evaluation_lib
from fl_research.training.run_data import RunData

_BYTES_OF_NUMBER = 4
_FORWARD = 1 / 3
"""What an example costs without its backward pass, of what it costs in training."""

_SCORES, _RULE = 'scores/', 'rule/'


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChosenPlan(participation.RoundPlan):
  """Who was chosen, and how it came about.

  Attributes:
    asked: how many clients were asked for their loss.
    measures: the rule's numbers.
  """

  asked: int
  measures: Mapping[str, float]


class Choosing:
  """A `driver.Driver` of rounds whose cohorts a rule chooses.

  Args:
    settings: what to do.
    process: the method.
    data: the data.
    plans: who can take part, and what becomes of them.
    rule: the rule.

  Raises:
    UsageError: the rule asks for the loss of a global model, and the method has none.
  """

  def __init__(
    self,
    settings: Settings,
    process: process_lib.FederatedProcess,
    data: RunData,
    plans: participation.Participation,
    rule: rule_lib.Rule,
  ):
    if rule.asks and process.method.personal:
      raise UsageError(
        f'--cohort_sampling={settings.cohort_sampling}: not with --algorithm={settings.algorithm}, '
        'whose clients have models of their own, and no loss of a global one; accepted are '
        '--power_of_choice_loss=last and --cohort_sampling=oort'
      )
    self._settings = settings
    self._process = process
    self._data = data
    self._plans = plans
    self._rule = rule
    self._data_of = driver.cohort_data(settings, data)
    self._scores = Scores.of(len(data.train))
    self._evaluator = evaluation_lib.Evaluator(process.parts.model)

  def columns(self) -> columns_lib.ByTrainedRound:
    value = lambda name: lambda trained: _plan_of(trained).measures.get(name)
    own = {f'sampling/{name}': value(name) for name in self._rule.columns}
    if self._rule.candidates is None:
      return own
    return {'sampling/asked': lambda trained: _plan_of(trained).asked, **own}

  def saved(self) -> Mapping[str, np.ndarray]:
    parts = ((_SCORES, self._scores.saved()), (_RULE, self._rule.saved()))
    return {f'{prefix}{name}': array for prefix, part in parts for name, array in part.items()}

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    part = lambda prefix: {
      name.removeprefix(prefix): array for name, array in saved.items() if name.startswith(prefix)
    }
    self._scores.resume(part(_SCORES))
    self._rule.resume(part(_RULE))

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    yield

  def step(
    self,
    number: int,
    state: Any,
    client_states: Optional[client_states_lib.ClientStates],
    seconds: float,
  ) -> driver.Step:
    plan = self._plan(number, state, seconds)
    clients = self._data_of(number, plan.uploading, plan.epochs)
    result = self._process.run_round(state, clients, client_states)
    self._learn(number, plan, result.measured)

    def ends(trained: columns_lib.TrainedRound) -> float:
      return max(seconds, plan.begins) + trained.simulated_seconds(self._plans)

    return driver.Step(result.state, result.measured, plan, ends)

  def _plan(self, number: int, state: Any, seconds: float) -> ChosenPlan:
    """Who is chosen with this state of the server, and what finding it out has cost."""
    asked = np.zeros(0, np.int64)
    visited = np.zeros(0, np.int64)

    def ask(clients: np.ndarray, of_a_batch: bool) -> np.ndarray:
      nonlocal asked, visited
      asked = clients
      losses, visited = self._losses(number, state, clients, of_a_batch)
      return losses

    def choose(eligible: np.ndarray) -> np.ndarray:
      sampler = self._plans.sampler
      moment = rule_lib.Moment(
        seed=self._settings.seed,
        round_num=number,
        eligible=eligible,
        sizes=sampler.sizes,
        count=sampler.clients_per_round,
        scores=self._scores,
        ask=ask,
      )
      return np.sort(self._rule.choose(moment))

    plan = self._plans.plan(number, seconds, choose)
    fields = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    measures = self._rule.measures() if len(plan.selected) else {}
    chosen = ChosenPlan(**fields, asked=len(asked), measures=measures)
    if not len(asked):
      return chosen
    down = self._process.bytes_down_per_client
    takes = self._plans.devices.seconds(asked, _FORWARD * visited, down, _BYTES_OF_NUMBER, number)
    return dataclasses.replace(
      chosen,
      further_bytes_down=(len(asked) - len(plan.selected)) * down,
      further_bytes_up=_BYTES_OF_NUMBER * len(asked),
      seconds_before=float(takes.max()),
      knows_model=True,
    )

  def _losses(
    self, number: int, state: Any, clients: np.ndarray, of_a_batch: bool
  ) -> tuple[np.ndarray, np.ndarray]:
    """Mean losses of the present model, and over how many examples each is."""
    batch = self._settings.batch_size or client_data.FULL_BATCH
    examples = self._data.train.examples_of(clients)
    if of_a_batch and batch:
      examples = [
        self._batch(number, int(client), own, batch) for client, own in zip(clients, examples)
      ]
    sizes = np.array([len(own['y']) for own in examples])
    pooled = {name: np.concatenate([own[name] for own in examples]) for name in examples[0]}
    columns = self._evaluator.columns(
      self._process.model_weights(state), evaluation_lib.ExampleSet(pooled)
    )
    starts = np.cumsum(sizes) - sizes
    total = lambda name: np.add.reduceat(columns[name].astype(np.float64), starts)
    return total('loss') / np.maximum(total('num'), 1.0), sizes

  def _batch(self, number: int, client: int, examples: Any, size: int) -> Any:
    """So many of a client's examples, drawn for this round."""
    count = len(examples['y'])
    generator = random_streams.generator(self._settings.seed, 'asked', number, client)
    rows = np.sort(generator.choice(count, min(size, count), replace=False))
    return {name: array[rows] for name, array in examples.items()}

  def _learn(self, number: int, plan: participation.RoundPlan, measured: Any) -> None:
    """Notes what those have reported that count."""
    trained = columns_lib.TrainedRound(self._process, self._data, plan, measured, number)
    report, counts = trained.report, trained.counts
    down = 0 if plan.knows_model else self._process.bytes_down_per_client
    visited = self._plans.visited(plan.uploading, plan.epochs)
    takes = self._plans.devices.seconds(plan.uploading, visited, down, report['bytes_up'], number)
    num = np.maximum(report['num'], 1.0)
    columns = {
      'loss': report['loss'] / num,
      'examples': report['num_examples'],
      'seconds': takes,
    }
    if self._rule.needs_squared_losses:
      columns['squared_loss'] = report['squared_loss'] / num
    reported = plan.uploading[counts]
    self._scores.report(number, reported, **{n: each[counts] for n, each in columns.items()})
    self._rule.learn(reported, self._scores)


class Sending:
  """A `driver.Driver` of rounds in which those that have trained do not all send.

  The arguments are those of `Choosing`, but for a process in two halves, and a sender as the rule.

  Raises:
    UsageError: clients keep a state, or send more than an update.
  """

  def __init__(
    self,
    settings: Settings,
    process: split.SplitProcess,
    data: RunData,
    plans: participation.Participation,
    rule: rule_lib.Sender,
  ):
    result = process.sent_type[0]
    if process.keeps_client_state or types.num_bytes(result['auxiliary']):
      raise UsageError(
        f'--cohort_sampling={settings.cohort_sampling}: not with --algorithm={settings.algorithm}, '
        'whose clients keep a state or send more than their update, which would not be weighed; '
        'accepted are methods that send updates only'
      )
    self._settings = settings
    self._process = process
    self._plans = plans
    self._rule = rule
    self._wanted = data.cohort_size
    self._data_of = driver.cohort_data(settings, data)

  def columns(self) -> columns_lib.ByTrainedRound:
    return {}

  def saved(self) -> Mapping[str, np.ndarray]:
    return {}

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    """Nothing is carried from round to round."""

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    yield

  def step(
    self,
    number: int,
    state: Any,
    client_states: Optional[client_states_lib.ClientStates],
    seconds: float,
  ) -> driver.Step:
    plan = self._plans.plan(number, seconds)
    clients = self._data_of(number, plan.uploading, plan.epochs)
    sent = [each.result for each in self._process.run_work(state, clients)]
    sends, own_factors = self._draw(number, sent)
    numbers = _BYTES_OF_NUMBER * len(plan.uploading)
    trains = self._seconds(number, plan)
    plan = dataclasses.replace(
      plan,
      uploading=plan.uploading[sends],
      epochs=plan.epochs[sends],
      further_bytes_down=numbers,
      further_bytes_up=numbers,
    )
    results = runtime.stack_clients([result for result, own in zip(sent, sends) if own])
    result = self._process.run_apply(state, results, own_factors)

    def ends(trained: columns_lib.TrainedRound) -> float:
      nothing = np.zeros(len(plan.uploading))
      sending = self._plans.devices.seconds(
        plan.uploading, nothing, _BYTES_OF_NUMBER, trained.report['bytes_up'], number
      )
      last = max(plan.last_dropout, trains + float(sending.max(initial=0.0)))
      return max(seconds, plan.begins) + last

    return driver.Step(result.state, result.measured, plan, ends)

  def _seconds(self, number: int, plan: participation.RoundPlan) -> float:
    """How long it takes until the last of those that train has said how long its update is."""
    visited = self._plans.visited(plan.uploading, plan.epochs)
    down = self._process.bytes_down_per_client
    takes = self._plans.devices.seconds(plan.uploading, visited, down, _BYTES_OF_NUMBER, number)
    return float(takes.max(initial=0.0))

  def _draw(self, number: int, sent: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Who sends, bool [n], and what the updates of those who do are multiplied by."""
    weights = np.array([float(result['weight']) for result in sent])
    finite = np.array([bool(result['finite']) for result in sent], bool)
    norms = np.array([_norm(result['message']) for result in sent])
    weights = np.where(finite, weights, 0.0)
    probability = np.ones(len(sent))
    probability[finite] = self._rule.probabilities((weights * norms)[finite], self._wanted)
    generator = random_streams.generator(self._settings.seed, 'updates sent', number)
    sends = generator.random(len(sent)) < probability
    return sends, factors(weights, probability, sends)


def factors(weights: np.ndarray, probability: np.ndarray, sends: np.ndarray) -> np.ndarray:
  """What the updates of those who send are multiplied by, for their mean to be unbiased.

  The mean divides by the weights of those who send. A factor puts the weights of all in their
  place, and has an update count for those that were as likely to be sent and were not,

      Σ_k w_k f_k U_k / Σ_k w_k = Σ_k w_k / (W p_k) U_k   over those who send, W being that of all.

  Args:
    weights: of all, float64 [n].
    probability: of sending, above 0 for those who do, float64 [n].
    sends: who does, bool [n].
  """
  share = weights[sends].sum() / max(weights.sum(), np.finfo(np.float64).tiny)
  return share / probability[sends]


def _norm(message: Any) -> float:
  """The length of an update that was sent as it is."""
  return float(np.sqrt(sum(np.sum(np.square(np.asarray(t, np.float64))) for t in message)))


def _plan_of(trained: columns_lib.TrainedRound) -> ChosenPlan:
  return cast(ChosenPlan, trained.plan)
