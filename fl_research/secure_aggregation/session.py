"""A whole session in memory: all clients and the server, and the bytes between them."""

from collections.abc import Callable, Mapping
import dataclasses
import os
from typing import Optional

import numpy as np

from fl_research.secure_aggregation import client as client_lib
from fl_research.secure_aggregation import keys
from fl_research.secure_aggregation import server as server_lib
from fl_research.secure_aggregation.parameters import Parameters
from fl_research.secure_aggregation.steps import Step


@dataclasses.dataclass
class Outcome:
  """What a session gives.

  Attributes:
    sum: uint64 [size], modulo 2^bits.
    survivors: whose vectors are in it.
    bytes_up: what each client has sent, by client.
    bytes_down: what each client was sent, by client.
  """

  sum: np.ndarray
  survivors: frozenset[int]
  bytes_up: dict[int, int]
  bytes_down: dict[int, int]


def run(
  parameters: Parameters,
  vectors: Mapping[int, np.ndarray],
  silent_from: Optional[Mapping[int, Step]] = None,
  entropy: Callable[[int], keys.Entropy] = lambda client: os.urandom,
  identities: Optional[Mapping[int, keys.Identity]] = None,
) -> Outcome:
  """Has the clients' vectors summed by the protocol.

  Args:
    parameters: the session.
    vectors: by client, uint64 [size] with entries below 2^bits; each is asked for once, so that a
      mapping may make them.
    silent_from: of clients that drop out, the first step of which the server hears nothing.
    entropy: where each client's secrets come from; the sum does not depend on it.
    identities: of each client, where the session is signed.

  Raises:
    Aborted: too few clients are left.
  """
  silent, identities = silent_from or {}, identities or {}
  server = server_lib.Server(parameters, vectors)
  clients = {
    c: client_lib.Client(parameters, c, entropy(c), identities.get(c)) for c in sorted(vectors)
  }
  up, down = dict.fromkeys(clients, 0), dict.fromkeys(clients, 0)
  told = dict.fromkeys(clients, b'')
  while server.step is not Step.DONE:
    for number, message in sorted(told.items()):
      down[number] += len(message)
      if server.step < silent.get(number, Step.DONE):
        answer = _answer(clients[number], server.step, message, vectors)
        up[number] += len(answer)
        server.receive(answer)
    told = server.close()
  return Outcome(server.sum(), server.survivors, up, down)


def _answer(client, step: Step, message: bytes, vectors: Mapping[int, np.ndarray]) -> bytes:
  if step is Step.ADVERTISE:
    return client.advertise()
  if step is Step.SHARE:
    return client.share(message)
  if step is Step.MASK:
    return client.mask(message, vectors[client.client])
  if step is Step.CONSENT:
    return client.consent(message)
  return client.reveal(message)
