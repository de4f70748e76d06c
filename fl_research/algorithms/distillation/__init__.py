"""Methods in which models learn from what other models answer."""

from fl_research import domains, registry
from fl_research.registry import Hyperparameter

METHODS = {
  'fedntd': registry.Entry(
    'fl_research.algorithms.distillation.fed_ntd',
    'clients keep to what the global model says of wrong classes (Lee et al. 2022)',
    {
      'beta': Hyperparameter(1.0, 'beta, weight of the distillation', **domains.FROM_0),
      'tau': Hyperparameter(1.0, 'tau, temperature of the answers', **domains.POSITIVE),
    },
  )
}
