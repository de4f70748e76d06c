"""What becomes of a cohort: stragglers, dropouts, over-selection, all functions of (seed, round).

- Stragglers (Li et al. 2020, "Federated Optimization in Heterogeneous Networks", section 5.2): a
  fixed share of the cohort, drawn each round, manages only x epochs, x uniform on 1, …, E (for
  E < 2 uniform on (0, E)). Their partial work is kept, or they are dropped.
- Dropouts: every client fails, independently, after receiving the model and before sending.
- Phones that stop being ready (`fl_research.population.readiness`): a round begins when as many
  clients are ready as are wanted, and a client whose phone stops being ready before its time is up
  drops out. The server hears of it then; where it needs that client, it has waited so long.
- Over-selection (Bonawitz et al. 2019, "Towards Federated Learning at Scale", section 2.2): more
  clients are selected than are wanted, and the server goes on when the wanted number has reported.

A client that does not upload leaves no trace: neither update nor a new client state.

Differences from the paper:
1. Stragglers: for E < 2 the share of the epoch is uniform on (0, E), which the paper leaves out;
   the paper's text draws from 1..E, as here, the authors' code from 1..E-1.
2. Over-selection: who reports first is the virtual clock's say, uploads counted uncompressed. So is
   which phones stop being ready too early, also those that the server would not have waited for.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Optional

import numpy as np

from fl_research import random_streams
from fl_research.population.cohorts import CohortSampler
from fl_research.population.devices import Clock
from fl_research.population.readiness import Readiness


@dataclasses.dataclass(frozen=True)
class RoundPlan:
  """Who does what in one round.

  Attributes:
    selected: positions of all clients that receive the model, ascending.
    uploading: positions of those whose updates arrive, ascending.
    epochs: epochs each uploading client trains.
    stragglers: number of selected clients that were stragglers.
    dropouts: number of selected clients that failed before sending.
    begins: the round does not begin before this second of the virtual clock.
    last_dropout: the round does not end before so many seconds, at which it is known that the last
      client whose phone stopped being ready will not report.
    further_bytes_down, further_bytes_up: what was received and sent besides by clients that were
      asked something before they were chosen, or before they sent.
    seconds_before: how long that took before training could begin.
    knows_model: whether the selected had received the model by then.
  """

  selected: np.ndarray
  uploading: np.ndarray
  epochs: np.ndarray
  stragglers: int
  dropouts: int
  begins: float = 0.0
  last_dropout: float = 0.0
  further_bytes_down: int = 0
  further_bytes_up: int = 0
  seconds_before: float = 0.0
  knows_model: bool = False


Choose = Callable[[np.ndarray], np.ndarray]
"""Positions of the clients that can be chosen, one at least -> of the cohort; both ascending."""


@dataclasses.dataclass(frozen=True)
class Participation:
  """Draws the plan of each round.

  Attributes:
    sampler: draws the cohort, over-selection included.
    wanted: number of reports after which the round ends; 0 for all.
    epochs: E.
    straggler_fraction: share of the cohort that straggles.
    keep_stragglers: whether their partial work counts.
    dropout_probability: of failing before sending.
    devices: the virtual clock.
    bytes_down, bytes_up: what each client receives and sends, for the clock.
    seed: the run's seed.
    readiness: whose phones are ready when; None where all always are.
    max_examples: a client uses at most so many of its examples in a round; None for all.
  """

  sampler: CohortSampler
  wanted: int
  epochs: float
  straggler_fraction: float
  keep_stragglers: bool
  dropout_probability: float
  devices: Clock
  bytes_down: int
  bytes_up: int
  seed: int
  readiness: Optional[Readiness] = None
  max_examples: Optional[int] = None

  def plan(
    self, round_num: int, seconds: float = 0.0, choose: Optional[Choose] = None
  ) -> RoundPlan:
    """The plan of a round; the same for the same seed, round and time.

    Args:
      round_num: the round.
      seconds: when the round before has ended, on the virtual clock; read with `readiness` only.
      choose: who chooses the cohort; the sampler draws it when None.

    Raises:
      UsageError: enough clients are never ready.
    """
    begins, ready = self._begin(seconds)
    selected = self._select(round_num, ready, choose)
    epochs, straggles = self._straggle(len(selected), round_num)
    luck = self._generator('dropouts', round_num).random(len(selected))
    takes = self._seconds(selected, epochs, round_num)
    left = self._left(selected, begins)
    late = takes > left
    fails = (luck < self.dropout_probability) | late
    able = ~fails & (self.keep_stragglers | ~straggles)
    uploads = self._first_to_report(takes, able)
    sufficient = self.wanted and uploads.sum() == self.wanted
    return RoundPlan(
      selected=selected,
      uploading=selected[uploads],
      epochs=epochs[uploads],
      stragglers=int(straggles.sum()),
      dropouts=int(fails.sum()),
      begins=begins,
      last_dropout=0.0 if sufficient else float(left[late].max(initial=0.0)),
    )

  def luck(self, number: int) -> tuple[float, bool, bool]:
    """What becomes of one client's work where there are no cohorts: epochs, straggles, fails.

    Whether it straggles is drawn for each by itself, with probability `straggler_fraction`.

    Args:
      number: which work of the run it is.
    """
    fails, straggles, share = self._generator('assignment', number).random(3)
    if straggles >= self.straggler_fraction:
      return float(self.epochs), False, bool(fails < self.dropout_probability)
    whole = math.ceil((1.0 - share) * int(self.epochs))
    epochs = float(whole) if self.epochs >= 2 else self.epochs * (1.0 - share)
    return epochs, True, bool(fails < self.dropout_probability)

  def visited(self, clients: np.ndarray, epochs: np.ndarray) -> np.ndarray:
    """Examples that each of some clients visits in so many epochs: float64 [clients]."""
    sizes = self.sampler.sizes[clients]
    return epochs * (sizes if self.max_examples is None else np.minimum(sizes, self.max_examples))

  def _select(
    self, round_num: int, ready: Optional[np.ndarray], choose: Optional[Choose]
  ) -> np.ndarray:
    if choose is None:
      return self.sampler.cohort(round_num, ready)
    eligible = np.asarray(self.sampler.eligible(round_num, ready))
    return choose(eligible) if len(eligible) else eligible

  def _begin(self, seconds: float) -> tuple[float, Optional[np.ndarray]]:
    """When the round begins, and who is ready then; (0, None) where all always are."""
    if self.readiness is None:
      return 0.0, None
    enough = self.wanted or self.sampler.clients_per_round
    begins = self.readiness.earliest(seconds, enough, self.sampler.sizes > 0)
    return begins, self.readiness.at(begins)

  def _seconds(self, selected: np.ndarray, epochs: np.ndarray, round_num: int) -> np.ndarray:
    """Time each selected client takes; zeros where nobody asks for it."""
    if not self.wanted and self.readiness is None:
      return np.zeros(len(selected))
    visited = self.visited(selected, epochs)
    return self.devices.seconds(selected, visited, self.bytes_down, self.bytes_up, round_num)

  def _left(self, selected: np.ndarray, begins: float) -> np.ndarray:
    """Seconds that each selected client's phone stays ready."""
    if self.readiness is None:
      return np.full(len(selected), np.inf)
    return self.readiness.until(selected, begins) - begins

  def _generator(self, purpose: str, round_num: int) -> np.random.Generator:
    return random_streams.generator(self.seed, purpose, round_num)

  def _straggle(self, count: int, round_num: int) -> tuple[np.ndarray, np.ndarray]:
    """Epochs of each selected client, and which of them are stragglers."""
    epochs = np.full(count, float(self.epochs))
    straggles = np.zeros(count, bool)
    number = round(self.straggler_fraction * count)
    if number:
      generator = self._generator('stragglers', round_num)
      straggles[generator.choice(count, number, replace=False)] = True
      if self.epochs >= 2:
        epochs[straggles] = generator.integers(1, int(self.epochs), number, endpoint=True)
      else:
        # 1 - random() is in (0, 1]: nobody does nothing.
        epochs[straggles] *= 1.0 - generator.random(number)
    return epochs, straggles

  def _first_to_report(self, takes: np.ndarray, uploads: np.ndarray) -> np.ndarray:
    """bool: the `wanted` clients, among those that upload, that are done first."""
    if not self.wanted or uploads.sum() <= self.wanted:
      return uploads
    seconds = np.where(uploads, takes, np.inf)
    first = np.argsort(seconds, kind='stable')[: self.wanted]
    return np.isin(np.arange(len(uploads)), first)
