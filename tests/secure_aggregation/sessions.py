"""Small sessions for the tests."""

from cryptography.hazmat.primitives.asymmetric import ed25519
import numpy as np

from fl_research import random_streams
from fl_research.secure_aggregation import client as client_lib
from fl_research.secure_aggregation import keys, parameters, server


def of(threshold=3, **others) -> parameters.Parameters:
  """The parameters of a session of vectors of nine entries."""
  given = {'round_num': 5, 'size': 9, 'bits': 20, **others}
  return parameters.Parameters(parameters.session_of('tests'), threshold=threshold, **given)


def vectors(clients, size=9, bits=20, seed=0) -> dict:
  """A vector over the whole ring for each client."""
  draw = lambda c: random_streams.generator(seed, 'vector', c).integers(
    0, 2**bits - 1, size, np.uint64, endpoint=True
  )
  return {client: draw(client) for client in clients}


def clear_sum(vectors, clients, bits=20) -> list[int]:
  """The sum by whole numbers without bound."""
  return [sum(int(vectors[c][i]) for c in clients) % 2**bits for i in range(9)]


def entropy(client: int, seed: int = 0) -> keys.Entropy:
  """Bytes that are the same in every run."""
  return random_streams.generator(seed, 'entropy', client).bytes


def identities(clients) -> dict[int, keys.Identity]:
  """Signing keys of clients that know each other."""
  own = {c: ed25519.Ed25519PrivateKey.from_private_bytes(entropy(c, 1)(32)) for c in clients}
  directory = {client: key.public_key() for client, key in own.items()}
  return {client: keys.Identity(key, directory) for client, key in own.items()}


class Parties:
  """A server, clients, and what each of them is told next."""

  def __init__(self, session: parameters.Parameters, count: int):
    own = identities(range(count)) if session.signed else {}
    self.vectors = vectors(range(count), bits=session.bits)
    self.server = server.Server(session, range(count))
    self.clients = [client_lib.Client(session, c, entropy(c), own.get(c)) for c in range(count)]
    self.told = dict.fromkeys(range(count), b'')

  def answer(self, client: int) -> bytes:
    """What a client answers to what it was told."""
    steps = {
      client_lib.Step.ADVERTISE: lambda own, told: own.advertise(),
      client_lib.Step.SHARE: lambda own, told: own.share(told),
      client_lib.Step.MASK: lambda own, told: own.mask(told, self.vectors[client]),
      client_lib.Step.CONSENT: lambda own, told: own.consent(told),
      client_lib.Step.REVEAL: lambda own, told: own.reveal(told),
    }
    return steps[self.server.step](self.clients[client], self.told[client])

  def go_on(self, until, silent=()) -> None:
    """Goes from step to step without some clients, up to a step."""
    while self.server.step != until:
      for client in self.told.keys() - set(silent):
        self.server.receive(self.answer(client))
      self.told = self.server.close()
