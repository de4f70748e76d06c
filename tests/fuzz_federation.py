"""Sends malformed messages to the sockets of a federation, and looks whether they mind.

    python -m tests.fuzz_federation --messages=100000

A site's server and an engine's are told, over a Unix-domain socket and over a port with a token,
what nobody should say: frames with bytes changed, cut, repeated or made up. Every few hundred
messages a proper request must still be answered; in the end neither memory, threads nor open files
may have grown. What is sent is a pure function of `--seed`.
"""

import argparse
from collections.abc import Callable
import contextlib
import logging
import os
import pathlib
import socket
import struct
import tempfile
import threading
import time

import numpy as np

from fl_research import random_streams
from fl_research.federation import addresses, frames, local_socket, parcels
from fl_research.federation.flower import Flower
from fl_research.runtime import memory

_LIMIT = 1 << 16
_BETWEEN = 250
_GROWTH = 16 << 20


def wire(kind: int, payload: bytes) -> bytes:
  """The bytes of a frame."""
  ours, theirs = socket.socketpair()
  with ours, theirs:
    frames.send(ours, kind, [payload])
    ours.shutdown(socket.SHUT_WR)
    return b''.join(iter(lambda: theirs.recv(1 << 16), b''))


def proper(random: np.random.Generator) -> bytes:
  """A frame that is well formed, about things that need not be."""
  kind = int(random.choice([1, 2, 16, 17, 32, 33, random.integers(256)]))
  label = {
    'operation': str(random.choice(['alive', 'due', 'reply', 'lost', 'who'])),
    'id': _anything(random),
    'sites': _anything(random),
    'held': _anything(random),
    'wait': float(random.choice([0.0, -1.0, float('nan')])),
    'reason': _anything(random),
  }
  for name in random.permutation(list(label))[: random.integers(6)]:
    del label[name]
  head = struct.pack('!16sd', random.bytes(16), random.choice([0.0, 0.001, float('nan'), -1e308]))
  rest = parcels.pack(label, random.bytes(int(random.integers(64))))
  if random.random() < 0.2:
    rest = struct.pack('!I', random.integers(1 << 32)) + random.bytes(20)
  return wire(kind, head + rest)


def _anything(random: np.random.Generator):
  values = [None, '', 'a', 7, -1.5, [], ['a', None], {}, {'a': []}, '\x00ä', 'x' * 1000]
  return values[random.integers(len(values))]


def malformed(random: np.random.Generator) -> bytes:
  """What is sent over one connection."""
  content = bytearray(proper(random))
  match random.integers(7):
    case 0:
      for _ in range(random.integers(1, 4)):
        content[random.integers(len(content))] = random.integers(256)
    case 1:
      del content[random.integers(len(content)) :]
    case 2:
      begin = int(random.integers(len(content)))
      content[begin:begin] = random.bytes(int(random.integers(1, 40)))
    case 3:
      content[6:14] = struct.pack('!Q', random.integers(1 << 63))
    case 4:
      return random.bytes(int(random.integers(200)))
    case 5:
      content += proper(random) + proper(random)
  return bytes(content)


def throw(address: addresses.Address, token, content: bytes) -> None:
  """Sends something, and leaves; whether it is read is not our concern."""
  with contextlib.suppress(OSError), addresses.connect(address, token, 10) as connection:
    connection.sendall(content)
    if len(content) % 2:
      connection.shutdown(socket.SHUT_WR)
      connection.settimeout(0.05)
      connection.recv(1)


def state() -> tuple[int, int]:
  """How many threads and open files there are."""
  return threading.active_count(), len(os.listdir('/proc/self/fd'))


def wait_for(before: tuple[int, int]) -> None:
  """Waits until there are no more threads and open files than before."""
  end = time.monotonic() + 90
  while any(now > then for now, then in zip(state(), before)):
    assert time.monotonic() < end, f'threads and files: {before} before, {state()} now'
    time.sleep(0.05)


def fuzz(messages: int, seed: int, folder: pathlib.Path, say: Callable[[str], None]) -> None:
  """Sends so many messages to a site, to a port with and without the token, and to an engine.

  Raises:
    AssertionError: a server does not answer any more, or has kept something.
  """
  token_file = folder / 'token'
  with socket.create_server(('127.0.0.1', 0)) as probe:
    port = f'127.0.0.1:{probe.getsockname()[1]}'
  site_at, port_at, engine_at = (
    addresses.parse('--fuzz', text) for text in (f'unix:{folder}/s', port, f'unix:{folder}/e')
  )
  echo = lambda request: b're: ' + request
  alive = parcels.pack({'operation': 'alive', 'sites': []})
  engine = Flower(engine_at, limit=_LIMIT)
  with (
    local_socket.Server(site_at, echo, limit=_LIMIT),
    local_socket.Server(port_at, echo, token_file, limit=_LIMIT),
  ):
    token = addresses.read_token(port_at, token_file)
    places = [
      (site_at, None, None, b'request', b're: request'),
      (port_at, token, token_file, b'request', b're: request'),
      (port_at, None, token_file, b'request', b're: request'),
      (engine_at, None, None, alive, parcels.pack({})),
    ]
    for address, secret, file, request, reply in places:
      random = random_streams.generator(seed, f'fuzz {address.is_path} {secret is None}')
      before = state()
      for number in range(messages):
        throw(address, secret, malformed(random))
        if number % _BETWEEN == _BETWEEN - 1 or number == messages - 1:
          assert local_socket.ask(address, request, 60, file) == reply
        if number == messages // 5:
          memory.trim()
          resident = memory.resident_bytes()
      wait_for(before)
      memory.trim()
      growth = memory.resident_bytes() - resident
      assert growth < _GROWTH, f'{address.text}: {growth:,} bytes more'
      say(f'{address.text}: {messages:,} messages, {growth / 1e6:+.1f} MB')
  engine.close()


def main() -> None:
  """Fuzzes, and says how it went."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--messages', type=int, default=2000)
  parser.add_argument('--seed', type=int, default=0)
  arguments = parser.parse_args()
  logging.disable()
  with tempfile.TemporaryDirectory(prefix='fl') as folder:
    fuzz(arguments.messages, arguments.seed, pathlib.Path(folder), print)


if __name__ == '__main__':
  main()
