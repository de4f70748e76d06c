"""Federated optimisation methods by name, each imported only when it is built.

Every family of methods is a folder, whose table lists what is in it.
"""

from collections.abc import Mapping
from typing import Any

from fl_research import registry
from fl_research.algorithms import (
  clusters,
  distillation,
  fairness,
  optimization,
  personal,
  submodels,
)

FAMILIES: Mapping[str, Mapping[str, registry.Entry]] = {
  'optimisation': optimization.METHODS,
  'clusters': clusters.METHODS,
  'distillation': distillation.METHODS,
  'fairness': fairness.METHODS,
  'submodels': submodels.METHODS,
  'personal models': personal.METHODS,
}
"""The families' tables, by what the family is called."""

ALGORITHMS = {name: entry for table in FAMILIES.values() for name, entry in table.items()}
"""Every method: the name users type, its module, its hyperparameters.

The module has `build(**hyperparameters)`, which returns a `fl_research.round.method.Method`.
"""


def build(name: str, hyperparameters: Mapping[str, Any]):
  """Builds a method; hyperparameters not given have their defaults."""
  entry = registry.lookup('algorithm', name, ALGORITHMS)
  return entry.load().build(**entry.settings(name, hyperparameters))
