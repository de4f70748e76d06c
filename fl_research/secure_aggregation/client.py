"""A client of a session: one method per step, from the server's message to its own.

The steps are those of Bonawitz et al. 2017, figure 4, in this order:

    advertise()              → its two public keys
    share(roster)            → shares of its two secrets, encrypted for each neighbour
    mask(mail, vector)       → the masked vector
    consent(survivors)       → its signature under who is left; only where `parameters.signed`
    reveal(survivors)        → a share of one secret of each neighbour; takes the signatures of
                               all where `parameters.signed`

Differences from the paper:
1. Each client says beforehand, by HKDF of its seed b, which seed it is: the server finds out when
   wrong shares restore another one, where in the paper the sum would be wrong.
2. The message that tells of the survivors has only those whose shares the client holds.
"""

import collections
import functools
import os
from typing import Optional

import numpy as np

from fl_research.secure_aggregation import keys, masks, messages, neighbours, shamir
from fl_research.secure_aggregation.errors import Aborted, ProtocolError
from fl_research.secure_aggregation.messages import Kind, Secret
from fl_research.secure_aggregation.parameters import Parameters
from fl_research.secure_aggregation.steps import after, Step


def _does(step: Step):
  """Has a method called in that step alone; once it refuses, the client does nothing more."""

  def wrap(method):
    @functools.wraps(method)
    def call(self, *arguments):
      if self.step != step:
        raise ProtocolError(
          f'client {self.client}: was asked to {step.name.lower()}; what is next is '
          f'{self.step.name.lower()}'
        )
      self.step = Step.REFUSED
      try:
        answer = method(self, *arguments)
      except ProtocolError as error:
        raise type(error)(f'client {self.client}: {error}') from error
      self.step = after(step, self._parameters.signed)
      return answer

    return call

  return wrap


