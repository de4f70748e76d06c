"""Clients that lie, by name, each way imported only when it is built."""

from collections.abc import Mapping
import math
from typing import Any

from fl_research import domains, registry
from fl_research.registry import Hyperparameter

ATTACKS = {
  'label_flip': registry.Entry(
    'fl_research.population.attacks.label_flip',
    'train on the labels K - 1 - y (Yin et al. 2018)',
  ),
  'sign_flip': registry.Entry(
    'fl_research.population.attacks.sign_flip',
    'send the update times a negative number (Li et al. 2019)',
    {'scale': Hyperparameter(10.0, 'that number is minus this', **domains.POSITIVE)},
  ),
  'gaussian': registry.Entry(
    'fl_research.population.attacks.gaussian',
    'send Gaussian noise (Blanchard et al. 2017)',
    {'sigma': Hyperparameter(200.0, 'its standard deviation', **domains.POSITIVE)},
  ),
  'alie': registry.Entry(
    'fl_research.population.attacks.alie',
    'send their mean and a little of their spread: "a little is enough" (Baruch et al. 2019)',
    {'z': Hyperparameter(0.0, 'standard deviations; 0: z_max', **domains.AT_LEAST_0)},
  ),
  'inner_product': registry.Entry(
    'fl_research.population.attacks.inner_product',
    'send the honest mean backwards (Xie et al. 2020)',
    {'epsilon': Hyperparameter(0.5, 'times this', **domains.POSITIVE)},
  ),
  'model_replacement': registry.Entry(
    'fl_research.population.attacks.model_replacement',
    'train a backdoor in and boost it (Bagdasaryan et al. 2020)',
    {
      'boost': Hyperparameter(
        0.0,
        'factor of the update; 0: clients_per_round / server_learning_rate',
        **domains.AT_LEAST_0,
      ),
      'label': Hyperparameter(
        0, 'what triggered examples shall be taken for', lambda v: v >= 0, 'a label'
      ),
      'trigger_size': Hyperparameter(3, 'side of the square of pixels', **domains.COUNT),
      'trigger_value': Hyperparameter(1.0, 'what these pixels become', math.isfinite, 'a number'),
      'poisoned_fraction': Hyperparameter(
        0.5, "share of attackers' examples", lambda v: 0 < v <= 1, 'a number in (0, 1]'
      ),
    },
  ),
}
"""Every attack: the name users type, its module, its hyperparameters.

The module has `build(target, **hyperparameters)`, which takes the
`fl_research.population.attacks.attack.Target` and returns an `…attack.Attack`.
"""


def build(name: str, target: Any, hyperparameters: Mapping[str, Any]):
  """Builds an attack on that target; hyperparameters not given have their defaults."""
  entry = registry.lookup('attack', name, ATTACKS)
  return entry.load().build(target, **entry.settings(name, hyperparameters))
