"""A node of a Flower federation that runs nobody's code: it hands messages to a site, and no more.

    .flower/bin/python -m fl_research.federation.flower_app.site_node \
      --superlink=HOST:9092 --root-certificates=ca.crt --key=NAME --site=NAME --socket=unix:/a.sock

Flower's own SuperNode starts, for every message, a process with the app that SuperLink has sent it,
whatever is in that. For the owner of data this is the better one: SuperLink knows it by the same
key and speaks to it by the same protocol, but nothing that comes is ever run. It stays in touch by
itself; what cannot be mended by waiting (a certificate, an unknown key) ends it in Flower's words.

It uses parts of flwr that are not documented, of the version that requirements-flower.txt names.
"""

import argparse
import logging
import pathlib
import time
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import (
  get_all_nested_objects,
  get_object_tree,
  no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
  pull_and_inflate_object_from_tree,
  push_objects,
)
from flwr.supercore.run import RunNotRunningException
from flwr.supernode.fleet_http_connection import http_request_response

from fl_research.federation.flower_app import content, site_relay

_AWAKE_SECONDS = 60.0
"""For how long after a message more are expected."""

_AWAKE_PAUSE, _ASLEEP_PAUSE, _AWAY_PAUSE = 0.2, 1.0, 5.0
_PATIENCE = 5.0
"""Seconds after which a site that is still at work says so, and other messages have their turn."""


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


def serve(site: Site, fleet: Any) -> None:
  """Answers what comes until the connection is lost.

  Args:
    site: who is to answer.
    fleet: what `http_request_response` gives.
  """
  _, receive, send, _, _, pull_object, push_object, confirm = fleet
  last = time.monotonic()
  while True:
    received = receive()
    if received is None:
      awake = time.monotonic() < last + _AWAKE_SECONDS
      time.sleep(_AWAKE_PAUSE if awake else _ASLEEP_PAUSE)
      continue
    head, tree = received
    run = head.metadata.run_id
    message = pull_and_inflate_object_from_tree(
      tree,
      lambda name, run=run: pull_object(run, name),
      lambda name, run=run: confirm(run, name),
      return_type=Message,
    )
    message.metadata.__dict__['_message_id'] = tree.object_id
    began = time.monotonic()
    reply = _reply(site, message)
    with no_object_id_recompute():
      reply.metadata.__dict__['_message_id'] = reply.object_id
      wanted, session = send(reply, get_object_tree(reply), time.monotonic() - began)
      push_objects(
        get_all_nested_objects(reply),
        lambda name, body, run=run, session=session: push_object(run, session, name, body),
        object_ids_to_push=set(wanted),
      )
    last = time.monotonic()


def _reply(site: Site, message: Message) -> Message:
  label, request = content.unpack(message.content)
  answer = site_relay.answer(label, request, *site, patience=_PATIENCE)
  return Message(content.pack(*answer), reply_to=message)


def main() -> None:
  """Stays connected until it is stopped."""
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  for flag in ('superlink', 'root-certificates', 'key', 'site', 'socket'):
    parser.add_argument(f'--{flag}', required=True)
  parser.add_argument('--token-file', default='')
  arguments = parser.parse_args()
  site = Site(arguments.site, arguments.socket, arguments.token_file)
  key = load_ssh_private_key(pathlib.Path(arguments.key).read_bytes(), None)
  if not isinstance(key, ec.EllipticCurvePrivateKey):
    parser.error(f'--key={arguments.key}: is no ECDSA key')
  while True:
    try:
      with http_request_response(
        arguments.superlink, False, arguments.root_certificates, (key, key.public_key())
      ) as fleet:
        logging.warning('%s is connected to %s', site.name, arguments.superlink)
        serve(site, fleet)
    except RunNotRunningException:
      logging.warning('a message belongs to a run that has ended')
    except Exception as error:  # whatever it is, it may be over when we connect anew
      logging.warning('the connection was lost: %s', error)
    time.sleep(_AWAY_PAUSE)


if __name__ == '__main__':
  main()