class Client:
  """One client; see the module's docstring.

  Every method raises `ProtocolError` when it is not its turn or what the server sends is not
  allowed, and `Aborted` when too few are left. A client that has refused does nothing more.

  Attributes:
    client: its number.
    step: what it does next.
    survivors: those that have sent their masked vector, once it was told of them.
  """

  def __init__(
    self,
    parameters: Parameters,
    client: int,
    entropy: keys.Entropy = os.urandom,
    identity: Optional[keys.Identity] = None,
  ):
    """Prepares a client.

    Args:
      parameters: the session.
      client: its number, below 2^32, different from all others'.
      entropy: where its secrets come from; whoever knows that knows its vector.
      identity: its signing key and the others'; exactly where `parameters.signed`.
    """
    if parameters.signed != (identity is not None):
      raise ValueError('identity: must be given exactly where the session is signed')
    self._parameters, self.client = parameters, client
    self._entropy, self._identity = entropy, identity
    self._ring = masks.Ring(parameters.size, parameters.bits)
    self.step = Step.ADVERTISE
    self.survivors: set[int] = set()
    self._public: dict[int, tuple[bytes, bytes]] = {}
    self._agreed: dict[int, bytes] = {}  # By neighbour, for what the two send each other.
    self._held: dict[int, tuple[bytes, bytes]] = {}  # By whose they are: of its mask key, its seed.

  @_does(Step.ADVERTISE)
  def advertise(self) -> bytes:
    """Draws its keys and its seed; returns the public ones."""
    self._encryption_key = keys.private_key(self._entropy)
    self._mask_key = keys.private_key(self._entropy)
    self._seed = self._entropy(keys.SECRET_BYTES)
    public = keys.public_bytes(self._encryption_key) + keys.public_bytes(self._mask_key)
    self._own_public = public
    if self._identity is not None:
      public += self._identity.key.sign(self._about_keys(self.client, public))
    return self._write(Kind.KEYS, public)

  @_does(Step.SHARE)
  def share(self, roster: bytes) -> bytes:
    """Shares its secrets among its neighbours and itself.

    Args:
      roster: its neighbours' public keys.
    """
    for neighbour, *public, signature in self._roster(roster):
      self._public[neighbour] = tuple(public)
      if self._identity is not None:
        about = self._about_keys(neighbour, b''.join(public))
        keys.check_signature(self._identity, neighbour, signature, about)
    self._check_keys()
    holders = sorted([self.client, *self._public])
    self._check_left(holders)
    if self._parameters.signed and 3 * self._parameters.threshold <= 2 * len(holders):
      raise ProtocolError(
        f'a threshold of {self._parameters.threshold} is not above two thirds of {len(holders)}, '
        'so that a server could tell two stories'
      )
    mask_key = self._split(self._mask_key.private_bytes_raw(), holders)
    seed = self._split(self._seed, holders)
    self._held[self.client] = mask_key[self.client], seed[self.client]
    for neighbour, (of_encryption, _) in self._public.items():
      self._agreed[neighbour] = keys.agree(self._encryption_key, of_encryption)
    encrypted = [(v, self._encrypt(v, mask_key[v] + seed[v])) for v in self._public]
    commitment = keys.commitment(self._seed, self._parameters, self.client)
    return self._write(Kind.SHARES, commitment + messages.pack(messages.ENCRYPTED, encrypted))

  @_does(Step.MASK)
  def mask(self, mail: bytes, vector: np.ndarray) -> bytes:
    """Masks its vector.

    Args:
      mail: what those of its neighbours that are left have encrypted for it.
      vector: uint64 [size], entries below 2^bits.
    """
    words = self._ring.words(vector)
    for neighbour, encrypted in messages.unpack(messages.ENCRYPTED, self._read(Kind.MAIL, mail)):
      self._check_known(neighbour)
      self._held[neighbour] = self._decrypt(neighbour, encrypted)
    self._check_left(self._held)
    self._ring.mask(words, keys.self_mask(self._seed, self._parameters, self.client), 1)
    for neighbour in self._held:
      if neighbour != self.client:
        secret = keys.agree(self._mask_key, self._public[neighbour][1])
        key = keys.pair_mask(secret, self._parameters, self.client, neighbour)
        self._ring.mask(words, key, neighbours.sign(self.client, neighbour))
    return self._write(Kind.MASKED, self._ring.pack(words))

  @_does(Step.CONSENT)
  def consent(self, survivors: bytes) -> bytes:
    """Signs who is left.

    Args:
      survivors: those that have sent their masked vector.
    """
    assert self._identity is not None
    self.survivors = self._read_survivors(survivors)
    return self._write(Kind.CONSENT, self._identity.key.sign(self._about_survivors()))

  @_does(Step.REVEAL)
  def reveal(self, message: bytes) -> bytes:
    """Gives a share of the seed of each survivor, and of the mask key of each other.

    Args:
      message: where the session is signed, the survivors' signatures under who is left; else the
        survivors themselves.
    """
    if self._identity is None:
      self.survivors = self._read_survivors(message)
    else:
      self._check_consents(self._identity, message)
    revealed = []
    for client, (mask_key, seed) in self._held.items():
      survives = client in self.survivors
      secret, share = (Secret.SEED, seed) if survives else (Secret.MASK_KEY, mask_key)
      revealed.append((client, secret, share))
    return self._write(Kind.REVEAL, messages.pack(messages.REVEALED, revealed))

  def _write(self, kind: Kind, body: bytes) -> bytes:
    return messages.write(kind, self._parameters, self.client, body)

  def _read(self, kind: Kind, message: bytes) -> bytes:
    return messages.read(message, kind, self._parameters, self.client)

  def _roster(self, roster: bytes) -> list[tuple]:
    """(client, key for encryption, key for masks, signature), the last None if there are none."""
    body = self._read(Kind.ROSTER, roster)
    if self._parameters.signed:
      return messages.unpack(messages.SIGNED_KEYS, body)
    return [(*row, None) for row in messages.unpack(messages.PUBLIC_KEYS, body)]

  def _about_keys(self, client: int, public: bytes) -> bytes:
    return keys.context(self._parameters, b'keys', client, client) + public

  def _about_survivors(self) -> bytes:
    listed = messages.pack(messages.CLIENT, [(client,) for client in self.survivors])
    return keys.context(self._parameters, b'survivors', 0, 0) + listed

  def _check_keys(self) -> None:
    """No public key is there twice, as of a client that pretends to be several."""
    if self.client in self._public:
      raise ProtocolError('the roster has this client among its own neighbours')
    own = [self._own_public[: keys.SECRET_BYTES], self._own_public[keys.SECRET_BYTES :]]
    every = collections.Counter([*own, *(key for pair in self._public.values() for key in pair)])
    if max(every.values()) > 1:
      raise ProtocolError('the roster has a public key twice')
    degree = self._parameters.degree
    if degree is not None and len(self._public) > degree:
      raise ProtocolError(f'the roster has {len(self._public)} neighbours; agreed were {degree}')

  def _check_left(self, holders) -> None:
    if len(holders) < self._parameters.threshold:
      raise Aborted(
        f'{len(holders)} are left, itself and neighbours; needed are {self._parameters.threshold}'
      )

  def _check_known(self, client: int) -> None:
    if client not in self._public:
      raise ProtocolError(f'client {client} is none of its neighbours')

  def _split(self, secret: bytes, holders: list[int]) -> dict[int, bytes]:
    return shamir.split(secret, holders, self._parameters.threshold, self._entropy)

  def _encrypt(self, neighbour: int, shares: bytes) -> bytes:
    bound_to = keys.context(self._parameters, b'shares', self.client, neighbour)
    return keys.encrypt(self._agreed[neighbour], shares, bound_to, self._entropy)

  def _decrypt(self, neighbour: int, encrypted: bytes) -> tuple[bytes, bytes]:
    bound_to = keys.context(self._parameters, b'shares', neighbour, self.client)
    try:
      shares = keys.decrypt(self._agreed[neighbour], encrypted, bound_to)
    except ProtocolError as error:
      raise ProtocolError(f'from client {neighbour}: {error}') from error
    return shares[: shamir.SHARE_BYTES], shares[shamir.SHARE_BYTES :]

  def _read_survivors(self, message: bytes) -> set[int]:
    rows = messages.unpack(messages.CLIENT, self._read(Kind.SURVIVORS, message))
    survivors = {client for (client,) in rows}
    if self.client not in survivors:
      raise ProtocolError('is not among the survivors, though it has sent its vector')
    unknown = survivors - self._held.keys()
    if unknown:
      raise ProtocolError(f'client {min(unknown)} survives, and has sent no shares')
    self._check_left(survivors)
    return survivors

  def _check_consents(self, identity: keys.Identity, message: bytes) -> None:
    rows = messages.unpack(messages.CONSENT, self._read(Kind.CONSENTS, message))
    self._check_left(rows)
    about = self._about_survivors()
    for client, signature in rows:
      if client not in self.survivors:
        raise ProtocolError(f'client {client} has signed, and is no survivor')
      keys.check_signature(identity, client, signature, about)
