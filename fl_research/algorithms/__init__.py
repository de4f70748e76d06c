"""Federated optimisation methods by name, each imported only when it is built."""

from collections.abc import Mapping
from typing import Any

from fl_research import registry

ALGORITHMS = {
  'fedavg': registry.Entry(
    'fl_research.algorithms.fed_avg', 'train locally, average the models (McMahan et al. 2017)'
  ),
  'fedsgd': registry.Entry(
    'fl_research.algorithms.fed_sgd', 'average one gradient per client (McMahan et al. 2017)'
  ),
  'local': registry.Entry(
    'fl_research.algorithms.local', 'each client alone, no federation; what --local_only runs'
  ),
}
"""Every method: the name users type, its module, its hyperparameters.

The module has `build(**hyperparameters)`, which returns an `fl_research.algorithms.algorithm
.Algorithm`.
"""


def build(name: str, hyperparameters: Mapping[str, Any]):
  """Builds a method; hyperparameters not given have their defaults."""
  entry = registry.lookup('algorithm', name, ALGORITHMS)
  return entry.load().build(**entry.settings(name, hyperparameters))
