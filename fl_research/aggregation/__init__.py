"""How clients' updates are combined, by name, each way imported only when it is built."""

from collections.abc import Mapping
from typing import Any

from fl_research import registry

AGGREGATORS = {
  'mean': registry.Entry('fl_research.aggregation.mean', 'the weighted mean'),
}
"""Every aggregator: the name users type, its module, its hyperparameters.

The module has `build(**hyperparameters)`, which returns a `tff.aggregators` factory (weighted or
not) or a `fl_research.aggregation.stacked.StackedAggregator`.
"""


def build(name: str, hyperparameters: Mapping[str, Any]):
  """Builds an aggregator; hyperparameters not given have their defaults."""
  entry = registry.lookup('aggregator', name, AGGREGATORS)
  return entry.load().build(**entry.settings(name, hyperparameters))
