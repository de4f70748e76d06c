"""What methods of more than one family ask of a run."""

from fl_research import registry

UNIFORM = {'client_weighting': 'uniform'}
"""Defaults of methods whose papers count every client once."""

DEFINES_SERVER_STEP = registry.Requirement(
  'server_optimizer', ('sgd',), "defines the server's step (its rate still counts)"
)
"""The server's step is a plain one along a direction of the method's own."""
