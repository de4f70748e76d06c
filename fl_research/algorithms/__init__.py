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
  of_tff,
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


def entry(name: str) -> registry.Entry:
  """What `--algorithm` names: a method, or a learning process of TFF's or the user's own.

  Raises:
    UsageError: unknown name, with the nearest one.
  """
  return of_tff.entry(name) if of_tff.has(name) else registry.lookup('algorithm', name, ALGORITHMS)


def prefix(name: str) -> str:
  """What the flags of its hyperparameters begin with."""
  return of_tff.FLAGS if of_tff.has(name) else name


def build(name: str, hyperparameters: Mapping[str, Any]):
  """Builds a method; hyperparameters not given have their defaults."""
  if of_tff.has(name):
    return of_tff.build(name, hyperparameters)
  chosen = entry(name)
  return chosen.load().build(**chosen.settings(name, hyperparameters))
