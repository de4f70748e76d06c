"""Oort: clients whose data are of use and that are fast, and some that nobody knows yet.

Lai, Zhu, Madhyastha, Chowdhury 2021, "Oort: Efficient Federated Learning via Guided Participant
Selection", algorithm 1 and section 4. Of a client that has reported the server knows its utility,
and of round R

    U_i = |B_i| sqrt(mean over B_i of loss²)
    s_i = scaled(U_i) + sqrt(0.1 log R / L_i),   times (T / t_i)^α where t_i > T

with L_i the round of its last report, t_i its time on the virtual clock; `scaled` bounds utilities
by their quantile `clip`, so that no outlier counts more, and moves the range of those that can be
chosen to [0, 1]. Of a cohort of K, ε K are clients that never reported, drawn likely in proportion
to their examples; the others are drawn, in proportion to s_i, among those with s_i ≥ c times the
score of rank (1 - ε) K. ε begins at `exploration` and decays to `exploration_min`, and is 0 once
everybody is known.

T is the time within which the share q of the known clients is done. q begins at `pacer_start`;
every W rounds the pacer compares the utility that the last W rounds have brought with that of the
W before, and where it has not risen, raises q by `pacer_delta`: with all slow ones let in at q = 1.
Clients that have reported more than `most_rounds` times are left out, where others are there.

Training reports one more number, the squared losses. Columns `sampling/exploration` (ε) and
`sampling/preferred_seconds` (T; empty while nobody counts as slow) say how it stands.

Differences from the paper:
1. T is a quantile of the times that are known, as in the authors' code; in the paper it is a number
   of seconds, and so is what the pacer adds. As in the paper the pacer only ever raises it; the
   code also lowers it, where utility has changed more than fivefold.
2. `scaled` is the authors' code's; algorithm 1 adds the bonus to U_i itself, next to which it would
   be nothing. Clipping is at 95 %, as in the paper.
3. Squared losses are averaged over all passes of a round, each before the step that used it; the
   code takes the first pass.
4. New clients are drawn by their examples; in the paper by their speed, which the server of a
   simulation has no business to know beforehand.
5. What of a cohort cannot be filled so is filled by lot with others that can be chosen, those left
   out among them.
"""

from collections.abc import Mapping
import math

import numpy as np

from fl_research.population import draws, rule

_LARGEST_SQUARE = 1e300
_LEAST_SCORE = 1e-6  # Above 0, so that a cohort can be drawn of as many as are wanted.


