"""How models are trained together."""

from collections.abc import Mapping
import dataclasses

from fl_research import aggregation, algorithms, registry
from fl_research.algorithms import of_tff
from fl_research.settings import section

_setting = section.settings_of('Method')

_CLIENT_HALF = 'fl_research.round.client_half'

CLIENT_WEIGHTINGS: Mapping[str, registry.Entry] = {
  'num_examples': registry.Entry(_CLIENT_HALF, 'its number of examples'),
  'uniform': registry.Entry(_CLIENT_HALF, 'one'),
  'num_tokens': registry.Entry(_CLIENT_HALF, 'its number of tokens that are not padding'),
}
"""What a client's update counts in the average, the usual one first."""

CLASS_WEIGHTINGS = ('none', 'balanced')
"""What an example counts in the training loss: one, or n / (k n_c) by its class c."""


@dataclasses.dataclass(frozen=True)
class Method:
  """Settings of the method."""

  algorithm: str = _setting(
    'fedavg',
    "the federated method; or TFF's own, tff:NAME, or yours, FILE.py:FUNCTION",
    choices=lambda: algorithms.ALGORITHMS,
    besides=of_tff.has,
  )
  client_weighting: str = _setting(
    '',
    "what a client's update counts in the average; when empty, what the method's paper has, for "
    'most num_examples',
    choices=lambda: CLIENT_WEIGHTINGS,
  )
  class_weighting: str = _setting(
    'none',
    "what an example counts in the training loss: one, or (balanced) inversely to its class's "
    'frequency over the training clients, n / (k n_c), for which the server learns how often the '
    'federation has each class, a sum over clients; evaluation never weights',
    choices=lambda: CLASS_WEIGHTINGS,
  )
  aggregator: str = _setting(
    'mean',
    "how the clients' updates are combined",
    choices=lambda: aggregation.AGGREGATORS,
  )
