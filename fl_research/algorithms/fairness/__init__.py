"""Methods that care how the loss is spread over clients, and not for its mean alone."""

import math

from fl_research import domains, registry
from fl_research.algorithms import requirements
from fl_research.registry import Hyperparameter

_WEIGHS_ITSELF = registry.Requirement(
  'client_weighting', ('uniform',), 'weighs clients by their losses'
)
_LOSSES_ARE_SEEN = 'weighs its updates by losses, while under noise all count the same'

METHODS = {
  'qfedavg': registry.Entry(
    'fl_research.algorithms.fairness.q_fed_avg',
    'clients whose loss is high count more, by a power of it (Li et al. 2020)',
    {'q': Hyperparameter(0.1, 'q, the power; 0: FedAvg', **domains.FROM_0)},
    requires=(
      registry.Requirement('client_optimizer', ('sgd',), 'presumes plain steps on the clients'),
      _WEIGHS_ITSELF,
    ),
    defaults=requirements.UNIFORM,
    not_private=_LOSSES_ARE_SEEN,
  ),
  'term': registry.Entry(
    'fl_research.algorithms.fairness.term',
    'clients count exponentially more, or less, by their loss (Li et al. 2021)',
    {
      't': Hyperparameter(
        0.5, 't, the tilt; below 0: less; 0: FedAvg', math.isfinite, 'a finite number'
      )
    },
    requires=(_WEIGHS_ITSELF,),
    defaults=requirements.UNIFORM,
    not_private=_LOSSES_ARE_SEEN,
  ),
  'afl': registry.Entry(
    'fl_research.algorithms.fairness.afl',
    'the worst mixture of clients decides (Mohri et al. 2019)',
    {
      'mixture_learning_rate': Hyperparameter(
        0.1, "rate at which the clients' shares follow their losses", **domains.FROM_0
      )
    },
    requires=(_WEIGHS_ITSELF, registry.TRAINS_FROM_ONE_MODEL),
    defaults=requirements.UNIFORM,
    not_private=_LOSSES_ARE_SEEN,
  ),
}
