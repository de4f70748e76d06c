"""What secure aggregation costs: processor seconds and bytes, of a client and of the server."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import pathlib
import time
from typing import Any, Optional

from absl import flags
import numpy as np
import pandas as pd
import rich.console
import rich.table

from baselines.bonawitz2017_secagg import expansion
from experiments import command_line
from fl_research import random_streams
from fl_research.secure_aggregation import client as client_lib
from fl_research.secure_aggregation import masks, messages, parameters, server, thresholds
from fl_research.secure_aggregation.steps import Step

INTRODUCTION = """
Holds sessions of secure aggregation of vectors of 16-bit numbers, all parties in one thread, and
prints for each the processor seconds and the bytes of a client and of the server. A tenth of the
clients may be corrupt and a fifth fall silent; in half of the sessions a tenth does, after they
have shared their secrets, which is the dearest moment for the server. A client's seconds are the
median over those that are timed; the others send zeros instead of masked vectors, which costs the
server the same. Where all are timed, the sum is checked.

  python -m benchmarks.secure_aggregation --clients=10,100 --entries=10000,100000
  python -m benchmarks.secure_aggregation --save
"""
HELP = {
  'clients': 'numbers of clients',
  'entries': 'sizes of the vectors',
  'graphs': 'all (Bonawitz et al. 2017) or few (Bell et al. 2020) neighbours',
  'timed': 'how many clients are timed; 0: all',
  'save': 'write benchmarks/results/secure_aggregation.csv',
}
RESULTS = pathlib.Path(__file__).parent / 'results'
INPUT_BITS = 16
CORRUPT, SILENT = 0.1, 0.2
FALLS_SILENT = 0.1
IN_ABSTRACT = ((2**10, 2**20), (2**14, 2**24))
"""The clients and entries of the paper's abstract."""


class Session:
  """A session, step by step, with the processor seconds that each party takes.

  Args:
    clients: n.
    entries: m.
    graph: 'all' or 'few'.
    silent: how many fall silent after they have shared their secrets.
    timed: how many clients mask their vectors.
  """

  def __init__(self, clients: int, entries: int, graph: str, silent: int, timed: int):
    plan = thresholds.plan(clients, CORRUPT, SILENT)
    bits = INPUT_BITS + math.ceil(math.log2(clients))
    self.degree = plan.degree if graph == 'few' else None
    self.threshold = plan.threshold
    if self.degree is None:
      self.threshold = clients - math.ceil(SILENT * clients)
    self._session = parameters.Parameters(
      parameters.session_of('benchmark'), 0, entries, bits, self.threshold, self.degree
    )
    short = dataclasses.replace(self._session, size=1)
    is_timed = lambda number: silent <= number < silent + timed
    self._clients = [
      client_lib.Client(self._session if is_timed(number) else short, number)
      for number in range(clients)
    ]
    self._server = server.Server(self._session, range(clients))
    self._silent, self._timed = silent, timed
    self.client_seconds = np.zeros(clients)
    self.server_seconds = 0.0
    self.bytes_up, self.bytes_down = np.zeros(clients, int), np.zeros(clients, int)

  def run(self) -> None:
    """Holds it, and checks the sum where all mask their vectors."""
    told = dict.fromkeys(range(len(self._clients)), b'')
    while self._server.step is not Step.DONE:
      for number, message in sorted(told.items()):
        self.bytes_down[number] += len(message)
        if self._server.step < Step.MASK or number >= self._silent:
          answer = self._answer(number, message)
          self.bytes_up[number] += len(answer)
          self._at_server(self._server.receive, answer)
      told = self._at_server(self._server.close)
    if self._timed + self._silent >= len(self._clients):
      survivors = range(self._silent, len(self._clients))
      assert (self._server.sum() == sum(self._vector(number) for number in survivors)).all()

  def _at_server(self, call, *arguments):
    begin = time.process_time()
    result = call(*arguments)
    self.server_seconds += time.process_time() - begin
    return result

  def _answer(self, number: int, message: bytes) -> bytes:
    client, step = self._clients[number], self._server.step
    if step is Step.MASK and number >= self._silent + self._timed:
      return self._unmasked(number, message)
    vector = self._vector(number) if step is Step.MASK else np.zeros(0, np.uint64)
    calls = {
      Step.ADVERTISE: lambda: client.advertise(),
      Step.SHARE: lambda: client.share(message),
      Step.MASK: lambda: client.mask(message, vector),
      Step.REVEAL: lambda: client.reveal(message),
    }
    begin = time.process_time()
    answer = calls[step]()
    self.client_seconds[number] += time.process_time() - begin
    return answer

  def _unmasked(self, number: int, mail: bytes) -> bytes:
    """What is as long as a masked vector, of a client that masks one entry only."""
    self._clients[number].mask(mail, np.zeros(1, np.uint64))
    zeros = bytes(masks.Ring(self._session.size, self._session.bits).num_bytes)
    return messages.write(messages.Kind.MASKED, self._session, number, zeros)

  def _vector(self, number: int) -> np.ndarray:
    draw = random_streams.generator(0, 'vector', number).integers
    return draw(0, 2**INPUT_BITS - 1, self._session.size, np.uint64, endpoint=True)


