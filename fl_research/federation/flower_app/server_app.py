"""A Flower ServerApp that carries requests from the engine to the sites, and their replies back.

It knows what it has sent and where that is; the requests themselves stay with the engine, which
hands out again what got lost. The run's configuration says where the engine listens: `engine`, and
for a port `token_file`; and which node is which site: `names`, `NODE=NAME,NODE=NAME`, for SuperLink
knows the nodes by the sites' keys, and a node cannot choose its name. It waits for engines until it
is stopped.
"""

from collections.abc import Mapping
import logging
import threading
import time
from typing import Any, NamedTuple, Optional

from flwr.app import Context, Error, Message
from flwr.serverapp import Grid, ServerApp

from fl_research.federation import addresses, local_socket, parcels
from fl_research.federation.flower_app import content

app = ServerApp()

_TTL = 600.0
"""Seconds after which Flower gives a message up: for the lines; a site answers within a minute."""

_ATTEMPTS = 3
_NODE_UNAVAILABLE = 5
_LOOK_SECONDS = 2.0
_BUSY_SECONDS = 0.2
_IDLE_SECONDS = 2.0


@app.main()
def main(grid: Grid, context: Context) -> None:
  """Carries messages until it is stopped."""
  address = addresses.parse('engine', str(context.run_config['engine']))
  token = addresses.token_path(str(context.run_config.get('token_file', '')))
  Relay(grid, Engine(address, token), _names(str(context.run_config['names']))).run()


def _names(text: str) -> dict[int, str]:
  pairs = [each.partition('=') for each in text.split(',') if each]
  return {int(node): name for node, _, name in pairs}


class Engine:
  """The engine's socket, at which somebody may or may not listen."""

  def __init__(self, address: addresses.Address, token_file):
    self._address, self._token_file = address, token_file
    self._connection: Optional[local_socket.Connection] = None

  def another(self) -> 'Engine':
    """The same engine, by a connection of its own."""
    return Engine(self._address, self._token_file)

  def tell(self, label: Mapping[str, Any], message: bytes = b'') -> tuple[dict[str, Any], bytes]:
    """What the engine says to that; nothing where none is there."""
    try:
      if self._connection is None:
        self._connection = local_socket.Connection(self._address, self._token_file)
      parcel = parcels.pack(label, message)
      answer = local_socket.wait_for_reply(
        self._connection, local_socket.new_id(), parcel, local_socket.PATIENCE
      )
      said, rest = parcels.unpack(answer)
      return said, bytes(rest)
    except (local_socket.Unanswered, parcels.ParcelError):
      if self._connection is not None:
        self._connection.close()
        self._connection = None
      time.sleep(1.0)
      return {}, b''


class Flight(NamedTuple):
  """A Flower message without a reply.

  Attributes:
    node: the node that it went to.
    key: the request's id.
  """

  node: int
  key: str


class Relay:
  """Carries messages between an engine and Flower's grid.

  Args:
    grid: the nodes.
    engine: the engine's socket.
    names: of the sites, by node.
  """

  def __init__(self, grid: Grid, engine: Engine, names: Mapping[int, str]):
    self._grid, self._engine, self._names = grid, engine, dict(names)
    self._there: frozenset[int] = frozenset()
    self._flights: dict[str, Flight] = {}
    self._attempts: dict[str, int] = {}
    self._looked = float('-inf')

  def run(self) -> None:
    """Carries messages for ever."""
    threading.Thread(target=self._stay_in_touch, daemon=True).start()
    while True:
      try:
        if time.monotonic() > self._looked + _LOOK_SECONDS:
          self.look()
        self.fetch()
        self.collect()
      except Exception:  # whatever it is, the engine has what is open, and hands it out again
        logging.exception('messages may have got lost, and are sent again')
        self._flights.clear()
        time.sleep(_LOOK_SECONDS)

  def _stay_in_touch(self) -> None:
    # By a connection of its own, as the other one may carry a large message.
    engine = self._engine.another()
    while True:
      engine.tell({'operation': 'alive', 'sites': self.sites()})
      time.sleep(_LOOK_SECONDS)

  def sites(self) -> list[str]:
    """Names of the sites that are connected."""
    return sorted(self._names[node] for node in self._there)

  def look(self) -> None:
    """Finds out which sites are connected."""
    self._looked = time.monotonic()
    self._there = frozenset(self._grid.get_node_ids()) & frozenset(self._names)

  def fetch(self) -> None:
    """Sends what the engine wants to be sent; waits a little where there is nothing."""
    wait = _BUSY_SECONDS if self._flights else _IDLE_SECONDS
    while self._fetch_one(wait):
      wait = 0.0

  def _fetch_one(self, wait: float) -> bool:
    """Sends one request; whether there was one that could be sent."""
    held = [flight.key for flight in self._flights.values()]
    said, request = self._engine.tell({'operation': 'due', 'held': held, 'wait': wait})
    is_open = set(said.get('open', ()))
    self._attempts = {key: count for key, count in self._attempts.items() if key in is_open}
    if 'id' not in said:
      return False
    key, site = said['id'], said['site']
    node = next((node for node in self._there if self._names[node] == site), None)
    if node is None:
      time.sleep(_BUSY_SECONDS)
      return False
    self._attempts[key] = self._attempts.get(key, 0) + 1
    return self._send(node, key, {'operation': 'ask', 'id': key}, request)

  def _send(self, node: int, key: str, label: Mapping[str, Any], message: bytes = b'') -> bool:
    """Sends a message to a node; whether Flower has taken it."""
    sent = Message(content.pack(label, message), node, 'query', ttl=_TTL)
    (message_id,) = self._grid.push_messages([sent]) or [None]
    if message_id:
      self._flights[message_id] = Flight(node, key)
    return bool(message_id)

  def collect(self) -> None:
    """Takes the replies that have come."""
    if not self._flights:
      return
    for reply in self._grid.pull_messages(list(self._flights)):
      flight = self._flights.pop(reply.metadata.reply_to_message_id, None)
      if flight is None:
        continue
      if reply.has_error():
        self._failed(flight, reply.error)
      else:
        self._take(flight, *content.unpack(reply.content))

  def _take(self, flight: Flight, label: Mapping[str, Any], message: bytes) -> None:
    state = label['state']
    if label['site'] != self._names[flight.node]:
      reason = f'the node with its key is there for a site named {label["site"]!r}'
      self._engine.tell({'operation': 'lost', 'id': flight.key, 'reason': reason})
    elif state == 'reply':
      self._engine.tell({'operation': 'reply', 'id': flight.key}, message)
    elif state == 'pending':
      self._send(flight.node, flight.key, {'operation': 'again', 'id': flight.key})
    elif state == 'lost':
      self._engine.tell({'operation': 'lost', 'id': flight.key, 'reason': label['reason']})
    # A site that has started anew does not know the id: the engine hands the request out again.

  def _failed(self, flight: Flight, error: Error) -> None:
    """Flower has lost a message; what is asked too often in vain is given up."""
    if error.code == _NODE_UNAVAILABLE:
      # It is asked again once it is back; whether that takes too long is for the engine to say.
      self._there -= {flight.node}
    elif self._attempts.get(flight.key, 0) >= _ATTEMPTS:
      reason = f'Flower: {error.reason} (code {error.code})'
      self._engine.tell({'operation': 'lost', 'id': flight.key, 'reason': reason})
