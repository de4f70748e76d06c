"""Differential privacy of clients: the noisy mean, what it costs, and the words of its flags."""

from collections.abc import Mapping

from fl_research import registry

_MEAN = 'fl_research.aggregation.privacy.dp_mean'
_DISCRETE = 'fl_research.aggregation.privacy.discrete_mean'
_LOCAL = 'fl_research.aggregation.privacy.local_noise'
_ACCOUNTANT = 'fl_research.aggregation.privacy.accountant'

CENTRAL, LOCAL = 'central', 'local'

PLACES: Mapping[str, registry.Entry] = {
  CENTRAL: registry.Entry(
    _MEAN, 'noise on the sum of all updates: who takes the sum is trusted (McMahan et al. 2018)'
  ),
  LOCAL: registry.Entry(
    _LOCAL,
    'noise on every update, before it leaves its client: nobody is trusted, and far more noise '
    'is left in the mean (Wei et al. 2020)',
  ),
}
"""Who adds noise, and so who is trusted with updates that have none."""

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

COVERED: Mapping[str, str] = {
  CENTRAL: 'the global models of all rounds, and the clipping norms',
  LOCAL: 'the updates that a client sends, whoever sees them, and all that is made of them',
}
"""What epsilon is about, with one client and all its data as the unit."""

COVERED_COLUMNS = ('aggregation/clip_norm', 'aggregation/noise_stddev')
"""The aggregator's measurements that are functions of what has been released."""

CLIPPED_FRACTION = 'aggregation/clipped_fraction'
"""What the noisy mean measures exactly."""

NOT_COVERED = (
  'metrics of training: train/..., and what a method measures at its clients',
  'who and how many took part: cohort_size, participants, dropouts, rejected clients, bytes, times',
  CLIPPED_FRACTION,
  "clients.csv, and evaluations on clients' data: eval_clients/..., held_out/..., and eval/... "
  'where the test examples are those of clients',
  "what the manifest says of the data, and clients' states in checkpoints",
  'settings chosen by looking at the same clients, several runs on them, and a round at which '
  'training was stopped because of such figures',
)
"""What a run shows of its clients besides, exactly and at no cost that epsilon would know."""

ACCOUNTANTS: Mapping[str, registry.Entry] = {
  'rdp': registry.Entry(_ACCOUNTANT, 'Renyi differential privacy'),
  'pld': registry.Entry(
    _ACCOUNTANT, 'privacy loss distributions: tighter, but not for fixed-size cohorts'
  ),
}
"""The ways of composing rounds: `Accountant` has both."""
