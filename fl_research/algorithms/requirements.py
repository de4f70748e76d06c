"""What methods of more than one family ask of a run."""

from fl_research import registry, runtime

UNIFORM = {'client_weighting': 'uniform'}
"""Defaults of methods whose papers count every client once."""

DEFINES_SERVER_STEP = registry.Requirement(
  'server_optimizer', ('sgd',), "defines the server's step (its rate still counts)"
)
"""The server's step is a plain one along a direction of the method's own."""

_SIMULATED = tuple(name for name in runtime.NAMES if name != 'federation')

OWN_MODELS = registry.Requirement(
  'runtime', _SIMULATED, 'gives clients models of their own, which sites do not evaluate'
)
SEVERAL_TRIPS = registry.Requirement(
  'runtime', _SIMULATED, 'asks clients twice in a round, and sites are asked once'
)
