"""Power-of-Choice: of a few candidates those train whose losses are highest.

Cho, Wang, Joshi 2022, "Towards Understanding Biased Client Selection in Federated Learning"
(2020 on arXiv, "Client Selection in Federated Learning: Convergence Analysis and Power-of-Choice
Selection Strategies"), section 4. A cohort of m is chosen in three steps:

    A: d ≥ m candidates, drawn without replacement, likely in proportion to their examples
    F_k(w): every candidate's loss of the present model w
    S: the m of A with the highest losses

The larger d, the more the choice is bent towards high losses: with d = m it is
`--cohort_sampling=by_size`. d is `--power_of_choice_candidates`, m `--clients_per_round`. Whose
loss it is says `--power_of_choice_loss`:

    all     pow-d: on all examples of the candidate
    batch   cpow-d: on one batch of them, drawn anew in every round
    last    rpow-d: the mean loss over its steps in the last round in which it trained, infinite
            for who never has; nobody is asked, and it costs nothing

Where candidates are asked, each receives the model: `bytes_down` counts the round's message for all
of them, `bytes_up` their answers of 4 bytes, the column `sampling/asked` how many there are. The
virtual clock waits for the slowest answer, an example costing a third of what it costs in training,
which has a backward pass besides; those chosen have the model then.

Differences from the paper:
1. The paper weighs the chosen clients alike; here `--client_weighting=uniform` does, and the
   default is the method's.
2. The paper draws ties by lot. Here the candidate wins that was drawn first, which is by lot too.
3. Of candidates, those who then fail to report (`--dropout_probability`) keep their last loss, and
   a loss that is no number counts as the lowest.
4. Losses are those of metrics, without class weights; "last" averages over examples, which for a
   smaller last batch is not the same as over steps.
5. Who is first of a cohort that is over-selected, and whose phone stops being ready too early, is
   told as if training began with the download.
"""

from collections.abc import Mapping
import math

import numpy as np

from fl_research.population import draws, rule


class PowerOfChoice:
  """A `rule.Rule`.

  Args:
    candidates: d; 0 for twice the cohort.
    loss: `all`, `batch` or `last`.
  """

  needs_squared_losses = False
  columns = ()

  def __init__(self, candidates: int, loss: str):
    self.candidates = candidates
    self.asks = loss != 'last'
    self._loss = loss

  def choose(self, moment: rule.Moment) -> np.ndarray:
    # By this name, so that d = m is `by_size` itself.
    generator = moment.generator('cohort by_size')
    number = max(self.candidates or 2 * moment.count, moment.count)
    drawn = draws.by_size(generator, moment.eligible, moment.sizes, number)
    if len(drawn) <= moment.count:
      return drawn
    losses = moment.ask(drawn, self._loss == 'batch') if self.asks else moment.scores.loss[drawn]
    return drawn[highest(losses, moment.count)]

  def learn(self, reported, scores) -> None:
    """All it needs is in the scores."""

  def measures(self) -> Mapping[str, float]:
    return {}

  def saved(self) -> Mapping[str, np.ndarray]:
    return {}

  def resume(self, saved) -> None:
    """Nothing is remembered besides the scores."""


def highest(losses: np.ndarray, count: int) -> np.ndarray:
  """Places of the highest losses; of equal ones the first, and a NaN is lower than all."""
  known = np.where(np.isnan(losses), -math.inf, losses)
  return np.argsort(-known, kind='stable')[:count]


def build(*, candidates: int, loss: str) -> PowerOfChoice:
  """The registry's entry point; the arguments are those of `PowerOfChoice`."""
  return PowerOfChoice(candidates, loss)
