"""The server's part of a round: what it sends, what it makes of what arrives, and its step."""

import collections
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from fl_research import hooks
from fl_research.aggregation.combiner import Combiner, Encoder
from fl_research.round import handed_back, local_training
from fl_research.round.method import Combined, Exchange, Method, Server
from fl_research.round.parts import Parts
from fl_research.round.structures import all_finite, choose, zeros_unless


class ServerHalf:
  """The server's half of a round.

  Args:
    parts: what the round is made of.
    method: its method, bound.
  """

  def __init__(self, parts: Parts, method: Method):
    self._parts = parts
    self._method = method

  def initial(self) -> collections.OrderedDict:
    """<weights, method, optimizer, round_num> before round 1."""
    return _members(handed_back.check_initial(self._method), tf.constant(0))

  def broadcast(self, exchange: Exchange, server: Any) -> collections.OrderedDict:
    """<message, learning_rate_factor> of an exchange."""
    return collections.OrderedDict(
      message=handed_back.check_message(exchange, server_of(server)),
      learning_rate_factor=self._parts.client_schedule(server['round_num']),
    )

  def finish(
    self,
    exchange: Exchange,
    combiner: Combiner,
    server: Any,
    combined: Combined,
    *,
    is_last: bool,
  ) -> collections.OrderedDict:
    """The server's state after an exchange.

    Where no client is left it stays as it was, but for the number of the round, which the last
    exchange of a round moves on.
    """
    if combiner.expected_participants is not None:
      # How many really took part is private, even that it was nobody.
      combined = combined._replace(participants=tf.constant(combiner.expected_participants))
    before, optimizer = server_of(server), self._parts.server_optimizer
    scaled = local_training.scale_learning_rate(
      optimizer, before.optimizer, self._parts.server_schedule(server['round_num'])
    )
    after = exchange.finish(before._replace(optimizer=scaled), combined)
    after = handed_back.check_server(exchange, after, before)
    # The scaled rate was this round's only: the state keeps the base rate.
    base = optimizer.set_hparams(after.optimizer, optimizer.get_hparams(before.optimizer))
    after = choose(combined.participants > 0.0, after._replace(optimizer=base), before)
    return _members(after, server['round_num'] + int(is_last))

  def measures(self, server: Any) -> collections.OrderedDict:
    """The method's own numbers after a round."""
    place, measures = (
      hooks.where(self._method, 'measures'),
      self._method.measures(server_of(server)),
    )
    return collections.OrderedDict(handed_back.check_measures(place, measures))


def server_of(server: Any) -> Server:
  """The server's state as a method sees it."""
  return Server(tuple(server['weights']), server['method'], server['optimizer'])


def _members(server: Server, round_num: tf.Tensor) -> collections.OrderedDict:
  return collections.OrderedDict(
    weights=list(server.weights),
    method=server.own,
    optimizer=server.optimizer,
    round_num=round_num,
  )


def arrive(
  encoder: Encoder, shapes: Sequence[tuple[int, ...]], message: Any, weight: Any, finite: Any
) -> collections.OrderedDict:
  """One client's message at the server: <update, weight, finite>.

  Finite numbers near the largest float can overflow in a lossy encoding; what cannot be decoded
  counts as not finite: zeros, of weight zero.
  """
  update = encoder.decode(message, shapes) if shapes else ()
  if encoder.lossy and shapes:
    decodable = all_finite(update)
    finite = tf.logical_and(finite, decodable)
    update = zeros_unless(decodable, update)
  return collections.OrderedDict(
    update=list(update),
    weight=tf.where(finite, weight, 0.0),
    finite=tf.cast(finite, tf.float32),
  )
