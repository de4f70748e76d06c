"""A run's differential privacy: which noise it draws, and what it may say about it.

What the guarantee covers and what it does not, with clients as the protected unit, is said in
`fl_research.aggregation.privacy`, and from there to whoever starts a run or reads its manifest.

Central noise: ε is of the sampling and the number of rounds. Local noise: every client has an ε of
its own, of the rounds in which it was drawn (`accountant.Sampling` of `availability`: replacement,
no amplification). Cohorts are functions of the seed, so that these are counted exactly, and ahead;
a run states the largest over clients. Who was drawn and dropped out counts all the same.

Rounds whose noise comes from the system's generator are other rounds when they are made again.
Where a run died after rounds that its checkpoints do not have, whoever read its tables has seen
their results: such rounds count a second time.
"""

from collections.abc import Callable
import dataclasses
from typing import Any, Optional

import numpy as np

from fl_research import random_streams
from fl_research.aggregation import combiner
from fl_research.aggregation import privacy as privacy_words
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.privacy import accountant as accountant_lib
from fl_research.aggregation.privacy import discrete_mean, dp_mean, local_noise
from fl_research.population import cohorts
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.soundness import privacy


class MostDraws:
  """In how many rounds the client was drawn that was drawn most often.

  Args:
    sampler: draws the cohorts, each a function of the round.
  """

  def __init__(self, sampler: cohorts.CohortSampler):
    self._sampler = sampler
    self._counts = np.zeros(len(sampler.sizes), np.int64)
    self._most = [0]

  def until(self, round_num: int) -> int:
    """After so many rounds."""
    while len(self._most) <= round_num:
      cohort = self._sampler.cohort(len(self._most))
      self._counts[cohort] += 1
      self._most.append(max(self._most[-1], self._counts[cohort].max(initial=0)))
    return int(self._most[round_num])


