"""How much a result counts that was trained from a model the server has left behind.

A result is stale by τ ≥ 0, the number of steps that the server has made between giving a client the
model and using what came back. Its update is multiplied by s(τ) ≤ 1,

    constant     s = 1
    polynomial   s = (1 + τ)^-a
    hinge        s = 1 where τ ≤ b, else 1 / (a (τ - b) + 1)

as in Xie, Koyejo, Gupta 2019, "Asynchronous Federated Optimization", section 5.2; the polynomial
one with a = 1/2 is what Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous
Aggregation", use. s(0) = 1 for all of them.

Differences from the papers:
1. There is none; that the default is the polynomial one is the second paper's choice.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fl_research import domains, registry

_MODULE = 'fl_research.population.staleness'

WEIGHTINGS: Mapping[str, registry.Entry] = {
  'polynomial': registry.Entry(
    _MODULE,
    '(1 + staleness)^-exponent (Xie et al. 2019; Nguyen et al. 2022 with 0.5)',
    {'exponent': registry.Hyperparameter(0.5, 'a of the polynomial factor', **domains.FROM_0)},
  ),
  'constant': registry.Entry(_MODULE, 'one, however stale'),
  'hinge': registry.Entry(
    _MODULE,
    'one up to a staleness of grace, then 1 / (slope (staleness - grace) + 1) (Xie et al. 2019)',
    {
      'slope': registry.Hyperparameter(10.0, 'a of the hinge factor', **domains.FROM_0),
      'grace': registry.Hyperparameter(4, 'b of the hinge factor, in steps', **domains.COUNT_OR_0),
    },
  ),
}
"""Every factor: the name users type, its module.

The module has a function of that name, `(staleness, **hyperparameters)`, which returns the factors,
float64 [n], of results whose staleness is int [n], at least 0.
"""


def constant(staleness: np.ndarray) -> np.ndarray:
  return np.ones(len(staleness))


def polynomial(staleness: np.ndarray, exponent: float) -> np.ndarray:
  return (1.0 + staleness) ** -exponent


def hinge(staleness: np.ndarray, slope: float, grace: int) -> np.ndarray:
  return 1.0 / (slope * np.maximum(staleness - grace, 0) + 1.0)


def factors(name: str, given: Mapping[str, Any], staleness: np.ndarray) -> np.ndarray:
  """The factors of a weighting by its name.

  Args:
    name: one of `WEIGHTINGS`.
    given: its hyperparameters; those not given have their defaults.
    staleness: int [n].
  """
  entry = registry.lookup('staleness_weighting', name, WEIGHTINGS)
  return getattr(entry.load(), name)(np.asarray(staleness), **entry.settings('staleness', given))
