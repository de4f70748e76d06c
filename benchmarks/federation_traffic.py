"""What a federation's tables count as bytes, against what crosses the sockets of its sites.

    python -m benchmarks.federation_traffic --save

Two sites with five clients each of the digits, all of whom take part in every round; a model of
8,971 numbers. A pipe before each site counts every byte to and from it, frames and requests
included. Two runs of each setting, a short and a long one, tell apart what crosses once from what
crosses in a round: the difference over the rounds that the long one has more is a round, and what
is left of the short one is before and after all rounds (the request, graphs, two evaluations, a
checkpoint).

`metrics.csv` counts in `bytes_down` and `bytes_up` what each client would be sent, and would send,
by itself; a site is sent the broadcast once for all of its clients.
"""

import argparse
from collections.abc import Iterator
import contextlib
import dataclasses
import json
import pathlib
import socket
import tempfile
import threading

import pandas as pd

from fl_research import settings as settings_lib
from fl_research.federation import (
  addresses,
  engine_data,
  guard,
  local_socket,
  policy,
  site_data,
)
from fl_research.federation.site import Site
from fl_research.training import experiment, run_data

RESULTS = pathlib.Path(__file__).parent / 'results' / 'federation_traffic.csv'
SETTINGS = {
  f'{algorithm}{", " + compressor if compressor else ""}': {
    'algorithm': algorithm,
    **({'compressor': compressor} if compressor else {}),
  }
  for algorithm in ('fedavg', 'scaffold', 'fednova')
  for compressor in ('', 'quantize')
}
SITES, CLIENTS = 2, 10
SHORT, LONG = 2, 12
_PIECE, _SECONDS = 1 << 16, 60.0
_ALLOWS = policy.Policy(decision=policy.DecisionRules('allow'))


class CountingPipe:
  """Stands before a socket, hands on all that comes, and counts it.

  Args:
    listen: where it is.
    behind: the address that it stands before.

  Attributes:
    down, up: bytes to what is behind, and from it.
  """

  def __init__(self, listen: pathlib.Path, behind: addresses.Address):
    self.down = self.up = 0
    self._behind = behind
    self._listening = addresses.listen(addresses.parse('--listen', f'unix:{listen}'))
    self._accepting = threading.Thread(target=self._accept, daemon=True)
    self._accepting.start()

  def _accept(self) -> None:
    with contextlib.suppress(OSError):
      while True:
        front, _ = self._listening.accept()
        back = addresses.connect(self._behind, None, _SECONDS)
        for pair in ((front, back, 'down'), (back, front, 'up')):
          threading.Thread(target=self._hand_on, args=pair, daemon=True).start()

  def _hand_on(self, source: socket.socket, target: socket.socket, count: str) -> None:
    with contextlib.suppress(OSError):
      while piece := source.recv(_PIECE):
        setattr(self, count, getattr(self, count) + len(piece))
        target.sendall(piece)
      target.shutdown(socket.SHUT_WR)

  def close(self) -> None:
    """Takes no more connections."""
    self._listening.shutdown(socket.SHUT_RDWR)
    self._listening.close()


@contextlib.contextmanager
def sites(folder: pathlib.Path) -> Iterator[dict[str, CountingPipe]]:
  """Sites that allow everything, with the pipes before them by name."""
  own = settings_lib.from_flags({'task': 'digits', 'num_clients': CLIENTS})
  ids = run_data.load(own).train.ids
  pipes = {}
  with contextlib.ExitStack() as stack:
    for number in range(SITES):
      name = f'site_{number}'
      data = site_data.SiteData(own, ids[number::SITES])
      data.load({})
      site = Site(name, data, guard.Guard(folder / name, _ALLOWS), folder / name)
      stack.callback(site.close)
      address = addresses.parse('--listen', f'unix:{folder / name}.sock')
      stack.enter_context(local_socket.Server(address, site.handle))
      pipes[name] = CountingPipe(folder / f'{name}.pipe', address)
      stack.callback(pipes[name].close)
    yield pipes


def run(flags: dict, rounds: int) -> dict[str, int]:
  """Bytes of a whole run of so many rounds, by who counts them."""
  with tempfile.TemporaryDirectory(dir='/tmp') as name, sites(pathlib.Path(name)) as pipes:
    given = {
      'task': 'digits',
      'model': 'mlp',
      'clients_per_round': CLIENTS,
      'client_learning_rate': 0.05,
      'output_dir': name,
      'experiment_name': 'traffic',
      'tensorboard': False,
      'total_rounds': rounds,
      'rounds_per_evaluation': LONG,
      'rounds_per_checkpoint': LONG,
    }
    at = ','.join(f'{site}=unix:{name}/{site}.pipe' for site in pipes)
    settings = settings_lib.from_flags({**given, **flags})
    settings = dataclasses.replace(settings, runtime='federation', federation=f'direct:{at}')
    outcome = experiment.run(settings, lambda: '', engine_data.load(settings))
    table = pd.read_csv(outcome.folder.metrics)
    traffic = json.loads((outcome.folder.path / 'manifest.json').read_text())['traffic']
    counts = {}
    for way in ('down', 'up'):
      counts[f'metrics.csv {way}'] = int(table[f'bytes_{way}'].sum())
      counts[f'messages {way}'] = sum(site[way] for site in traffic.values())
      counts[f'socket {way}'] = sum(getattr(pipe, way) for pipe in pipes.values())
    return counts


def measure(flags: dict) -> dict[str, int]:
  """Bytes of a round, by who counts them, and of all that is no round."""
  short, long = run(flags, SHORT), run(flags, LONG)
  a_round = {name: (long[name] - short[name]) // (LONG - SHORT) for name in short}
  once = {
    f'once {way}': short[f'socket {way}'] - SHORT * a_round[f'socket {way}']
    for way in ('down', 'up')
  }
  return {**a_round, **once}


def main() -> None:
  """Measures, and prints."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--save', action='store_true', help=f'write {RESULTS.name}')
  save = parser.parse_args().save
  rows = [{'setting': name, **measure(flags)} for name, flags in SETTINGS.items()]
  table = pd.DataFrame(rows)
  print(table.to_string(index=False))
  if save:
    table.to_csv(RESULTS, index=False)


if __name__ == '__main__':
  main()
