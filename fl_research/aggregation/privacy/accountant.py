"""What a number of rounds of the private mean costs: (ε, δ), for the sampling that was used.

The protected unit is a client with all its data. Per round, one client changes the sum of clipped
updates by at most C where it is added or removed, and by at most 2 C where it is replaced, so that
noise of standard deviation z C is a Gaussian mechanism of multiplier z in the first case and z / 2
in the second. N clients, m of them expected in a cohort:

| sampling       | neighbouring data sets  | one round                                       |
|----------------|-------------------------|-------------------------------------------------|
| poisson        | one client more or less | Gaussian of z, Poisson-sampled with q = m / N   |
| uniform, m < N | one client replaced     | Gaussian of z / 2, sampled without replacement  |
| uniform, m = N | one client more or less | Gaussian of z                                   |
| availability   | one client replaced     | Gaussian of z / 2, not amplified: the trace may |
|                |                         | leave no choice, so everybody might be drawn    |

Local noise (`fl_research.aggregation.privacy.local_noise`) is accounted as the last line has it,
for the rounds in which a client was drawn: what it sends is its own, and who was drawn is known.

ε for replacement and for adding-or-removing are different promises; two runs compare only under the
same relation. m = N is the same mechanism as Poisson sampling with q = 1 and has the same ε.
Other samplings are refused: `by_size` draws with probabilities that are private themselves, and
`with_replacement` may count a client more than once.

Composition over rounds is by Rényi differential privacy (Mironov 2017; subsampling without
replacement by Wang, Balle, Kasiviswanathan 2019, theorem 27), or, tighter, by privacy loss
distributions (PLD), which are not available for sampling without replacement. Both are computed by
the dp-accounting library.

Discrete Gaussian noise has the same Rényi divergences at whole orders, and no larger ones between
them (see `fl_research.aggregation.privacy.discrete_mean`). Under Poisson sampling only whole orders
are used of it, as the formula for others is about the continuous one; PLDs are not used at all.
"""

import bisect
from collections.abc import Callable, Sequence
import dataclasses
import functools
import math

import dp_accounting
from dp_accounting import pld, rdp
import numpy as np

from fl_research.registry import UsageError

ACCOUNTED = ('poisson', 'uniform', 'availability')
"""The ways of drawing cohorts for which a privacy guarantee is known."""

# Multipliers are solved for in steps of 1 / 10,000, from a smallest one of 0.05.
_STEPS_PER_UNIT = 10_000
_FEWEST_STEPS = 500
_SMALLEST_INTERVAL, _LARGEST_INTERVAL = 1e-4, 1e-3
_NEAR, _WEAK = 0.5, 10.0
_PAPER_ORDERS = range(2, 34)


@dataclasses.dataclass(frozen=True)
class Sampling:
  """How cohorts are drawn, as far as privacy is concerned.

  Attributes:
    scheme: one of `population.cohorts.SAMPLINGS`, or `availability`: uniform among those that a
      trace of rounds says are available.
    num_clients: N.
    expected_cohort: m, at most N.
  """

  scheme: str
  num_clients: int
  expected_cohort: int

  @property
  def everybody(self) -> bool:
    """Whether every client takes part in every round."""
    return self.scheme in ('poisson', 'uniform') and self.expected_cohort == self.num_clients

  @property
  def amplifies(self) -> bool:
    """Whether being drawn is uncertain, and counted as protection."""
    return self.scheme in ('poisson', 'uniform') and not self.everybody

  @property
  def probability(self) -> float:
    """q: of being drawn, as far as it counts as protection."""
    return self.expected_cohort / self.num_clients if self.amplifies else 1.0

  @property
  def neighbors(self) -> dp_accounting.NeighboringRelation:
    """Between which data sets the guarantee holds."""
    if self.scheme == 'poisson' or self.everybody:
      return dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    return dp_accounting.NeighboringRelation.REPLACE_ONE

  def effective_multiplier(self, noise_multiplier: float) -> float:
    """The noise in units of the most that one client can change."""
    replaces = self.neighbors is dp_accounting.NeighboringRelation.REPLACE_ONE
    return noise_multiplier / 2 if replaces else noise_multiplier

  def event(self, noise_multiplier: float) -> dp_accounting.DpEvent:
    """One round of the private mean under noise of standard deviation `noise_multiplier` C."""
    gaussian = dp_accounting.GaussianDpEvent(self.effective_multiplier(noise_multiplier))
    if not self.amplifies:
      return gaussian
    if self.scheme == 'poisson':
      return dp_accounting.PoissonSampledDpEvent(self.probability, gaussian)
    return dp_accounting.SampledWithoutReplacementDpEvent(
      self.num_clients, self.expected_cohort, gaussian
    )


