"""How clients' updates are combined, by name, each way imported only when it is built."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from fl_research import domains, registry
from fl_research.registry import Hyperparameter

_QUANTILE_RATE = Hyperparameter(0.2, 'how fast the estimated quantile moves', **domains.POSITIVE)
_F = Hyperparameter(1, 'f: attackers a round may have; 2f + 2 < clients', **domains.COUNT_OR_0)


def _more_than_krum_needs(name: str, settings: Mapping[str, Any], cohort_size: int) -> None:
  """2f + 2 < n and, of Multi-Krum, m ≤ n."""
  most = (cohort_size - 3) // 2
  if settings['f'] > most:
    accepted = f'0 to {most}' if most >= 0 else 'none'
    raise registry.UsageError(
      f'--{name}_f={settings["f"]}: needs more than 2f + 2 clients, and --clients_per_round is '
      f'{cohort_size}; accepted is {accepted}'
    )
  if settings.get('m', 1) > cohort_size:
    raise registry.UsageError(
      f'--{name}_m={settings["m"]}: more updates than a round has; accepted is 1 to {cohort_size} '
      '(--clients_per_round)'
    )


AGGREGATORS = {
  'mean': registry.Entry('fl_research.aggregation.mean', 'the weighted mean', is_sum=True),
  'median': registry.Entry(
    'fl_research.aggregation.median', 'coordinate-wise median, unweighted (Yin et al. 2018)'
  ),
  'trimmed_mean': registry.Entry(
    'fl_research.aggregation.trimmed_mean',
    'coordinate-wise mean without the extremes, unweighted (Yin et al. 2018)',
    {
      'fraction': Hyperparameter(
        0.2, 'removed on each side', lambda v: 0 <= v < 0.5, 'a number in [0, 0.5)'
      )
    },
  ),
  'krum': registry.Entry(
    'fl_research.aggregation.krum',
    'the update nearest to the others (Blanchard et al. 2017)',
    {'f': _F},
    check_cohort=_more_than_krum_needs,
  ),
  'multi_krum': registry.Entry(
    'fl_research.aggregation.multi_krum',
    'the mean of the m updates nearest to the others (Blanchard et al. 2017)',
    {
      'f': _F,
      'm': Hyperparameter(5, 'm: updates that are averaged', **domains.COUNT),
    },
    check_cohort=_more_than_krum_needs,
  ),
  'geometric_median': registry.Entry(
    'fl_research.aggregation.geometric_median',
    'RFA: the weighted geometric median (Pillutla et al. 2022)',
    {
      'iterations': Hyperparameter(
        10, 'steps of the smoothed Weiszfeld algorithm', **domains.COUNT_OR_0
      ),
      'smoothing': Hyperparameter(1e-6, 'smallest distance that counts', **domains.POSITIVE),
    },
  ),
  'fltrust': registry.Entry(
    'fl_research.aggregation.fltrust',
    "updates as far as they agree with that of the server's own examples (Cao et al. 2021)",
    needs_server_examples=True,
  ),
  'centered_clipping': registry.Entry(
    'fl_research.aggregation.centered_clipping',
    'the mean of updates clipped around the last aggregate, unweighted (Karimireddy et al. 2021)',
    {
      'tau': Hyperparameter(1.0, 'tau, greatest distance that counts in full', **domains.POSITIVE),
      'iterations': Hyperparameter(1, 'L: iterations a round', **domains.COUNT),
    },
  ),
  'fedmgda': registry.Entry(
    'fl_research.aggregation.fedmgda',
    'FedMGDA+: no client gains at the cost of another (Hu et al. 2022)',
    {
      'epsilon': Hyperparameter(
        0.1, "epsilon, how far shares may be from clients' weights", **domains.SHARE
      )
    },
  ),
  'norm_bounding': registry.Entry(
    'fl_research.aggregation.norm_bounding',
    'the weighted mean of updates shortened to a greatest norm (Sun et al. 2019)',
    {
      'bound': Hyperparameter(
        1.0, 'greatest norm, or where its estimate starts', **domains.POSITIVE
      ),
      'quantile': Hyperparameter(
        0.0,
        'adapt the bound to this quantile of the norms; 0: fixed',
        **domains.SHARE,
      ),
      'learning_rate': _QUANTILE_RATE,
    },
    is_sum=True,
  ),
  'zeroing': registry.Entry(
    'fl_research.aggregation.zeroing',
    'the weighted mean, updates with too large an entry counting as zero',
    {
      'bound': Hyperparameter(
        10.0, 'largest entry, or where its estimate starts', **domains.POSITIVE
      ),
      'quantile': Hyperparameter(
        0.98,
        "adapt the bound to this quantile of the clients' largest entries; 0: fixed",
        **domains.SHARE,
      ),
      'learning_rate': dataclasses.replace(_QUANTILE_RATE, default=math.log(10.0)),
      'multiplier': Hyperparameter(2.0, 'the bound is this times the quantile', **domains.POSITIVE),
      'increment': Hyperparameter(1.0, 'plus this', **domains.AT_LEAST_0),
    },
    is_sum=True,
  ),
}
"""Every aggregator: the name users type, its module, its hyperparameters.

The module has `build(**hyperparameters)`, which returns a `fl_research.aggregation.combiner
.Combiner`: a `stacked.StackedRule` of its own, or `summed.Summed` around a `tff.aggregators`
factory. The `build` of an entry that `is_sum` also takes `sums`, a `fl_research.aggregation.sums
.Sums`: sums in the clear when it is left out.
"""


def check_cohort(name: str, hyperparameters: Mapping[str, Any], cohort_size: int) -> None:
  """Raises `UsageError` when cohorts of this size are too small for an aggregator's settings."""
  entry = registry.lookup('aggregator', name, AGGREGATORS)
  if entry.check_cohort is not None:
    entry.check_cohort(name, entry.settings(name, hyperparameters), cohort_size)


def build(name: str, hyperparameters: Mapping[str, Any], sums: Any = None):
  """Builds an aggregator; hyperparameters not given have their defaults.

  Args:
    name: its name in `AGGREGATORS`.
    hyperparameters: those that were set.
    sums: how it takes sums over clients (see `fl_research.aggregation.sums`); in the clear when
      None. Only for entries that are sums.
  """
  entry = registry.lookup('aggregator', name, AGGREGATORS)
  settings = entry.settings(name, hyperparameters)
  return entry.load().build(**settings, **({} if sums is None else {'sums': sums}))
