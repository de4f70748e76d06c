"""A run's differential privacy: which noise it draws, and what it may say about it.

What the guarantee covers and what it does not, with clients as the protected unit, is said in
`fl_research.aggregation.privacy`, and from there to whoever starts a run or reads its manifest.

Rounds whose noise comes from the system's generator are other rounds when they are made again.
Where a run died after rounds that its checkpoints do not have, whoever read its tables has seen
their results: such rounds count a second time.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, Optional

from fl_research import random_streams
from fl_research.aggregation import combiner
from fl_research.aggregation import privacy as privacy_words
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.privacy import accountant as accountant_lib
from fl_research.aggregation.privacy import discrete_mean, dp_mean
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.soundness import privacy


@dataclasses.dataclass
class Guarantee:
  """The privacy of one run.

  Attributes:
    settings: the run's settings.
    sampling: how its cohorts are drawn.
    noise_multiplier: z, given or solved for.
    accountant: what gives ε.
    drawn_again: how many rounds were made, seen, lost and made again with other noise.
  """

  settings: Settings
  sampling: accountant_lib.Sampling
  noise_multiplier: float
  accountant: accountant_lib.Accountant
  drawn_again: int = 0

  def epsilon(self, round_num: int) -> float:
    """ε after a round, those that were made twice counted twice."""
    return self.accountant.epsilon(round_num + self.drawn_again)

  def columns(self) -> dict[str, Callable[[int], float]]:
    """The columns of metrics.csv, and their values by the number of the round."""
    return {
      'privacy/epsilon': self.epsilon,
      'privacy/delta': lambda round_num: self.accountant.delta,
    }

  def resolved(self) -> dict[str, Any]:
    """What flags that were left open, or solved for, amount to."""
    values = {
      'dp_noise_multiplier': self.noise_multiplier,
      'dp_delta': self.accountant.delta,
    }
    if self.settings.dp_clipping == 'adaptive':
      values['dp_count_noise'] = self._count_noise()
    return values

  def facts(self) -> dict[str, Any]:
    """What the manifest says, so that nobody must guess what ε stands for."""
    return {
      **self.resolved(),
      'unit': 'client',
      'neighbors': self.sampling.neighbors.name.lower(),
      'clients': self.sampling.num_clients,
      'expected_cohort': self.sampling.expected_cohort,
      'amplified_by_sampling': self.sampling.amplifies,
      'epsilon_after_all_rounds': self.epsilon(self.settings.total_rounds),
      'covers': privacy_words.COVERED,
      'does_not_cover': privacy_words.NOT_COVERED,
      'cautions': self.cautions(),
      'noise': privacy_words.NOISES[self.settings.dp_noise].summary,
      'same_flags_same_run': not self.settings.is_fresh,
      'rounds_drawn_again': self.drawn_again,
    }

  def cautions(self) -> tuple[str, ...]:
    """What to bear in mind of ε after all rounds."""
    epsilon, clients = self.epsilon(self.settings.total_rounds), self.sampling.num_clients
    return accountant_lib.cautions(epsilon, self.accountant.delta, clients)

  def words(self) -> str:
    """What a person should know who starts the run, in one line."""
    settings = self.settings
    epsilon, delta = self.epsilon(settings.total_rounds), self.accountant.delta
    shown = 'training metrics, cohort sizes, clipped_fraction and evaluations on clients are not'
    if settings.withholds:
      shown = 'what it does not cover is withheld, but for the manifest and the checkpoints'
    noise = 'float32 from --seed, which gives it back, so for simulation only'
    if settings.is_fresh:
      noise = "exact and the system's, so that the same flags do not give the same CSV"
    line = (
      f'epsilon = {epsilon:.3g} (delta = {delta:.2g}) after {settings.total_rounds} rounds covers '
      f'{privacy_words.COVERED}; {shown}; the noise is {noise}'
    )
    return ' '.join([f'differential privacy: {line}.', *self.cautions()])

  def _count_noise(self) -> float:
    cohort = self.sampling.expected_cohort
    return privacy.count_noise(self.settings, self.noise_multiplier, cohort)

  def aggregator(self, sums: sums_lib.Sums) -> combiner.Combiner:
    """The noisy mean, by sums in the clear or secure ones."""
    settings = self.settings
    clip_norm, adaptive = settings.dp_clip_norm, None
    # Without a norm of its own the run adapts it: `privacy.check` has seen to that.
    if clip_norm is None:
      clip_norm = settings.dp_initial_clip
      adaptive = dp_mean.AdaptiveClipping(
        settings.dp_target_quantile,
        settings.dp_clip_learning_rate,
        self._count_noise(),
      )
    cohort = self.sampling.expected_cohort
    if settings.is_fresh:
      return discrete_mean.DiscreteMean(clip_norm, self.noise_multiplier, cohort, adaptive, sums)
    return dp_mean.PrivateMean(
      clip_norm,
      self.noise_multiplier,
      cohort,
      random_streams.stateless_seed(settings.seed, 'privacy noise'),
      adaptive,
      sums,
    )


def build(settings: Settings, num_clients: int, cohort_size: int) -> Optional[Guarantee]:
  """The guarantee that the settings ask for; None when they ask for none.

  Args:
    settings: checked settings.
    num_clients: number of clients that can be drawn.
    cohort_size: number of clients that are wanted in a round.

  Raises:
    UsageError: it cannot be given for so many clients, or by the accountant that was chosen.
  """
  if not settings.is_private:
    return None
  delta = settings.dp_delta
  if delta is None:
    delta = accountant_lib.default_delta(num_clients)
  scheme = settings.cohort_sampling if settings.availability == 'always' else 'availability'
  sampling = accountant_lib.Sampling(scheme, num_clients, cohort_size)
  method, noise_multiplier = settings.dp_accountant, settings.dp_noise_multiplier
  if noise_multiplier is None:
    target = settings.target_epsilon
    if target is None:
      raise UsageError('--target_epsilon: must be given without --dp_noise_multiplier')
    noise_multiplier = accountant_lib.solve_noise_multiplier(
      method, sampling, settings.total_rounds, target, delta, settings.is_fresh
    )
    if settings.dp_clipping == 'adaptive':
      privacy.check_count_noise(settings, noise_multiplier)
  accountant = accountant_lib.Accountant(
    method, sampling, noise_multiplier, delta, settings.is_fresh
  )
  return Guarantee(settings, sampling, noise_multiplier, accountant)