def check(method: str, sampling: Sampling, discrete: bool = False) -> None:
  """Raises `UsageError` when a sampling cannot be accounted for, by this method or at all."""
  if method == 'pld' and discrete:
    raise UsageError(
      '--dp_accountant=pld: not with --dp_noise=cryptographic, as privacy loss distributions are '
      'known for continuous noise only; use --dp_accountant=rdp'
    )
  if sampling.scheme not in ACCOUNTED:
    raise UsageError(
      f'--cohort_sampling={sampling.scheme}: no privacy guarantee is known; accepted with '
      'differential privacy are poisson and uniform'
    )
  if method == 'pld' and sampling.scheme == 'uniform' and not sampling.everybody:
    raise UsageError(
      '--dp_accountant=pld: no privacy loss distribution is known for cohorts of fixed size; '
      'use --dp_accountant=rdp or --cohort_sampling=poisson'
    )


class Accountant:
  """ε after any number of rounds at a fixed δ, cheap to ask for.

  Args:
    method: one of `privacy.ACCOUNTANTS`.
    sampling: how cohorts are drawn.
    noise_multiplier: z ≥ 0.
    delta: δ in (0, 1).
    discrete: whether the noise is the discrete Gaussian.

  Raises:
    UsageError: the sampling cannot be accounted for.
  """

  def __init__(
    self,
    method: str,
    sampling: Sampling,
    noise_multiplier: float,
    delta: float,
    discrete: bool = False,
  ):
    check(method, sampling, discrete)
    self._method = method
    self._whole_orders = discrete and sampling.scheme == 'poisson' and sampling.amplifies
    self._sampling = sampling
    self._noise_multiplier = noise_multiplier
    self.delta = delta

  def epsilon(self, rounds: int) -> float:
    """ε after so many rounds; 0 before the first, infinite without noise."""
    if rounds == 0:
      return 0.0
    if self._noise_multiplier == 0:
      return math.inf
    if self._method == 'pld':
      return float(self._composed_losses(rounds).get_epsilon_for_delta(self.delta))
    orders, costs = self._renyi_costs
    return float(rdp.compute_epsilon(orders, rounds * costs, self.delta)[0])

  @functools.cached_property
  def _renyi_costs(self) -> tuple[Sequence[float], np.ndarray]:
    """The orders, and one round's Rényi divergence at each."""
    orders = rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS
    if self._whole_orders:
      orders = [order for order in orders if order == int(order)]
    accountant = rdp.RdpAccountant(orders, self._sampling.neighbors)
    accountant.compose(self._sampling.event(self._noise_multiplier))
    # For huge multipliers rounding makes some of them a little negative.
    return orders, np.maximum(accountant.rdp, 0.0)

  def _composed_losses(self, rounds: int) -> pld.privacy_loss_distribution.PrivacyLossDistribution:
    """The privacy loss distribution of all rounds together."""
    if self._sampling.amplifies:
      return self._losses.self_compose(rounds)
    # Gaussians compose to a Gaussian.
    multiplier = self._sampling.effective_multiplier(self._noise_multiplier)
    return pld.privacy_loss_distribution.from_gaussian_mechanism(
      multiplier / math.sqrt(rounds), value_discretization_interval=_LARGEST_INTERVAL
    )

  @functools.cached_property
  def _losses(self) -> pld.privacy_loss_distribution.PrivacyLossDistribution:
    """One round's privacy loss distribution under Poisson sampling."""
    return pld.privacy_loss_distribution.from_gaussian_mechanism(
      self._noise_multiplier,
      value_discretization_interval=_interval(self._sampling.probability, self._noise_multiplier),
      sampling_prob=self._sampling.probability,
    )


