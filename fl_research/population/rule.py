"""What rules are told, and what they say, that choose cohorts by what clients report.

The rules are those of `fl_research.population.choosers`.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Optional, Protocol

import numpy as np

from fl_research import random_streams
from fl_research.population.scores import Scores

Ask = Callable[[np.ndarray, bool], np.ndarray]
"""(clients, whether a batch is enough) -> each one's mean loss of the present model, float64."""


@dataclasses.dataclass(frozen=True)
class Moment:
  """What is known when a round begins.

  Attributes:
    seed: the run's seed.
    round_num: the round, from 1.
    eligible: positions that can be chosen, ascending; one at least.
    sizes: number of examples of every client of the population.
    count: how many are wanted.
    scores: what clients have reported.
    ask: has clients evaluate the present model, which costs a download.
  """

  seed: int
  round_num: int
  eligible: np.ndarray
  sizes: np.ndarray
  count: int
  scores: Scores
  ask: Ask

  def generator(self, purpose: str) -> np.random.Generator:
    """The generator of this round for one purpose."""
    return random_streams.generator(self.seed, purpose, self.round_num)


class Rule(Protocol):
  """Chooses cohorts.

  Attributes:
    candidates: how many candidates were asked for; None for rules without.
    asks: whether it may ask clients for their losses of the present model.
    needs_squared_losses: whether it reads `Scores.squared_loss`.
    columns: names of its columns in metrics.csv.
  """

  candidates: Optional[int]
  asks: bool
  needs_squared_losses: bool
  columns: tuple[str, ...]

  def choose(self, moment: Moment) -> np.ndarray:
    """Positions of the cohort, each once, in any order; all that can be chosen, if too few."""

  def learn(self, reported: np.ndarray, scores: Scores) -> None:
    """Takes notice of who has reported in the round, once the scores have it."""

  def measures(self) -> Mapping[str, float]:
    """Values of `columns` after a choice."""

  def saved(self) -> Mapping[str, np.ndarray]:
    """What it remembers besides the scores."""

  def resume(self, saved: Mapping[str, np.ndarray]) -> None:
    """Goes back to where `saved` was called; to the start when it is empty."""


class Sender(Protocol):
  """Says who of those that have trained sends its update.

  Attributes:
    candidates: how many are to train; 0 where nobody has said it.
  """

  candidates: int

  def probabilities(self, lengths: np.ndarray, count: int) -> np.ndarray:
    """With what probability each client sends, by itself: float64 [n] in [0, 1].

    Args:
      lengths: of its update, times what the update counts, at least 0.
      count: how many are to send in expectation.
    """