class Oort:
  """A `rule.Rule`; the arguments are those of the registry.

  It remembers the utility of every round since the pacer last looked twice back, and q.
  """

  candidates = None
  asks = False
  needs_squared_losses = True
  columns = ('exploration', 'preferred_seconds')

  def __init__(
    self,
    exploration: float,
    exploration_decay: float,
    exploration_min: float,
    alpha: float,
    clip: float,
    cutoff: float,
    pacer_start: float,
    pacer_rounds: int,
    pacer_delta: float,
    most_rounds: int,
  ):
    self._exploration = exploration
    self._decay = exploration_decay
    self._least = exploration_min
    self._alpha = alpha
    self._clip = clip
    self._cutoff = cutoff
    self._start = pacer_start
    self._window = pacer_rounds
    self._delta = pacer_delta
    self._most_rounds = most_rounds
    self._measures: dict[str, float] = {}
    self._history = np.zeros(0)
    self._quantile = pacer_start

  def choose(self, moment: rule.Moment) -> np.ndarray:
    eligible, scores = moment.eligible, moment.scores
    known = scores.seen[eligible] > 0
    fresh = eligible[~known]
    candidates = eligible[known]
    if self._most_rounds:
      candidates = candidates[scores.times[candidates] <= self._most_rounds]
    share = self.exploration(moment.round_num) if len(fresh) else 0.0
    wanted = min(moment.count, len(eligible))
    number = min(wanted - min(math.ceil(share * wanted), len(fresh)), len(candidates))
    preferred = self.preferred_seconds(scores)
    self._measures = {'exploration': share}
    if math.isfinite(preferred):
      self._measures['preferred_seconds'] = preferred
    known_ones = self._exploit(moment, candidates, number, preferred)
    chosen = np.concatenate([known_ones, self._explore(moment, fresh, wanted - number)])
    if len(chosen) == wanted:
      return chosen
    rest = np.setdiff1d(eligible, chosen, assume_unique=True)
    generator = moment.generator('cohort oort rest')
    return np.concatenate([chosen, generator.choice(rest, wanted - len(chosen), replace=False)])

  def exploration(self, round_num: int) -> float:
    """ε of a round, from 1, while there are clients that are new."""
    return max(self._exploration * self._decay ** (round_num - 1), self._least)

  def preferred_seconds(self, scores) -> float:
    """T: the smallest time within which the share q of the known clients is done."""
    seconds = scores.seconds[scores.seen > 0]
    if self._quantile >= 1.0 or not len(seconds):
      return math.inf
    return float(np.quantile(seconds, self._quantile, method='inverted_cdf'))

  def scores_of(self, moment: rule.Moment, clients: np.ndarray, preferred: float) -> np.ndarray:
    """s_i of clients that have reported: float64."""
    scores = moment.scores
    utility = utilities(scores, clients)
    bound = np.quantile(utility, self._clip, method='inverted_cdf')
    utility = np.minimum(utility, bound)
    lowest = utility.min()
    scaled = (utility - lowest) / max(bound - lowest, _LEAST_SCORE)
    bonus = np.sqrt(0.1 * math.log(moment.round_num) / scores.seen[clients])
    seconds = scores.seconds[clients]
    slow = seconds > preferred
    penalty = np.where(slow, preferred / np.where(slow, seconds, 1.0), 1.0) ** self._alpha
    return (scaled + bonus) * penalty

  def _exploit(
    self, moment: rule.Moment, clients: np.ndarray, number: int, preferred: float
  ) -> np.ndarray:
    """So many of the clients that have reported."""
    if not number:
      return clients[:0]
    score = self.scores_of(moment, clients, preferred)
    rank = len(score) - number
    enough = self._cutoff * np.partition(score, rank)[rank]
    pool = score >= enough
    weight = np.maximum(score[pool], _LEAST_SCORE)
    generator = moment.generator('cohort oort known')
    return generator.choice(clients[pool], number, replace=False, p=weight / weight.sum())

  def _explore(self, moment: rule.Moment, clients: np.ndarray, number: int) -> np.ndarray:
    """So many of the clients that never have, or all where they are fewer."""
    if not len(clients):
      return clients
    return draws.by_size(moment.generator('cohort oort new'), clients, moment.sizes, number)

  def learn(self, reported, scores) -> None:
    """The pacer: raises q where utility has not risen from W rounds to the next."""
    if not self._window:
      return
    brought = float(utilities(scores, reported).sum())
    self._history = np.append(self._history, brought)
    if len(self._history) < 2 * self._window:
      return
    before, last = np.split(self._history, 2)
    self._history = last
    if before.sum() > last.sum():
      self._quantile = min(self._quantile + self._delta, 1.0)

  def measures(self) -> Mapping[str, float]:
    return self._measures

  def saved(self) -> Mapping[str, np.ndarray]:
    return {'history': self._history, 'quantile': np.array(self._quantile)}

  def resume(self, saved) -> None:
    self._history = np.asarray(saved['history']) if saved else np.zeros(0)
    self._quantile = float(saved['quantile']) if saved else self._start


def utilities(scores, clients: np.ndarray) -> np.ndarray:
  """U_i of clients that have reported: float64."""
  # In float32 squares of losses overflow where training diverges, which is not to end the run.
  squares = np.nan_to_num(scores.squared_loss[clients], nan=0.0, posinf=_LARGEST_SQUARE)
  return scores.examples[clients] * np.sqrt(squares)


def build(**hyperparameters) -> Oort:
  """The registry's entry point; the arguments are those of `Oort`."""
  return Oort(**hyperparameters)
