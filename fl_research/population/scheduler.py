"""Who works when in asynchronous training: the events of a run, played on the virtual clock.

A fixed number of clients is at work at any time. Each is given the server's model of the moment,
works on it for as long as its device takes (see `fl_research.population.devices`), and then its
result arrives and waits; a client that fails falls silent after its download and its training. Its
place is taken at once by another client, drawn among those that are free, who starts from the model
as it then is. The server steps when its trigger says so:

- `buffer`: as soon as K results wait, with the first K (Nguyen et al. 2022, "Federated Learning
  with Buffered Asynchronous Aggregation", algorithm 1; K = 1 is Xie et al. 2019, "Asynchronous
  Federated Optimization");
- `deadline`: at every multiple of T seconds, with all that wait, if any (the semi-synchronous step
  of Wu et al. 2020, "SAFA: a Semi-Asynchronous Protocol for Fast Federated Learning with Low
  Overhead", and the rounds by time of Huba et al. 2022, "PAPAYA: Practical, Private, and Scalable
  Federated Learning").

The *version* of a model is the number of steps that made it; a result is stale by the steps between
the version that its client was given and the one that it changes. What is too stale is thrown away.

Where clients are phones that are ready at times (`fl_research.population.readiness`), only those
that are can be drawn, and one that stops being ready before its result has arrived falls silent
then. A place for which nobody is ready is looked at again at the next event.

A client is free when it is neither at work nor waiting for the step that uses its result. So nobody
is at work twice, a step combines no two results of one client, and no client trains twice from one
version: what it draws for its training is a function of (seed, version, client).

At one instant all that arrives is received before the server steps, the server steps as often as it
can, and then all free places are filled at once. So K clients at work on devices that are alike are
the cohorts of synchronous rounds, the very same ones: the first draw after a step is that of the
round.

Events are a function of the seed and of how long devices take, and know nothing of what is learnt;
how many bytes a result has is asked for when a client starts.

Differences from the papers:
1. Nguyen et al. take clients to be drawn from a population so large that none comes back while its
   result waits; here that is a rule.
2. SAFA keeps a client that was late at its old model until a limit, and all others begin anew at
   each deadline; here every place is filled at once, and a late client goes on.
3. Devices' times are those of the virtual clock, not measured ones.
4. Li et al. 2023, "FedCompass: Efficient Cross-Silo Federated Learning on Heterogeneous Client
   Devices using a Computing Power-Aware Scheduler", groups clients and gives each a number of
   steps with which its group arrives together; with `least_epochs` these groups are those of the
   deadlines, which are regular here. Uploads are counted uncompressed for that.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import heapq
import math
from typing import NamedTuple, Optional, Protocol

import numpy as np

from fl_research import domains, registry
from fl_research.population.devices import Numbers
from fl_research.population.participation import Participation

_MODULE = 'fl_research.population.scheduler'
COHORT = 'cohort'

# Only these draw clients one by one and never the same one twice.
_DRAWS_AMONG_FREE = registry.Requirement(
  'cohort_sampling',
  ('uniform', 'by_size'),
  'draws clients one by one, among those that are free',
)
_ALL_WORK_COUNTS = (
  _DRAWS_AMONG_FREE,
  registry.Requirement('over_selection', (1.0,), 'waits for nobody in particular'),
  registry.Requirement('stragglers', ('keep',), 'waits for nobody; what is too late is too stale'),
  registry.Requirement('centralized', (False,), 'needs clients to wait for'),
  registry.Requirement('local_only', (False,), 'needs a server'),
)

TRIGGERS: Mapping[str, registry.Entry] = {
  COHORT: registry.Entry(
    'fl_research.population.participation', 'when the whole cohort has reported: synchronous rounds'
  ),
  'buffer': registry.Entry(
    _MODULE,
    'when so many results have arrived: asynchronous (FedBuff, Nguyen et al. 2022)',
    {'size': registry.Hyperparameter(10, 'K, results in a step of the server', **domains.COUNT)},
    requires=_ALL_WORK_COUNTS,
  ),
  'deadline': registry.Entry(
    _MODULE,
    'every so many simulated seconds, with what has arrived: semi-synchronous',
    {
      'seconds': registry.Hyperparameter(
        60.0, 'simulated time between two steps of the server', **domains.POSITIVE
      ),
      'least_epochs': registry.Hyperparameter(
        0.0,
        'have clients be done at a deadline: at the first one by which they can train so many '
        'epochs, and then as many as they can up to client_epochs_per_round; 0: all train the same',
        **domains.FROM_0,
      ),
    },
    requires=_ALL_WORK_COUNTS,
  ),
}
"""What makes the server step."""


class Trigger(Protocol):
  """What makes the server step."""

  def due(self, version: int, seconds: float, waiting: int) -> bool:
    """Whether it steps now, the model being of this version and so many results waiting."""

  def at_latest(self, version: int) -> float:
    """When it steps whatever arrives."""

  def most(self, waiting: int) -> int:
    """How many of the waiting results a step uses."""

  def epochs(
    self, now: float, transfer: np.ndarray, epoch: np.ndarray, wanted: np.ndarray
  ) -> np.ndarray:
    """How many epochs clients train that begin now.

    Args:
      now: seconds.
      transfer, epoch: how long their transfers and one epoch take.
      wanted: how many they should train.
    """


@dataclasses.dataclass(frozen=True)
class Buffer:
  """A step with every K results."""

  size: int

  def due(self, version: int, seconds: float, waiting: int) -> bool:
    del version, seconds
    return waiting >= self.size

  def at_latest(self, version: int) -> float:
    del version
    return math.inf

  def most(self, waiting: int) -> int:
    del waiting
    return self.size

  def epochs(
    self, now: float, transfer: np.ndarray, epoch: np.ndarray, wanted: np.ndarray
  ) -> np.ndarray:
    del now, transfer, epoch
    return wanted


@dataclasses.dataclass(frozen=True)
class Deadline:
  """A step every T seconds.

  Attributes:
    seconds: T.
    least_epochs: where above 0, clients are to be done at a deadline: at the first by which they
      can train so many epochs, when they train as many as there is time for, the wanted ones at
      most.
  """

  seconds: float
  least_epochs: float = 0.0

  def due(self, version: int, seconds: float, waiting: int) -> bool:
    del waiting
    return seconds >= self.at_latest(version)

  def at_latest(self, version: int) -> float:
    return (version + 1) * self.seconds

  def most(self, waiting: int) -> int:
    return waiting

  def epochs(
    self, now: float, transfer: np.ndarray, epoch: np.ndarray, wanted: np.ndarray
  ) -> np.ndarray:
    if not self.least_epochs:
      return wanted
    begin = now + transfer
    deadline = np.ceil((begin + self.least_epochs * epoch) / self.seconds) * self.seconds
    # A little less, so that rounding makes nobody late.
    room = (deadline - begin) * (1 - 1e-9)
    fitting = np.divide(room, epoch, out=np.full_like(room, np.inf), where=epoch > 0)
    return np.minimum(wanted, fitting)


class Assignment(NamedTuple):
  """One client's work on one version of the model; ordered by when it ends.

  Attributes:
    arrives: when its result arrives, or when it falls silent, in seconds since the start.
    number: which assignment of the run it is, from 0.
    client: its position.
    version: the version of the model that it was given.
    epochs: how many it trains.
    straggles: whether those are less than all.
    fails: whether it falls silent.
  """

  arrives: float
  number: int
  client: int
  version: int
  epochs: float
  straggles: bool
  fails: bool


class Events(NamedTuple):
  """What happened between two steps of the server.

  Attributes:
    started: who was given work, in the order of being drawn; all from the version before the step.
    applied: whose results the step uses, by ascending position.
    staleness: of these, int.
    failed: who fell silent.
    discarded: whose results were thrown away, being too stale.
    concurrency: how many were at work, on average over the time since the step before; where that
      is none, how many still are.
  """

  started: list[Assignment]
  applied: list[Assignment]
  staleness: np.ndarray
  failed: list[Assignment]
  discarded: list[Assignment]
  concurrency: float


UploadBytes = Callable[[Sequence[Assignment]], np.ndarray]
"""How many bytes each of some clients that have just started will send: [n]."""


class Scheduler:
  """Plays the events of a run.

  Args:
    plans: who can be drawn, how devices are, and what may go wrong.
    concurrency: how many clients are at work at a time, if there are as many.
    trigger: what makes the server step.
    max_staleness: results staler than that are thrown away; None for none.

  Attributes:
    seconds: the time.
    version: of the server's model.
  """

  def __init__(
    self,
    plans: Participation,
    concurrency: int,
    trigger: Trigger,
    max_staleness: Optional[int] = None,
  ):
    self._plans = plans
    self._concurrency = concurrency
    self._trigger = trigger
    self._max_staleness = math.inf if max_staleness is None else max_staleness
    self.seconds = 0.0
    self.version = 0
    self._assigned = 0
    self._draws = 0
    self._at_work: list[Assignment] = []
    self._waiting: list[Assignment] = []

  def step(self, upload_bytes: UploadBytes) -> Events:
    """Plays on until the server steps, and makes it step.

    Args:
      upload_bytes: is asked of those that start and do not fail.

    Raises:
      UsageError: nobody is at work, and nobody can be drawn any more.
    """
    started: list[Assignment] = []
    failed: list[Assignment] = []
    discarded = self._discard()
    begin, work = self.seconds, 0.0
    while not self._trigger.due(self.version, self.seconds, len(self._waiting)):
      started += self._fill(upload_bytes)
      instant = self._next_instant()
      work += len(self._at_work) * (instant - self.seconds)
      self.seconds = instant
      failed += self._receive()
      discarded += self._discard()
    used = self._trigger.most(len(self._waiting))
    applied = sorted(self._waiting[:used], key=lambda each: each.client)
    self._waiting = self._waiting[used:]
    staleness = np.array([self._staleness(each) for each in applied], np.int64)
    self.version += 1
    self._draws = 0
    took = self.seconds - begin
    concurrency = work / took if took else float(len(self._at_work))
    return Events(started, applied, staleness, failed, discarded, concurrency)

  def _staleness(self, assignment: Assignment) -> int:
    return self.version - assignment.version

  def _discard(self) -> list[Assignment]:
    """Throws away what has waited and is too stale."""
    fresh = lambda each: self._staleness(each) <= self._max_staleness
    discarded = [each for each in self._waiting if not fresh(each)]
    self._waiting = [each for each in self._waiting if fresh(each)]
    return discarded

  def _fill(self, upload_bytes: UploadBytes) -> list[Assignment]:
    """Gives work to as many clients as there are places, of those that are free."""
    places = self._concurrency - len(self._at_work)
    if places <= 0:
      return []
    sampler = self._plans.sampler
    free = np.ones(len(sampler.sizes), bool)
    free[[each.client for each in (*self._at_work, *self._waiting)]] = False
    if self._plans.readiness is not None:
      free &= self._plans.readiness.at(self.seconds)
    drawn = sampler.among(free, places, self.version + 1, self._draws)
    if not len(drawn):
      return []
    self._draws += 1
    started = self._timed(self._assignments(drawn), upload_bytes)
    for each in started:
      heapq.heappush(self._at_work, each)
    return started

  def _assignments(self, clients: np.ndarray) -> list[Assignment]:
    """The next work of some clients, without its time."""
    first = self._assigned
    self._assigned += len(clients)
    luck = [self._plans.luck(first + place) for place in range(len(clients))]
    wanted = np.array([epochs for epochs, _, _ in luck])
    once, bytes_up = self._plans.visited(clients, np.ones(len(clients))), self._plans.bytes_up
    transfer = self._seconds(clients, np.zeros(len(clients)), bytes_up)
    epoch = self._seconds(clients, once, bytes_up) - transfer
    trained = self._trigger.epochs(self.seconds, transfer, epoch, wanted)
    return [
      Assignment(
        math.nan, first + place, int(client), self.version, float(epochs), straggles, fails
      )
      for place, (client, epochs, (_, straggles, fails)) in enumerate(zip(clients, trained, luck))
    ]

  def _seconds(self, clients: np.ndarray, visited: np.ndarray, sent: Numbers) -> np.ndarray:
    """How long clients take that begin now."""
    plans = self._plans
    return plans.devices.seconds(clients, visited, plans.bytes_down, sent, self.version + 1)

  def _timed(self, assignments: list[Assignment], upload_bytes: UploadBytes) -> list[Assignment]:
    """The assignments with the time at which they end."""
    plans = self._plans
    sending = [each for each in assignments if not each.fails]
    sent = np.zeros(len(assignments))
    if sending:
      sent[[not each.fails for each in assignments]] = upload_bytes(sending)
    clients = np.array([each.client for each in assignments])
    visited = plans.visited(clients, np.array([each.epochs for each in assignments]))
    ends = self.seconds + self._seconds(clients, visited, sent)
    until = np.full(len(ends), math.inf)
    if plans.readiness is not None:
      until = plans.readiness.until(clients, self.seconds)
    return [
      each._replace(arrives=float(min(end, last)), fails=each.fails or bool(last < end))
      for each, end, last in zip(assignments, ends, until)
    ]

  def _next_instant(self) -> float:
    """When something happens next."""
    latest = self._trigger.at_latest(self.version)
    if self._at_work:
      return min(self._at_work[0].arrives, latest)
    return min(self._somebody_available(), latest)

  def _somebody_available(self) -> float:
    """When somebody who is free will next be ready, as nobody is now."""
    if self._trigger.at_latest(self.version) < math.inf:
      return math.inf
    free = self._plans.sampler.sizes > 0
    free[[each.client for each in self._waiting]] = False
    if self._plans.readiness is not None:
      return self._plans.readiness.earliest(self.seconds, 1, free)
    raise registry.UsageError(
      f'--availability_trace: nobody is available for round {self.version + 1}, nobody is at work, '
      f'and only {len(self._waiting)} results wait, too few for the buffer; let clients be '
      'available for longer, or choose a smaller --buffer_size'
    )

  def _receive(self) -> list[Assignment]:
    """Takes in all that has arrived; gives those that fell silent."""
    failed: list[Assignment] = []
    while self._at_work and self._at_work[0].arrives <= self.seconds:
      ended = heapq.heappop(self._at_work)
      (failed if ended.fails else self._waiting).append(ended)
    return failed

  def saved(self) -> dict[str, np.ndarray]:
    """What `resume` needs to go on between two steps: arrays by name."""
    row = lambda assignments: np.array(assignments, np.float64).reshape(-1, len(Assignment._fields))
    return {
      'clock': np.array([self.seconds]),
      'counts': np.array([self.version, self._assigned]),
      'at_work': row(sorted(self._at_work)),
      'waiting': row(self._waiting),
    }

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    """Goes back to where `saved` was called."""
    [self.seconds] = saved['clock'].tolist()
    self.version, self._assigned = saved['counts'].tolist()
    self._draws = 0
    self._at_work = [_assignment_of(row) for row in saved['at_work'].tolist()]
    self._waiting = [_assignment_of(row) for row in saved['waiting'].tolist()]


def _assignment_of(row: Sequence[float]) -> Assignment:
  arrives, number, client, version, epochs, straggles, fails = row
  return Assignment(
    arrives, int(number), int(client), int(version), epochs, bool(straggles), bool(fails)
  )
