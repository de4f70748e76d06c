"""What a method's hooks hand back is as it must be, or a line names the hook and the mistake."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from fl_research import hooks
from fl_research.round.local_training import Trained
from fl_research.round.method import Exchange, Method, Reply, Server
from fl_research.round.structures import Weights


def check_reply(exchange: Exchange, reply: Any, state: Any, metric_names: tuple[str, ...]) -> Reply:
  """A client's reply with all its numbers as tensors.

  Args:
    exchange: whose `work` gave it.
    reply: what it gave.
    state: the client's state before, or nothing where clients keep none.
    metric_names: the metrics that training must report.

  Raises:
    HookError: it is not what `Reply` says.
  """
  place = hooks.where(exchange, 'work')
  hooks.require_type(place, reply, Reply)
  if not isinstance(reply.trained, Trained):
    raise hooks.HookError(
      f'{place}: trained is {hooks.kind(reply.trained)}, must be what client.train gives'
    )
  missing = [name for name in metric_names if name not in reply.trained.sums]
  if missing:
    raise hooks.HookError(f'{place}: trained.sums has no {missing[0]}')
  client_state = hooks.tensors(place, 'client_state', reply.client_state)
  if tf.nest.flatten(client_state) and not tf.nest.flatten(state):
    raise hooks.HookError(
      f'{place}: returns a client_state, {hooks.describe(client_state)}, that would be lost, since '
      f'initial_client_state gives none; let it give the state of a client that is new'
    )
  hooks.require_like(place, 'client_state', client_state, state, 'as initial_client_state gives it')
  weight = reply.weight
  if weight is not None:
    weight = hooks.number(place, 'weight', weight)
  return reply._replace(
    update=hooks.floats(place, 'update', reply.update),
    client_state=client_state,
    auxiliary=hooks.floats(place, 'auxiliary', reply.auxiliary),
    weight=weight,
    measures=check_measures(place, reply.measures),
  )


def check_message(exchange: Exchange, server: Server) -> Any:
  """What an exchange sends, all of it tensors."""
  place = hooks.where(exchange, 'message')
  with hooks.functional(place):
    return hooks.tensors(place, 'message', exchange.message(server))


def check_initial(method: Method) -> Server:
  """The server's state before round 1."""
  place = hooks.where(method, 'initial')
  with hooks.functional(place):
    server = method.initial()
    hooks.require_type(place, server, Server)
    return Server(*(hooks.tensors(place, n, getattr(server, n)) for n in Server._fields))


def check_client_state(method: Method, weights: Weights) -> Any:
  """The state of a client that has never taken part."""
  place = hooks.where(method, 'initial_client_state')
  with hooks.functional(place):
    return hooks.tensors(place, 'client_state', method.initial_client_state(weights))


def check_server(exchange: Exchange, after: Any, before: Server) -> Server:
  """The server's state after `finish`.

  Raises:
    HookError: it is not a `Server` with tensors as before.
  """
  place = hooks.where(exchange, 'finish')
  hooks.require_type(place, after, Server)
  fields = {}
  for name in Server._fields:
    fields[name] = hooks.tensors(place, name, getattr(after, name))
    hooks.require_like(place, name, fields[name], getattr(before, name), 'as before the round')
  return Server(**fields)


def check_measures(place: str, measures: Any) -> Mapping[str, tf.Tensor]:
  """Numbers by name."""
  if not isinstance(measures, Mapping):
    raise hooks.HookError(f'{place}: measures is {hooks.kind(measures)}, must be numbers by name')
  return {
    name: hooks.number(place, f'measures[{name!r}]', value) for name, value in measures.items()
  }
