"""A node of a Flower federation that runs nobody's code: it hands messages to a site, and no more.

    .flower/bin/python -m fl_research.federation.flower_app.site_node \
      --superlink=HOST:9092 --root-certificates=ca.crt --key=NAME --site=NAME --socket=unix:/a.sock

Flower's own SuperNode starts, for every message, a process with the app that SuperLink has sent it,
whatever is in that. For the owner of data this is the better one: SuperLink knows it by the same
key and speaks to it by the same protocol, but nothing that comes is ever run. It connects again
whenever the connection is lost; only a certificate that is not the right one ends it.

It uses parts of flwr that are not documented, of the version that requirements-flower.txt names.
"""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import pathlib
import signal
import sys
import threading
import time
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message
from flwr.app.message import remove_content_from_message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
  ActivateNodeRequest,
  DeactivateNodeRequest,
  PullMessagesRequest,
  PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.node_pb2 import Node
from flwr.supercore.inflatable import inflatable_protobuf_utils as object_calls
from flwr.supercore.inflatable.inflatable_object import (
  get_all_nested_objects,
  get_object_tree,
  no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
  pull_and_inflate_object_from_tree,
  push_objects,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
import httpx

from fl_research.federation.flower_app import content, site_relay

_HEARTBEAT_SECONDS = 10.0
"""The shortest that SuperLink takes; it misses a node after twice as long."""

_BEAT_PAUSE = 7.0
_AWAKE_SECONDS = 60.0
"""For how long after a message more are expected."""

_AWAKE_PAUSE, _ASLEEP_PAUSE, _AWAY_PAUSE = 0.2, 1.0, 5.0
_RETRY_PAUSES = (0.5, 1.0, 2.0, 4.0)
_PATIENCE = 5.0
"""Seconds after which a site that is still at work says so, and other messages have their turn."""

_REPEAT_SECONDS = 600.0
"""After how long a complaint is repeated."""


class Site(NamedTuple):
  """The site that messages are for.

  Attributes:
    name: its name.
    address: where it listens.
    token_file: for a port, the file of the token.
  """

  name: str
  address: str
  token_file: str


def persistently(call: Callable[[Any], Any]) -> Callable[[Any], Any]:
  """A call that is made again where the connection was lost or SuperLink is away for a moment.

  Else a message would be lost until its time is over, for it is handed out once.
  """

  def persist(request: Any) -> Any:
    for pause in _RETRY_PAUSES:
      try:
        return call(request)
      except httpx.HTTPError as error:
        if isinstance(error, httpx.HTTPStatusError) and error.response.status_code != 503:
          raise
        time.sleep(pause)
    return call(request)

  return persist


class Fleet:
  """What a SuperLink has for one of its nodes.

  Args:
    client: the connection.
    node: who we are to SuperLink.
  """

  def __init__(self, client: FleetHttpClient, node: Node):
    self._client, self._node = client, node

  def receive(self) -> 'Message | None':
    """The next message, None where there is none."""
    pulled = self._client.PullMessages(PullMessagesRequest(node=self._node))
    if not pulled.messages_list:
      return None
    run = message_from_proto(pulled.messages_list[0]).metadata.run_id
    tree = pulled.message_object_trees[0]
    pull = persistently(self._client.PullObject)
    confirm = persistently(self._client.ConfirmMessageReceived)
    message = pull_and_inflate_object_from_tree(
      tree,
      object_calls.make_pull_object_fn_protobuf(pull, self._node, run),
      object_calls.make_confirm_message_received_fn_protobuf(confirm, self._node, run),
      return_type=Message,
    )
    message.metadata.__dict__['_message_id'] = tree.object_id
    return message

  def send(self, reply: Message, seconds: float) -> None:
    """Sends a reply, which took so long."""
    reply.metadata.__dict__['_message_id'] = reply.object_id
    run, push = reply.metadata.run_id, persistently(self._client.PushObject)
    with no_object_id_recompute():
      pushed = persistently(self._client.PushMessages)(
        PushMessagesRequest(
          node=self._node,
          messages_list=[message_to_proto(remove_content_from_message(reply))],
          message_object_trees=[get_object_tree(reply)],
          clientapp_runtime_list=[seconds],
        )
      )
      push_objects(
        get_all_nested_objects(reply),
        object_calls.make_push_object_fn_protobuf(push, self._node, run, pushed.session_id),
        object_ids_to_push=set(pushed.objects_to_push),
      )

  def beat(self, ended: threading.Event) -> None:
    """Says again and again that we are there."""
    while not ended.wait(_BEAT_PAUSE):
      # Where this fails, so does what the main thread does, which connects anew.
      with contextlib.suppress(httpx.HTTPError):
        self._client.SendNodeHeartbeat(
          SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=_HEARTBEAT_SECONDS)
        )


