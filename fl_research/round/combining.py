"""How what clients send in an exchange is combined, and which ways do not fit the run."""

from collections.abc import Callable, Sequence
from typing import Optional

import numpy as np
import tensorflow_federated as tff

from fl_research import registry
from fl_research.aggregation import combiner as combiner_lib
from fl_research.aggregation import mean, summed
from fl_research.round import method as method_lib
from fl_research.round import types
from fl_research.round.parts import Parts


def combiner_of(parts: Parts, exchange: method_lib.Exchange) -> combiner_lib.Combiner:
  """The exchange's own combiner, or the run's."""
  rule = summed.combiner_of(parts.aggregator or mean.build(parts.sums))
  if exchange.combiner is not None:
    if parts.sums.are_secure:
      raise registry.UsageError(
        '--secure_aggregation: this --algorithm combines what clients send in a way of its own, '
        'which secure sums do not protect'
      )
    if rule.kind == combiner_lib.PRIVATE or parts.local_noise is not None:
      raise registry.UsageError(
        '--algorithm: combines what clients send in a way of its own, to which differential '
        'privacy adds no noise; accepted are methods that leave it to the aggregator'
      )
    return exchange.combiner
  return rule if parts.compressor is None else rule.sent_by(parts.compressor)


def combining_of(
  parts: Parts, combiner: combiner_lib.Combiner, update_type: tff.Type
) -> combiner_lib.Combining:
  """The combiner for a type, with attackers who collude where there are any."""
  if not len(update_type):
    # Where clients share nothing there is nothing to combine, which not every rule can do.
    nothing = tff.federated_computation(lambda: tff.federated_value((), tff.SERVER))
    same = lambda state, *_: tff.templates.MeasuredProcessOutput(state, state, state)
    return combiner_lib.Combining(nothing, same)
  if parts.attack is None or not parts.attack.colludes:
    return combiner.create(update_type)
  attack = parts.attack
  seen = lambda updates, clients: attack.collude(updates, parts.is_attacker(clients))
  combining = combiner.create_seen(update_type, seen)
  if combining is None:
    raise registry.UsageError(
      '--attack: attackers who collude see all updates of a round before they send theirs, which '
      'this --aggregator (or what protects it) does not allow'
    )
  return combining


def mean_auxiliary_of(
  parts: Parts, exchange: method_lib.Exchange, auxiliary_type: tff.Type
) -> Callable[[tff.Value, tff.Value], tff.Value]:
  """(auxiliary, <weight, finite, …>) -> the mean over clients; zeros where no client is left."""
  if not types.num_bytes(auxiliary_type):
    no_numbers = lambda tensor: np.zeros(tensor.shape, tensor.dtype)
    nothing = tff.types.structure_from_tensor_type_tree(no_numbers, auxiliary_type)
    return lambda *_: tff.federated_value(nothing, tff.SERVER)
  process = parts.sums.mean().create(auxiliary_type, tff.TensorType(np.float32))
  weight = 'weight' if exchange.auxiliary_weighting == 'update' else 'finite'
  return lambda auxiliary, arrived: (
    process.next(process.initialize(), auxiliary, arrived[weight]).result
  )


def draw_of_all(
  draws: Sequence[Optional[combiner_lib.Draw]],
) -> Optional[combiner_lib.Draw]:
  """One draw for all exchanges, each with a place of its own; None where none of them draws."""
  if not any(draws):
    return None
  return combiner_lib.Draw(
    tff.StructType([draw.type if draw else tff.StructType([]) for draw in draws]),
    lambda: tuple(draw.sample() if draw else () for draw in draws),
  )
