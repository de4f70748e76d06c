"""The server of a session: it is given the clients' messages one by one, and closes each step.

    server.receive(message)  as long as messages of the step come, or are waited for
    server.close()           → what to send to each client of the next step

until `server.step` is DONE: then `server.sum()` is the sum of the survivors' vectors. A message
that `receive` refuses changes nothing, as if it had never come. Masked vectors are added up as they
come: the server keeps one vector, whatever the number of clients.
"""

from collections.abc import Collection, Iterable

from cryptography.hazmat.primitives.asymmetric import x25519
import numpy as np

from fl_research.secure_aggregation import keys, masks, messages, neighbours, shamir
from fl_research.secure_aggregation.errors import Aborted, ProtocolError
from fl_research.secure_aggregation.messages import Kind, Secret
from fl_research.secure_aggregation.parameters import Parameters
from fl_research.secure_aggregation.steps import after, Step


class Server:
  """The server; see the module's docstring.

  Attributes:
    step: which of the clients' messages it waits for.
    clients: those that it waits for, or has already heard from in this step.
    survivors: those whose vectors are in the sum, once that is known.
  """

  def __init__(self, parameters: Parameters, clients: Iterable[int]):
    """Prepares a server.

    Args:
      parameters: the session.
      clients: whom it has asked to take part, by number.
    """
    self._parameters = parameters
    self.step = Step.ADVERTISE
    self.clients = frozenset(clients)
    self.survivors: frozenset[int] = frozenset()
    self._heard: dict[int, bytes] = {}
    self._ring = masks.Ring(parameters.size, parameters.bits)
    self._total = self._ring.zeros()
    self._neighbours: dict[int, list[int]] = {}
    self._public: dict[int, bytes] = {}
    self._commitments: dict[int, bytes] = {}
    self._sharing: frozenset[int] = frozenset()
    self._shares: dict[int, dict[int, bytes]] = {}

  def receive(self, message: bytes) -> int:
    """Takes a client's message of this step; returns whose it is.

    Raises:
      ProtocolError: the client is not asked, has sent its message already, or sends something else.
    """
    client = messages.sender(message)
    if self.step not in _RECEIVES:
      raise ProtocolError(f'client {client}: nothing is waited for')
    if client not in self.clients:
      raise ProtocolError(f'client {client}: is not waited for')
    if client in self._heard:
      raise ProtocolError(f'client {client}: has sent its message already')
    kind, take = _RECEIVES[self.step]
    body = messages.read(message, kind, self._parameters, client)
    try:
      self._heard[client] = take(self, client, body)
    except ProtocolError as error:
      raise ProtocolError(f'client {client}: {error}') from error
    return client

  def _take_keys(self, client: int, body: bytes) -> bytes:
    signature = keys.SIGNATURE_BYTES if self._parameters.signed else 0
    if len(body) != 2 * keys.SECRET_BYTES + signature:
      raise ProtocolError(f'its keys take {len(body)} bytes')
    return body

  def _take_shares(self, client: int, body: bytes) -> bytes:
    commitment, encrypted = body[: keys.SECRET_BYTES], body[keys.SECRET_BYTES :]
    rows = messages.unpack(messages.ENCRYPTED, encrypted)
    if [receiver for receiver, _ in rows] != self._neighbours[client]:
      raise ProtocolError('its shares are not for its neighbours')
    self._commitments[client] = commitment
    return encrypted

  def _take_masked(self, client: int, body: bytes) -> bytes:
    self._total += self._ring.unpack(body)
    return b''

  def _take_consent(self, client: int, body: bytes) -> bytes:
    if len(body) != keys.SIGNATURE_BYTES:
      raise ProtocolError(f'its signature takes {len(body)} bytes')
    return body

  def _take_revealed(self, client: int, body: bytes) -> bytes:
    rows = messages.unpack(messages.REVEALED, body)
    held = sorted(self._holders(client, self._sharing))
    wanted = [(v, Secret.SEED if v in self.survivors else Secret.MASK_KEY) for v in held]
    if [(v, secret) for v, secret, _ in rows] != wanted:
      raise ProtocolError('its shares are not those that were asked for')
    for whose, _, share in rows:
      self._shares.setdefault(whose, {})[client] = share
    return b''

  def close(self) -> dict[int, bytes]:
    """Ends the step with whoever has sent a message; returns the next message to each of them.

    Raises:
      Aborted: too few have. The session has then ended.
    """
    if self.step not in _CLOSES:
      raise ProtocolError('the session has ended')
    left, closes = frozenset(self._heard), _CLOSES[self.step]
    self.step, following = Step.REFUSED, after(self.step, self._parameters.signed)
    if len(left) < self._parameters.threshold:
      raise Aborted(f'{len(left)} clients are left; needed are {self._parameters.threshold}')
    answers = closes(self, left)
    self.clients, self._heard, self.step = left, {}, following
    return answers

  def _rosters(self, left: frozenset[int]) -> dict[int, bytes]:
    self._neighbours = neighbours.graph(left, self._parameters)
    self._check_holders(left, left)
    rows = {client: messages.CLIENT.pack(client) + self._heard[client] for client in left}
    mask_keys = slice(keys.SECRET_BYTES, 2 * keys.SECRET_BYTES)
    self._public = {client: body[mask_keys] for client, body in self._heard.items()}
    return {
      client: self._write(Kind.ROSTER, client, b''.join(rows[v] for v in self._neighbours[client]))
      for client in left
    }

  def _mail(self, left: frozenset[int]) -> dict[int, bytes]:
    self._sharing = left
    self._check_holders(left, left)
    letters: dict[int, list[tuple[int, bytes]]] = {client: [] for client in left}
    for client in left:
      for receiver, encrypted in messages.unpack(messages.ENCRYPTED, self._heard[client]):
        if receiver in left:
          letters[receiver].append((client, encrypted))
    return {
      client: self._write(Kind.MAIL, client, messages.pack(messages.ENCRYPTED, rows))
      for client, rows in letters.items()
    }

  def _survivor_lists(self, left: frozenset[int]) -> dict[int, bytes]:
    self.survivors = left
    self._check_holders(self._sharing, left)
    rows = lambda client: [(v,) for v in self._holders(client, left)]
    return {
      client: self._write(Kind.SURVIVORS, client, messages.pack(messages.CLIENT, rows(client)))
      for client in left
    }

  def _consents(self, left: frozenset[int]) -> dict[int, bytes]:
    body = messages.pack(messages.CONSENT, self._heard.items())
    return {client: self._write(Kind.CONSENTS, client, body) for client in left}

  def _unmask(self, left: frozenset[int]) -> dict[int, bytes]:
    self._check_holders(self._sharing, left)
    for client in sorted(self.survivors):
      self._remove_own_mask(client)
    for client in sorted(self._sharing - self.survivors):
      self._remove_pair_masks(client)
    return {}

  def sum(self) -> np.ndarray:
    """The sum of the survivors' vectors modulo 2^bits: uint64 [size].

    Raises:
      ProtocolError: the session has not come to its end.
    """
    if self.step is not Step.DONE:
      raise ProtocolError('the sum is not known before the session has come to its end')
    return self._ring.vector(self._total)

  def _write(self, kind: Kind, client: int, body: bytes) -> bytes:
    return messages.write(kind, self._parameters, client, body)

  def _holders(self, client: int, among: Collection[int]) -> list[int]:
    """Who of these holds shares of a client's secrets: its neighbours and itself."""
    return [v for v in [client, *self._neighbours[client]] if v in among]

  def _check_holders(self, whose: Collection[int], left: Collection[int]) -> None:
    """Raises `Aborted` unless enough are left to restore a secret of each of these."""
    for client in sorted(whose):
      holders = len(self._holders(client, left))
      if holders < self._parameters.threshold:
        raise Aborted(
          f"{holders} of those who hold client {client}'s shares are left; needed are "
          f'{self._parameters.threshold}'
        )

  def _restored(self, client: int) -> bytes:
    try:
      return shamir.join(self._shares[client], self._parameters.threshold)
    except ProtocolError as error:
      raise ProtocolError(f'client {client}: {error}') from error

  def _remove_own_mask(self, client: int) -> None:
    seed = self._restored(client)
    if keys.commitment(seed, self._parameters, client) != self._commitments[client]:
      raise ProtocolError(f'client {client}: wrong shares were given of its seed')
    self._ring.mask(self._total, keys.self_mask(seed, self._parameters, client), -1)

  def _remove_pair_masks(self, client: int) -> None:
    """Removes what its neighbours have added, and it was to subtract."""
    key = x25519.X25519PrivateKey.from_private_bytes(self._restored(client))
    if keys.public_bytes(key) != self._public[client]:
      raise ProtocolError(f'client {client}: wrong shares were given of its mask key')
    for neighbour in self._neighbours[client]:
      if neighbour in self.survivors:
        secret = keys.agree(key, self._public[neighbour])
        mask = keys.pair_mask(secret, self._parameters, client, neighbour)
        self._ring.mask(self._total, mask, neighbours.sign(client, neighbour))


_RECEIVES = {
  Step.ADVERTISE: (Kind.KEYS, Server._take_keys),
  Step.SHARE: (Kind.SHARES, Server._take_shares),
  Step.MASK: (Kind.MASKED, Server._take_masked),
  Step.CONSENT: (Kind.CONSENT, Server._take_consent),
  Step.REVEAL: (Kind.REVEAL, Server._take_revealed),
}

_CLOSES = {
  Step.ADVERTISE: Server._rosters,
  Step.SHARE: Server._mail,
  Step.MASK: Server._survivor_lists,
  Step.CONSENT: Server._consents,
  Step.REVEAL: Server._unmask,
}