@contextlib.contextmanager
def connect(superlink: str, certificate: str, key: ec.EllipticCurvePrivateKey) -> Iterator[Fleet]:
  """A connection to a SuperLink, which knows us by the key.

  Raises:
    httpx.HTTPError: there is none.
  """
  interceptors = [
    RuntimeVersionHttpInterceptor(component_name='SuperNode'),
    NodeAuthHttpInterceptor(key, key.public_key()),
  ]
  with FleetHttpClient.from_server_address(superlink, False, certificate, interceptors) as client:
    public = public_key_to_bytes(key.public_key())
    request = ActivateNodeRequest(public_key=public, heartbeat_interval=_HEARTBEAT_SECONDS)
    node = Node(node_id=client.ActivateNode(request).node_id)
    fleet, ended = Fleet(client, node), threading.Event()
    beating = threading.Thread(target=fleet.beat, args=(ended,), daemon=True)
    beating.start()
    try:
      yield fleet
    finally:
      ended.set()
      beating.join()
      with contextlib.suppress(httpx.HTTPError):
        client.DeactivateNode(DeactivateNodeRequest(node_id=node.node_id))


def serve(site: Site, fleet: Fleet) -> None:
  """Answers what comes, until the connection is lost."""
  last = time.monotonic()
  while True:
    message = fleet.receive()
    if message is None:
      awake = time.monotonic() < last + _AWAKE_SECONDS
      time.sleep(_AWAKE_PAUSE if awake else _ASLEEP_PAUSE)
      continue
    began = time.monotonic()
    label, request = content.unpack(message.content)
    answer = site_relay.answer(label, request, *site, patience=_PATIENCE)
    fleet.send(Message(content.pack(*answer), reply_to=message), time.monotonic() - began)
    last = time.monotonic()


class Complaints:
  """Says what is wrong when it changes, and again from time to time."""

  def __init__(self):
    self._last, self._said = '', float('-inf')

  def say(self, line: str) -> None:
    """Says a line, on stderr."""
    now = time.monotonic()
    if line != self._last or now > self._said + _REPEAT_SECONDS:
      print(line, file=sys.stderr, flush=True)
      self._last, self._said = line, now


def describe(error: Exception, superlink: str) -> str:
  """What is wrong with a connection, for an administrator."""
  if isinstance(error, httpx.HTTPStatusError):
    status = error.response.status_code
    if status in (401, 403, 412):
      return (
        f'{superlink} does not let this key in (HTTP {status}): it is not registered there, '
        'another node uses it or did so until a moment ago, or the clocks differ; we keep trying'
      )
  return f'no connection to {superlink} ({error}); we keep trying'


def stay_connected(
  site: Site, superlink: str, certificate: str, key: ec.EllipticCurvePrivateKey
) -> str:
  """Answers for a site; gives why that must end, when it must."""
  complaints = Complaints()
  while True:
    try:
      with connect(superlink, certificate, key) as fleet:
        complaints.say(f'site {site.name}: connected to {superlink}')
        serve(site, fleet)
    except Exception as error:  # whatever it is, it may be over when we connect anew
      if 'CERTIFICATE_VERIFY_FAILED' in str(error):
        return f'{superlink} cannot prove that it is what {certificate} vouches for: {error}'
      complaints.say(f'site {site.name}: {describe(error, superlink)}')
    time.sleep(_AWAY_PAUSE)


def main() -> None:
  """Stays connected until it is stopped."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  for flag in ('superlink', 'root-certificates', 'key', 'site', 'socket'):
    parser.add_argument(f'--{flag}', required=True)
  parser.add_argument('--token-file', default='')
  arguments = parser.parse_args()
  site = Site(arguments.site, arguments.socket, arguments.token_file)
  try:
    key = load_ssh_private_key(pathlib.Path(arguments.key).read_bytes(), None)
  except (OSError, ValueError) as error:
    parser.error(f'--key={arguments.key}: cannot be read ({error})')
  if not isinstance(key, ec.EllipticCurvePrivateKey):
    parser.error(f'--key={arguments.key}: is no ECDSA key')
  # As exceptions, so that SuperLink is told.
  for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: sys.exit(128 + number))
  with contextlib.suppress(KeyboardInterrupt):
    sys.exit(stay_connected(site, arguments.superlink, arguments.root_certificates, key))


if __name__ == '__main__':
  main()
