"""A site that repeats what it is told, to measure and to break the way to it.

    python -m tests.federation.echo_site --listen=unix:/tmp/a.sock

It waits `--seconds` before it answers, and notes every request that it computes in `--log`.
"""

import argparse
import hashlib
import pathlib
import time

from fl_research.federation import addresses, local_socket


def main() -> None:
  """Answers until it is killed."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--listen', required=True)
  parser.add_argument('--seconds', type=float, default=0.0)
  parser.add_argument('--log', type=pathlib.Path)
  arguments = parser.parse_args()

  def echo(request: bytes) -> bytes:
    if arguments.log:
      with arguments.log.open('a') as log:
        log.write(hashlib.sha256(request).hexdigest() + '\n')
    time.sleep(arguments.seconds)
    return request

  with local_socket.Server(addresses.parse('--listen', arguments.listen), echo):
    while True:
      time.sleep(3600)


if __name__ == '__main__':
  main()
