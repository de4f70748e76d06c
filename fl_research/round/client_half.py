"""One client's part of a round: the method's work, and all that may stand between it and the wire.

examples -> (attack) -> client work -> (attack) -> finite? -> (compressor) -> update, report
"""

import collections
from typing import Any

import tensorflow as tf

from fl_research.models import model as model_lib
from fl_research.round import local_training
from fl_research.round import method as algorithm_lib

_REPORT_COLUMNS = ('num_examples', 'weight', 'finite', 'num_steps', 'bytes_up')


def report_columns(model: model_lib.Model) -> tuple[str, ...]:
  """Names of the numbers every client reports."""
  return (*_REPORT_COLUMNS, *local_training.metric_names(model))


def choose(condition: tf.Tensor, new: Any, old: Any) -> Any:
  """`new` if the condition (bool []) holds, else `old`: structures of tensors, not copied."""
  if not tf.nest.flatten(new):
    return new
  flat = lambda structure: lambda: [tf.identity(leaf) for leaf in tf.nest.flatten(structure)]
  return tf.nest.pack_sequence_as(new, tf.cond(condition, flat(new), flat(old)))


def _zeros_unless(condition: tf.Tensor, structure: Any) -> Any:
  """The structure if the condition (bool []) holds, else zeros."""
  if not tf.nest.flatten(structure):
    return structure
  same = lambda: [tf.identity(leaf) for leaf in tf.nest.flatten(structure)]
  zeros = lambda: [tf.zeros_like(leaf) for leaf in tf.nest.flatten(structure)]
  return tf.nest.pack_sequence_as(structure, tf.cond(condition, same, zeros))


def is_attacker(parts, clients: tf.Tensor) -> tf.Tensor:
  """Which of these clients (any shape) attack: bool of the same shape."""
  attackers = tf.constant(parts.attackers, tf.int32)
  return tf.reduce_any(tf.equal(clients[..., tf.newaxis], attackers), axis=-1)


def client_step(parts, broadcast: Any, data: Any, state: Any) -> collections.OrderedDict:
  """The computation of one client in one round.

  Args:
    parts: `process.Parts`.
    broadcast: <weights, method, learning_rate_factor>.
    data: D.
    state: T, of empty parts where clients keep none.

  Returns:
    <update, auxiliary, weight, finite, report=<client, values>>, and `kept`=<client, state> where
    clients keep a state.
  """
  result = _work(parts, broadcast, _poisoned_data(parts, data), state)
  weight = _client_weight(parts.client_weighting, data)
  update = _poisoned_update(parts, data, tuple(parts.shared(result.update)), weight)
  finite = local_training.all_finite((update, result.auxiliary, result.client_state))
  update, auxiliary = _zeros_unless(finite, (update, result.auxiliary))
  update, num_bytes, compressor_state = _transmit(parts, data, update, auxiliary, state)
  if parts.compressor is not None:
    # Finite numbers near the largest float can overflow in a compressor.
    decodable = local_training.all_finite(update)
    finite = tf.logical_and(finite, decodable)
    update = _zeros_unless(decodable, update)
  weight = tf.where(finite, weight, 0.0)
  row = [data['num_examples'], weight, finite, result.num_steps, num_bytes]
  row.extend(result.sums[name] for name in local_training.metric_names(parts.model))
  values = tf.stack([tf.cast(column, tf.float64) for column in row])
  output = collections.OrderedDict(
    update=list(update),
    auxiliary=auxiliary,
    weight=weight,
    finite=tf.cast(finite, tf.float32),
    report=collections.OrderedDict(client=data['client'], values=values),
  )
  if parts.keeps_client_state:
    new = collections.OrderedDict(method=result.client_state, compressor=compressor_state)
    output['kept'] = collections.OrderedDict(
      client=data['client'], state=choose(finite, new, collections.OrderedDict(state))
    )
  return output


def _work(parts, broadcast: Any, data: Any, state: Any) -> algorithm_lib.ClientResult:
  """The method's client work, with an optimiser that keeps to what the compressor can send."""
  optimizer = parts.client_optimizer
  if parts.compressor is not None:
    shared = parts.algorithm.is_shared(parts.model.weight_names)
    shapes = [
      tuple(w.shape) if is_shared else None
      for w, is_shared in zip(broadcast['weights'], shared, strict=True)
    ]
    optimizer = parts.compressor.restrict_optimizer(optimizer, data['seed'], shapes)
  received = algorithm_lib.Broadcast(
    tuple(broadcast['weights']), broadcast['method'], broadcast['learning_rate_factor']
  )
  return parts.algorithm.client_work(parts.model, optimizer, received, data, state['method'])


def _client_weight(weighting: str, data: Any) -> tf.Tensor:
  if weighting == 'num_examples':
    return tf.cast(data['num_examples'], tf.float32)
  if weighting == 'uniform':
    return tf.constant(1.0)
  # Padding rows of y are zeros, and so is the padding token.
  return tf.reduce_sum(tf.cast(tf.not_equal(data['examples']['y'], 0), tf.float32))


def _poisoned_data(parts, data: Any) -> Any:
  if parts.attack is None:
    return data
  examples = data['examples']
  x, y = parts.attack.poison_examples(examples['x'], examples['y'])
  poisoned = collections.OrderedDict(x=x, y=y)
  attacks = is_attacker(parts, data['client'])
  return collections.OrderedDict(data, examples=choose(attacks, poisoned, examples))


def _poisoned_update(parts, data: Any, update: local_training.Weights, weight: tf.Tensor):
  if parts.attack is None:
    return update
  poisoned = parts.attack.poison_update(update, weight, data['seed'])
  return choose(is_attacker(parts, data['client']), tuple(poisoned), tuple(update))


def _transmit(parts, data: Any, update: local_training.Weights, auxiliary: Any, state: Any):
  """The update as the server will see it, the bytes it took, and the compressor's next state."""
  if not parts.algorithm.shares_update:
    return update, tf.constant(0.0, tf.float64), state['compressor']
  others = 1 + _num_elements(auxiliary)  # The weight goes along.
  if parts.compressor is None:
    size = parts.sums.num_bytes(_num_elements(update) + others)
    return update, tf.constant(size, tf.float64), ()
  sent = parts.compressor.transmit(tuple(update), data['seed'], state['compressor'])
  return sent.update, sent.num_bytes + parts.sums.num_bytes(others), sent.client_state


def _num_elements(structure: Any) -> int:
  return sum(tensor.shape.num_elements() for tensor in tf.nest.flatten(structure))
