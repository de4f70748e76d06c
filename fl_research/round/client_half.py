"""One client's part of an exchange: the method's work, and what stands between it and the wire.

examples -> (attack) -> work -> (noise) -> (attack) -> finite? -> encode -> message, facts to report
"""

import collections
from typing import Any

import tensorflow as tf

from fl_research import hooks
from fl_research.aggregation.combiner import Encoded, Encoder
from fl_research.round import handed_back, minibatches, types
from fl_research.round.client import Client
from fl_research.round.method import Exchange, Method, Reply
from fl_research.round.objective import metric_names
from fl_research.round.parts import Parts
from fl_research.round.structures import all_finite, choose, zeros_unless

METHOD = 'method/'
"""How the names of numbers begin that a method reports of its own."""

_FACTS = ('num_steps', 'bytes_up')


class ClientHalf:
  """The client's half of one exchange.

  Args:
    parts: what the round is made of.
    method: its method, bound.
    exchange: the exchange.
    encoder: how its update is sent.
    number: which exchange of the round it is, from 0.

  Attributes:
    shapes: the shapes of the update's tensors; known once `work` has been traced.
    bytes_received: uncompressed size of what a client receives, likewise.
    update: the update's structure, likewise.
    measure_names: names of the numbers that its clients report, likewise.
    weighs_itself: whether the method says what an update counts, likewise.
  """

  def __init__(
    self, parts: Parts, method: Method, exchange: Exchange, encoder: Encoder, number: int
  ):
    self._parts = parts
    self._method = method
    self._exchange = exchange
    self._encoder = encoder
    self._number = number
    self.shapes: list[tuple[int, ...]] = []
    self.bytes_received = 0
    self.update: Any = ()
    self.measure_names: tuple[str, ...] = ()
    self.weighs_itself = False

  def work(self, broadcast: Any, data: Any, state: Any) -> collections.OrderedDict:
    """What one client does.

    Args:
      broadcast: <message, learning_rate_factor>.
      data: D.
      state: T, of empty parts where clients keep none.

    Returns:
      <message, auxiliary, weight, finite, facts, state>: `message` and `auxiliary` are what is
      sent, zeros where not all of it, or not the weight, is finite; `state` is the client's next T.
    """
    parts = self._parts
    reply = self._reply(broadcast, self._poisoned_data(data), state['method'])
    weight = _weight(parts.client_weighting, data) if reply.weight is None else reply.weight
    update, kept = self._noised(data, reply, state['method'])
    update = self._poisoned_update(data, update, weight)
    finite = all_finite((update, reply.auxiliary, kept, weight))
    update, auxiliary = zeros_unless(finite, (update, reply.auxiliary))
    memories = list(state['compressor'])
    encoded = Encoded([], memories[self._number])
    if update:
      self._encoder.check_shapes(self.shapes)
      encoded = self._encoder.encode(tuple(update), data['seed'], memories[self._number])
    memories[self._number] = encoded.client_state
    return collections.OrderedDict(
      message=encoded.message,
      auxiliary=auxiliary,
      weight=weight,
      finite=finite,
      facts=self._facts(reply, encoded.message, auxiliary, weight),
      state=collections.OrderedDict(method=kept, compressor=tuple(memories)),
    )

  def update_of(self, broadcast: Any, data: Any, state: Any) -> list[tf.Tensor]:
    """The tensors of the update alone, from the arguments of `work` (`state` is the method's)."""
    return tf.nest.flatten(self._reply(broadcast, data, state).update)

  def _reply(self, broadcast: Any, data: Any, state: Any) -> Reply:
    """The method's work, with an optimiser that keeps to what can be sent."""
    model = self._parts.model
    shared = self._method.shares(model.weight_names)
    shapes = [
      tuple(w.shape) if is_shared else None
      for w, is_shared in zip(model.initial_weights[0], shared, strict=True)
    ]
    optimizer = self._encoder.restrict_optimizer(self._parts.client_optimizer, data['seed'], shapes)
    client = Client(model, optimizer, data, state, broadcast['learning_rate_factor'], self._number)
    with hooks.functional(hooks.where(self._exchange, 'work')):
      received = self._exchange.received(broadcast['message'], data['client'])
      self.bytes_received = types.tensor_bytes(received)
      reply = self._exchange.work(client, received)
    reply = handed_back.check_reply(self._exchange, reply, state, metric_names(model))
    self.update = tf.nest.map_structure(lambda tensor: None, reply.update)
    self.shapes = [tuple(tensor.shape) for tensor in tf.nest.flatten(reply.update)]
    self.measure_names = tuple(reply.measures)
    self.weighs_itself = reply.weight is not None
    return reply

  def _facts(self, reply: Reply, message: Any, auxiliary: Any, weight: tf.Tensor):
    """Numbers for the report: float64 [.] by kind."""
    sent = (message, auxiliary, weight) if tf.nest.flatten((message, auxiliary)) else ()
    row = lambda values: tf.stack([tf.cast(value, tf.float64) for value in values])
    sums = [reply.trained.sums[name] for name in metric_names(self._parts.model)]
    return collections.OrderedDict(
      costs=row([reply.trained.num_steps, types.sent_bytes(sent, self._parts.sums)]),
      sums=row(sums),
      measures=row(reply.measures.values()) if reply.measures else tf.zeros([0], tf.float64),
    )

  def _poisoned_data(self, data: Any) -> Any:
    attack = self._parts.attack
    if attack is None:
      return data
    examples = data['examples']
    x, y = attack.poison_examples(examples['x'], examples['y'])
    poisoned = collections.OrderedDict(x=x, y=y)
    attacks = self._parts.is_attacker(data['client'])
    return collections.OrderedDict(data, examples=choose(attacks, poisoned, examples))

  def _noised(self, data: Any, reply: Reply, before: Any) -> tuple[tuple[tf.Tensor, ...], Any]:
    """The update as the noise of the client's own leaves it, and the method's next state of it.

    With such noise nobody is told whether the numbers were finite: a client whose were not sends
    noise, and keeps the state it had before.
    """
    update, noise = tuple(tf.nest.flatten(reply.update)), self._parts.local_noise
    if noise is None:
      return update, reply.client_state
    finite = all_finite((update, reply.client_state))
    return noise.apply(update, data['seed']), choose(finite, reply.client_state, before)

  def _poisoned_update(self, data: Any, update: tuple[tf.Tensor, ...], weight: tf.Tensor):
    attack = self._parts.attack
    if attack is None:
      return update
    poisoned = attack.poison_update(update, weight, data['seed'])
    return choose(self._parts.is_attacker(data['client']), tuple(poisoned), update)


