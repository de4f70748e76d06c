"""Differential privacy of clients: the noisy mean, what it costs, and the words of its flags."""

CLIPPINGS = {
  'fixed': 'dp_clip_norm in every round (McMahan et al. 2018)',
  'adaptive': 'follows a quantile of the norms of updates (Andrew et al. 2021)',
}
"""How the clipping norm is chosen, in words."""

ACCOUNTANTS = {
  'rdp': 'Renyi differential privacy',
  'pld': 'privacy loss distributions: tighter, but not for fixed-size cohorts',
}
"""The ways of composing rounds, in words."""

UNACCOUNTED_SAMPLINGS = {
  'by_size': 'draws clients by their number of examples, which is private itself',
  'with_replacement': 'may count a client more than once in a round',
}
"""Ways of drawing cohorts for which no privacy guarantee is known, and why."""
