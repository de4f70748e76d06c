"""A site that repeats what it is told, to measure and to break the way to it.

    python -m tests.federation.echo_site --listen=unix:/tmp/a.sock

A request that begins with `wait:SECONDS:` takes so long. Every request that is computed is a line
in `--log`.
"""

import argparse
import pathlib
import threading
import time

from fl_research.federation import addresses, local_socket


def main() -> None:
  """Answers until it is killed."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--listen', required=True)
  parser.add_argument('--log', type=pathlib.Path)
  arguments = parser.parse_args()

  def echo(request: bytes) -> bytes:
    head = request[:64].split(b':')
    if arguments.log:
      with arguments.log.open('a') as log:
        log.write(f'{request[:64]!r}\n')
    if head[0] == b'wait':
      time.sleep(float(head[1]))
    return request

  with local_socket.Server(addresses.parse('--listen', arguments.listen), echo):
    threading.Event().wait()


if __name__ == '__main__':
  main()
