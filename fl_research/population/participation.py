"""What becomes of a cohort: stragglers, dropouts, over-selection, all functions of (seed, round).

- Stragglers (Li et al. 2020, "Federated Optimization in Heterogeneous Networks", section 5.2): a
  fixed share of the cohort, drawn each round, manages only x epochs, x uniform on 1, …, E (for
  E < 2 uniform on (0, E)). Their partial work is kept, or they are dropped.
- Dropouts: every client fails, independently, after receiving the model and before sending.
- Over-selection (Bonawitz et al. 2019, "Towards Federated Learning at Scale", section 2.2): more
  clients are selected than are wanted, and the server goes on when the wanted number has reported.

A client that does not upload leaves no trace: neither update nor a new client state.

Differences from the paper:
1. Stragglers: for E < 2 the share of the epoch is uniform on (0, E), which the paper leaves out;
   the paper's text draws from 1..E, as here, the authors' code from 1..E-1.
2. Over-selection: who reports first is the virtual clock's say, uploads counted uncompressed.
"""

import dataclasses
import math

import numpy as np

from fl_research import random_streams
from fl_research.population.cohorts import CohortSampler
from fl_research.population.devices import Devices


@dataclasses.dataclass(frozen=True)
class RoundPlan:
  """Who does what in one round.

  Attributes:
    selected: positions of all clients that receive the model, ascending.
    uploading: positions of those whose updates arrive, ascending.
    epochs: epochs each uploading client trains.
    stragglers: number of selected clients that were stragglers.
    dropouts: number of selected clients that failed before sending.
  """

  selected: np.ndarray
  uploading: np.ndarray
  epochs: np.ndarray
  stragglers: int
  dropouts: int


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
  """

  sampler: CohortSampler
  wanted: int
  epochs: float
  straggler_fraction: float
  keep_stragglers: bool
  dropout_probability: float
  devices: Devices
  bytes_down: int
  bytes_up: int
  seed: int

  def plan(self, round_num: int) -> RoundPlan:
    """The plan of a round; the same for the same seed and round."""
    selected = self.sampler.cohort(round_num)
    epochs, straggles = self._straggle(len(selected), round_num)
    luck = self._generator('dropouts', round_num).random(len(selected))
    fails = luck < self.dropout_probability
    uploads = ~fails & (self.keep_stragglers | ~straggles)
    uploads &= self._first_to_report(selected, epochs, uploads)
    return RoundPlan(
      selected=selected,
      uploading=selected[uploads],
      epochs=epochs[uploads],
      stragglers=int(straggles.sum()),
      dropouts=int(fails.sum()),
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

  def _first_to_report(
    self, selected: np.ndarray, epochs: np.ndarray, uploads: np.ndarray
  ) -> np.ndarray:
    """bool: the `wanted` clients, among those that upload, that are done first."""
    if not self.wanted or uploads.sum() <= self.wanted:
      return uploads
    visited = epochs * self.sampler.sizes[selected]
    seconds = self.devices.seconds(selected, visited, self.bytes_down, self.bytes_up)
    seconds = np.where(uploads, seconds, np.inf)
    first = np.argsort(seconds, kind='stable')[: self.wanted]
    return np.isin(np.arange(len(selected)), first)