def _interval(probability: float, noise_multiplier: float) -> float:
  """What one round's losses are rounded up to multiples of, which bounds the time that a row takes.

  A twentieth of the standard deviation of the losses, q sqrt(exp(z⁻²) - 1), keeps ε within 1 % of
  its limit; at most 1e-3 (10 ms for 10,000 rounds of ordinary ε), at least the library's 1e-4.
  """
  spread = probability * math.sqrt(math.expm1(min(noise_multiplier**-2, 100.0)))
  return min(max(spread / 20, _SMALLEST_INTERVAL), _LARGEST_INTERVAL)


def default_delta(num_clients: int) -> float:
  """δ = N^-1.1, the choice of McMahan et al. 2018, table 1.

  Raises:
    UsageError: there is one client only, and δ would be 1.
  """
  if num_clients < 2:
    raise UsageError('--dp_delta: must be given when there is one client only')
  return num_clients**-1.1


def cautions(epsilon: float, delta: float, num_clients: int) -> tuple[str, ...]:
  """What to bear in mind of a guarantee that says little, each as a sentence."""
  said = []
  if delta * num_clients >= _NEAR:
    said.append(
      f'delta = {delta:.2g} is {delta * num_clients:.2g} / N at N = {num_clients} clients, where '
      'publishing one client drawn at random would have epsilon = 0 and delta = 1 / N.'
    )
  if epsilon >= _WEAK:
    said.append(
      f'epsilon = {epsilon:.3g} lets the odds of a guess about one client change by a factor of '
      f'{_power_of_ten(epsilon)}: it is a figure to compare runs by, hardly protection.'
    )
  return tuple(said)


def _power_of_ten(epsilon: float) -> str:
  """exp(epsilon), which may be too large for a float, roughly."""
  return 'any size' if math.isinf(epsilon) else f'10^{math.floor(epsilon / math.log(10))}'


@functools.cache
def solve_noise_multiplier(
  method: str,
  sampling: Sampling,
  rounds: int,
  target_epsilon: float,
  delta: float,
  discrete: bool = False,
) -> float:
  """The smallest z of four decimals with ε ≤ `target_epsilon` after the rounds.

  Raises:
    UsageError: the sampling cannot be accounted for, or the target is so large that hardly any
      noise meets it.
  """
  check(method, sampling, discrete)

  def meets(steps: int, method: str = method) -> bool:
    accountant = Accountant(method, sampling, steps / _STEPS_PER_UNIT, delta, discrete)
    return accountant.epsilon(rounds) <= target_epsilon

  if meets(_FEWEST_STEPS, 'rdp'):
    raise UsageError(
      f'--target_epsilon={target_epsilon:g}: met by a noise multiplier of '
      f'{_FEWEST_STEPS / _STEPS_PER_UNIT} already, which protects nobody; accepted is less'
    )
  most = _STEPS_PER_UNIT
  while not meets(most, 'rdp'):
    most *= 2
  steps = _first(_FEWEST_STEPS, most, lambda steps: meets(steps, 'rdp'))
  if method == 'rdp':
    return steps / _STEPS_PER_UNIT
  # Loss distributions of small multipliers are large: stay just below what the looser bound needs.
  fewest = steps * 9 // 10
  while meets(fewest):
    fewest = fewest * 9 // 10
  return _first(fewest, steps, meets) / _STEPS_PER_UNIT


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
  """The smallest number from `low` to `high` for which a growing condition holds."""
  return low + bisect.bisect_left(range(low, high), True, key=holds)


def moments_accountant_epsilon(
  sampling_probability: float, noise_multiplier: float, rounds: int, delta: float
) -> float:
  """ε as McMahan et al. 2018, table 1, computed it, looser than what is known today.

  The moments accountant of Abadi et al. 2016, "Deep Learning with Differential Privacy": integer
  orders a from 2 to 33 and the conversion ε = min_a (T rdp(a) + log(1/δ) / (a - 1)). The paper's
  row with z = 3 shows the limit on the orders: larger ones would halve its ε.
  """
  accountant = rdp.RdpAccountant(_PAPER_ORDERS)
  accountant.compose(
    dp_accounting.PoissonSampledDpEvent(
      sampling_probability, dp_accounting.GaussianDpEvent(noise_multiplier)
    )
  )
  orders = np.array(_PAPER_ORDERS)
  return float(np.min(rounds * accountant.rdp - math.log(delta) / (orders - 1)))