def measure(clients: int, entries: int, graph: str, falls_silent: bool, timed: int) -> dict:
  """A row of the table."""
  silent = math.ceil(FALLS_SILENT * clients) if falls_silent else 0
  timed = min(timed or clients, clients - silent)
  session = Session(clients, entries, graph, silent, timed)
  session.run()
  measured = slice(silent, silent + timed)
  up, down = (int(part[measured].max()) for part in (session.bytes_up, session.bytes_down))
  clear = entries * INPUT_BITS / 8
  return {
    'clients': clients,
    'entries': entries,
    'neighbours': clients - 1 if session.degree is None else session.degree,
    'threshold': session.threshold,
    'silent': silent,
    'clients_timed': timed,
    'client_seconds': round(float(np.median(session.client_seconds[measured])), 4),
    'server_seconds': round(session.server_seconds, 3),
    'client_bytes_up': up,
    'client_bytes_down': down,
    'server_bytes': int(session.bytes_up.sum() + session.bytes_down.sum()),
    'expansion': round((up + down) / clear, 3),
    'expansion_in_paper': round(expansion.expansion(clients, entries, INPUT_BITS), 3),
  }


def client_bytes(clients: int, entries: int, degree: Optional[int] = None) -> int:
  """What a client sends and is sent when none falls silent, by the sizes of the messages."""
  others = clients - 1 if degree is None else degree
  bits = INPUT_BITS + math.ceil(math.log2(clients))
  up = (
    messages.PUBLIC_KEYS.size
    - messages.CLIENT.size
    + 32
    + others * messages.ENCRYPTED.size
    + masks.Ring(entries, bits).num_bytes
    + (others + 1) * messages.REVEALED.size
  )
  down = others * (messages.PUBLIC_KEYS.size + messages.ENCRYPTED.size)
  down += (others + 1) * messages.CLIENT.size
  return 7 * messages.HEADER_BYTES + up + down


def expansions(clients: int, entries: int) -> dict[str, Any]:
  """What a client's traffic is multiplied by, by the sizes of our messages and in the paper."""
  plan = thresholds.plan(clients, CORRUPT, SILENT)
  clear = entries * INPUT_BITS / 8
  return {
    'clients': clients,
    'entries': entries,
    'all': round(client_bytes(clients, entries) / clear, 3),
    'few': round(client_bytes(clients, entries, plan.degree) / clear, 3),
    'paper': round(expansion.expansion(clients, entries, INPUT_BITS), 3),
  }


def show(rows: Sequence[Mapping[str, Any]]) -> None:
  """Prints rows as a table."""
  table = rich.table.Table(*rows[0])
  for row in rows:
    table.add_row(*map(str, row.values()))
  rich.console.Console(width=220).print(table)


def main(argv: Sequence[str]) -> int:
  """Prints the tables, and saves the first."""
  values = flags.FlagValues()
  own = {'flag_values': values}
  flags.DEFINE_list('clients', '10,100,500', HELP['clients'], **own)
  flags.DEFINE_list('entries', '10000,100000,1000000', HELP['entries'], **own)
  flags.DEFINE_list('graphs', 'all,few', HELP['graphs'], **own)
  flags.DEFINE_integer('timed', 10, HELP['timed'], lower_bound=0, **own)
  flags.DEFINE_bool('save', False, HELP['save'], **own)
  if command_line.wants_help(argv):
    lines = {'Flags': [f'  --{name}: {line}' for name, line in HELP.items()]}
    command_line.print_help('python -m benchmarks.secure_aggregation', INTRODUCTION, lines)
    return 0
  command_line.parse(values, argv)
  show([expansions(*sizes) for sizes in IN_ABSTRACT])
  rows = []
  for clients in map(int, values.clients):
    for entries in map(int, values.entries):
      for graph in values.graphs:
        for falls_silent in (False, True):
          rows.append(measure(clients, entries, graph, falls_silent, values.timed))
          if values.save:
            pd.DataFrame(rows).to_csv(RESULTS / 'secure_aggregation.csv', index=False)
  show(rows)
  return 0


if __name__ == '__main__':
  command_line.run_main(main)