@dataclasses.dataclass
class Guarantee:
  """The privacy of one run.

  Attributes:
    settings: the run's settings.
    sampling: how its cohorts are drawn.
    noise_multiplier: z, given or solved for.
    accountant: what gives ε.
    drawn_again: how many rounds were made, seen, lost and made again with other noise.
    most_draws: in how many rounds a client takes part, where noise is local.
  """

  settings: Settings
  sampling: accountant_lib.Sampling
  noise_multiplier: float
  accountant: accountant_lib.Accountant
  drawn_again: int = 0
  most_draws: Optional[MostDraws] = None

  def epsilon(self, round_num: int) -> float:
    """ε after a round, those that were made twice counted twice; where noise is local, the largest
    over clients."""
    rounds = round_num if self.most_draws is None else self.most_draws.until(round_num)
    return self.accountant.epsilon(rounds + self.drawn_again)

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
    local = self.most_draws
    of_a_client = (
      {} if local is None else {'rounds_of_a_client': local.until(self.settings.total_rounds)}
    )
    return {
      **self.resolved(),
      'unit': 'client',
      'place': self.settings.dp_place,
      **of_a_client,
      'neighbors': self.sampling.neighbors.name.lower(),
      'clients': self.sampling.num_clients,
      'expected_cohort': self.sampling.expected_cohort,
      'amplified_by_sampling': self.sampling.amplifies,
      'epsilon_after_all_rounds': self.epsilon(self.settings.total_rounds),
      'covers': privacy_words.COVERED[self.settings.dp_place],
      'does_not_cover': self._not_covered(),
      'cautions': self.cautions(),
      'noise': self._noise(),
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
    exact = ['training metrics', 'cohort sizes', 'clipped_fraction', 'evaluations on clients']
    if self.most_draws is not None:
      exact.remove('clipped_fraction')
    shown = f'{", ".join(exact[:-1])} and {exact[-1]} are not'
    if settings.withholds:
      shown = 'what it does not cover is withheld, but for the manifest and the checkpoints'
    line = (
      f'epsilon = {epsilon:.3g} (delta = {delta:.2g}) after {settings.total_rounds} rounds '
      f'{self._whose()}covers {privacy_words.COVERED[settings.dp_place]}; {shown}; the noise is '
      f'{self._noise_in_short()}'
    )
    return ' '.join([f'differential privacy: {line}.', *self.cautions()])

  def _whose(self) -> str:
    """Of local noise, whose epsilon it is."""
    if self.most_draws is None:
      return ''
    drawn = self.most_draws.until(self.settings.total_rounds)
    return f'(of a client that is drawn in {drawn}, which no other exceeds) '

  def _noise_in_short(self) -> str:
    if not self.settings.has_exact_noise:
      return 'float32 from --seed, which gives it back, so for simulation only'
    if self.settings.is_local:
      return "exact and each site's own"
    return "exact and the system's, so that the same flags do not give the same CSV"

  def _noise(self) -> str:
    """Where noise comes from, in a sentence."""
    if self.settings.is_local and self.settings.has_exact_noise:
      return (
        'exact discrete Gaussian noise from a secret of each site, which gives it again where a '
        'round is asked for again, and to nobody else'
      )
    return privacy_words.NOISES[self.settings.dp_noise].summary

  def _not_covered(self) -> tuple[str, ...]:
    """What epsilon does not cover; with local noise the noisy mean measures nothing."""
    absent = () if self.most_draws is None else (privacy_words.CLIPPED_FRACTION,)
    return tuple(each for each in privacy_words.NOT_COVERED if each not in absent)

  def _count_noise(self) -> float:
    cohort = self.sampling.expected_cohort
    return privacy.count_noise(self.settings, self.noise_multiplier, cohort)

  def local_noise(self) -> local_noise.LocalNoise:
    """What clients do to their updates; sites that draw noise of their own only cut them here."""
    settings = self.settings
    # Without a norm, or with one that adapts, there is no such run: `privacy.check`.
    assert settings.dp_clip_norm is not None
    added = 0.0 if settings.has_exact_noise else self.noise_multiplier
    return local_noise.LocalNoise(settings.dp_clip_norm, added)

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


def build(
  settings: Settings, num_clients: int, cohort_size: int, sampler: cohorts.CohortSampler
) -> Optional[Guarantee]:
  """The guarantee that the settings ask for; None when they ask for none.

  Args:
    settings: checked settings.
    num_clients: number of clients that can be drawn.
    cohort_size: number of clients that are wanted in a round.
    sampler: draws the cohorts.

  Raises:
    UsageError: it cannot be given for so many clients, or by the accountant that was chosen.
  """
  if not settings.is_private:
    return None
  delta = settings.dp_delta
  if delta is None:
    delta = accountant_lib.default_delta(num_clients)
  most_draws, rounds, exact = None, settings.total_rounds, settings.has_exact_noise
  scheme = settings.cohort_sampling if settings.availability == 'always' else 'availability'
  if settings.is_local:
    scheme, most_draws = 'availability', MostDraws(sampler)
  sampling = accountant_lib.Sampling(scheme, num_clients, cohort_size)
  method, noise_multiplier = settings.dp_accountant, settings.dp_noise_multiplier
  if noise_multiplier is None:
    target = settings.target_epsilon
    if target is None:
      raise UsageError('--target_epsilon: must be given without --dp_noise_multiplier')
    if most_draws is not None:
      # Nobody may be drawn in a run of few rounds.
      rounds = max(most_draws.until(rounds), 1)
    noise_multiplier = accountant_lib.solve_noise_multiplier(
      method, sampling, rounds, target, delta, exact
    )
    if settings.dp_clipping == 'adaptive':
      privacy.check_count_noise(settings, noise_multiplier)
  accountant = accountant_lib.Accountant(method, sampling, noise_multiplier, delta, exact)
  return Guarantee(settings, sampling, noise_multiplier, accountant, most_draws=most_draws)
