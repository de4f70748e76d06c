"""What methods of more than one family ask of a run."""

from typing import Any

from fl_research import aggregation, registry, runtime

UNIFORM = {'client_weighting': 'uniform'}
"""Defaults of methods whose papers count every client once."""

DEFINES_SERVER_STEP = registry.Requirement(
  'server_optimizer', ('sgd',), "defines the server's step (its rate still counts)"
)
"""The server's step is a plain one along a direction of the method's own."""


def only(*asked: tuple[str, Any, str]) -> tuple[registry.Requirement, ...]:
  """Of methods that accept one value of some settings: (setting, value, what follows "which")."""
  return tuple(registry.Requirement(setting, (value,), why) for setting, value, why in asked)


def no_server_step(why: str) -> tuple[registry.Requirement, ...]:
  """Of methods whose server does not step along what clients send; `why` follows "which"."""
  return only(
    ('server_optimizer', 'sgd', why),
    ('server_learning_rate', 1.0, why),
    ('server_lr_schedule', 'constant', why),
  )


def sums_only(why: str) -> registry.Requirement:
  """Of methods that divide one sum by another; `why` follows "which"."""
  sums = tuple(name for name, entry in aggregation.AGGREGATORS.items() if entry.is_sum)
  return registry.Requirement('aggregator', sums, why)


_SIMULATED = tuple(name for name in runtime.NAMES if name != 'federation')

EXAMPLES_OF_THE_SERVER = registry.Requirement(
  'runtime', _SIMULATED, "looks at examples of the server's, and an engine of sites has none"
)
SEVERAL_TRIPS = registry.Requirement(
  'runtime', _SIMULATED, 'asks clients twice in a round, and sites are asked once'
)
