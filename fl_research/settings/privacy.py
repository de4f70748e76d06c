"""What the server, and readers of the model, may learn of a client."""

import dataclasses
from typing import Optional

from fl_research import domains
from fl_research.aggregation import privacy
from fl_research.settings import section

_setting = section.settings_of('Privacy')


@dataclasses.dataclass(frozen=True)
class SecureAggregation:
  """Settings of secure aggregation."""

  secure_aggregation: str = _setting(
    'none',
    'take sums over clients so that the server sees no single update (Bonawitz et al. 2017): none, '
    'clear (what it costs in accuracy; nothing is hidden from who simulates), or protocol (the '
    'same sums, by masks and their removal)',
    choices=lambda: ('none', 'clear', 'protocol'),
  )
  secure_sum_bound: float = _setting(
    1e4,
    "secure aggregation: greatest entry of a client's weight times its update; beyond it is cut",
    **domains.POSITIVE,
  )

  @property
  def is_secure(self) -> bool:
    """Whether sums are of whole numbers in a range, as secure sums must be."""
    return self.secure_aggregation != 'none'

  @property
  def by_protocol(self) -> bool:
    """Whether the protocol takes these sums."""
    return self.secure_aggregation == 'protocol'


@dataclasses.dataclass(frozen=True)
class DifferentialPrivacy:
  """Settings of differential privacy."""

  dp_noise_multiplier: Optional[float] = _setting(
    None,
    'differential privacy: z, the noise on the sum of updates (dp_place=local: on each of them) in '
    'units of the clipping norm',
    optional=float,
    **domains.FROM_0,
  )
  target_epsilon: Optional[float] = _setting(
    None,
    'differential privacy: solve for the z with which epsilon is this after total_rounds',
    optional=float,
    **domains.POSITIVE,
  )
  dp_place: str = _setting(
    privacy.CENTRAL,
    'differential privacy: who adds noise, the server to the sum of updates, or every client to '
    'its own before it is sent',
    choices=lambda: privacy.PLACES,
  )
  dp_noise: str = _setting(
    'simulation',
    "where noise and cohorts come from: the seed (the same run again), or the system's generator, "
    'exactly (no run comes again, and none can be undone)',
    choices=lambda: privacy.NOISES,
  )
  dp_clipping: str = _setting(
    'fixed', 'how the clipping norm is chosen', choices=lambda: privacy.CLIPPINGS
  )
  dp_clip_norm: Optional[float] = _setting(
    None, 'fixed clipping: largest norm of an update', optional=float, **domains.POSITIVE
  )
  dp_target_quantile: float = _setting(
    0.5,
    'adaptive clipping: gamma, the share of updates that should not be clipped',
    **domains.SHARE,
  )
  dp_clip_learning_rate: float = _setting(
    0.2, 'adaptive clipping: eta_C, how fast the norm moves', **domains.POSITIVE
  )
  dp_initial_clip: float = _setting(
    0.1, 'adaptive clipping: the first clipping norm', **domains.POSITIVE
  )
  dp_count_noise: Optional[float] = _setting(
    None,
    'adaptive clipping: sigma_b, noise on the count of unclipped updates (default '
    'clients_per_round / 20, and at least z); above z / 2',
    optional=float,
    **domains.FROM_0,
  )
  dp_delta: Optional[float] = _setting(
    None,
    'delta, the probability with which epsilon may fail (default clients^-1.1)',
    optional=float,
    valid=lambda v: 0 < v < 1,
    domain='a number above 0 and below 1',
  )
  dp_accountant: str = _setting(
    'rdp', 'how rounds are composed', choices=lambda: privacy.ACCOUNTANTS
  )

  private_metrics: str = _setting(
    'report',
    'differential privacy: report, or withhold from metrics.csv, clients.csv, TensorBoard and the '
    'screen, what epsilon does not cover',
    choices=lambda: ('report', 'withhold'),
  )

  @property
  def is_private(self) -> bool:
    """Whether updates are clipped and noised (with z = 0: clipped alone)."""
    return self.dp_noise_multiplier is not None or self.target_epsilon is not None

  @property
  def is_local(self) -> bool:
    """Whether every client adds noise to what it sends."""
    return self.is_private and self.dp_place == privacy.LOCAL

  @property
  def has_exact_noise(self) -> bool:
    """Whether noise is the discrete Gaussian, and no seed gives it back."""
    return self.is_private and self.dp_noise == 'cryptographic'

  @property
  def is_fresh(self) -> bool:
    """Whether noise and cohorts are drawn anew in every run, so that no seed gives them back."""
    return self.has_exact_noise and not self.is_local

  @property
  def withholds(self) -> bool:
    """Whether metrics are left out that epsilon does not cover."""
    return self.is_private and self.private_metrics == 'withhold'
