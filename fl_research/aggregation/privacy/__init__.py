"""Differential privacy of clients: the noisy mean, what it costs, and the words of its flags."""

from collections.abc import Mapping

from fl_research import registry

_MEAN = 'fl_research.aggregation.privacy.dp_mean'
_DISCRETE = 'fl_research.aggregation.privacy.discrete_mean'
_ACCOUNTANT = 'fl_research.aggregation.privacy.accountant'

CLIPPINGS: Mapping[str, registry.Entry] = {
  'fixed': registry.Entry(_MEAN, 'dp_clip_norm in every round (McMahan et al. 2018)'),
  'adaptive': registry.Entry(
    _MEAN, 'follows a quantile of the norms of updates (Andrew et al. 2021)'
  ),
}
"""How the clipping norm is chosen: `PrivateMean` has both."""

NOISES: Mapping[str, registry.Entry] = {
  'simulation': registry.Entry(
    _MEAN,
    'float32 noise that --seed gives back to anybody, and whose last bits may tell (Mironov 2012): '
    'for research on data that need no protection',
  ),
  'cryptographic': registry.Entry(
    _DISCRETE,
    "exact discrete Gaussian noise, and cohorts, from the system's generator: for a model that is "
    'released; two runs of the same flags differ',
  ),
}
"""Where noise comes from: each has a mean of its own."""

ACCOUNTANTS: Mapping[str, registry.Entry] = {
  'rdp': registry.Entry(_ACCOUNTANT, 'Renyi differential privacy'),
  'pld': registry.Entry(
    _ACCOUNTANT, 'privacy loss distributions: tighter, but not for fixed-size cohorts'
  ),
}
"""The ways of composing rounds: `Accountant` has both."""
