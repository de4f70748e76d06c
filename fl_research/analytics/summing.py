"""Sums over the clients of a round, in the clear, secure, or noisy: one TFF value from many."""

from collections.abc import Callable
from typing import Any, Optional

import tensorflow_federated as tff

from fl_research.analytics.analysis import Setup


def summing(
  setup: Setup, client_type: tff.Type, work: Any, message_type: Optional[tff.Type] = None
) -> Callable[..., Any]:
  """The computation that sums over clients what each makes of its own data.

  Args:
    setup: how sums are taken; nothing is kept for other rounds.
    client_type: D, of a client's data.
    work: the TFF computation `(D -> T)`, or with a message `(<D, message> -> T)`.
    message_type: of what the server sends to all clients; None where it sends nothing.

  Returns:
    `({D}@CLIENTS -> T@SERVER)`, or `(<{D}@CLIENTS, message@SERVER> -> T@SERVER)`.
  """
  factory = setup.sum_factory()
  clients_type = tff.FederatedType(client_type, tff.CLIENTS)

  def sum_of(value):
    process = factory.create(value.type_signature.member)
    return process.next(process.initialize(), value).result

  if message_type is None:

    @tff.federated_computation(clients_type)
    def alone(clients):
      return sum_of(tff.federated_map(work, clients))

    return alone

  @tff.federated_computation(clients_type, tff.FederatedType(message_type, tff.SERVER))
  def told(clients, message):
    return sum_of(tff.federated_map(work, (clients, tff.federated_broadcast(message))))

  return told