def _weight(weighting: str, data: Any) -> tf.Tensor:
  """What a client counts."""
  if weighting == 'num_examples':
    return tf.cast(data['num_examples'], tf.float32)
  if weighting == 'uniform':
    return tf.constant(1.0)
  # What is no token is zero.
  _, tokens, mask = minibatches.examples(data)
  counts = tf.math.count_nonzero(tf.reshape(tokens, [tf.size(mask), -1]), axis=1, dtype=tf.int32)
  return tf.reduce_sum(mask * tf.cast(counts, tf.float32))


def report_columns(parts: Parts, measure_names: tuple[str, ...]) -> tuple[str, ...]:
  """Names of the numbers of every client's report, in order."""
  common = ('num_examples', 'weight', 'finite', *_FACTS)
  own = (f'{METHOD}{name}' for name in measure_names)
  return (*common, *metric_names(parts.model), *own)


def report(data: Any, arrivals: Any, facts: Any) -> collections.OrderedDict:
  """A client's row of the report, after all exchanges of the round.

  Weight and metrics are those of the last exchange; costs are summed, measures put side by side.

  Args:
    data: D.
    arrivals: <weight, finite> of each exchange.
    facts: what `ClientHalf.work` gave in each exchange.
  """
  last = arrivals[-1]
  head = [data['num_examples'], last['weight'], last['finite']]
  values = [
    tf.stack([tf.cast(value, tf.float64) for value in head]),
    tf.add_n([each['costs'] for each in facts]),
    facts[-1]['sums'],
    *(each['measures'] for each in facts),
  ]
  return collections.OrderedDict(client=data['client'], values=tf.concat(values, axis=0))
