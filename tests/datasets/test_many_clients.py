"""A pool of 100,000 clients on disk: opened at once, read only where a cohort needs it."""

import time

import numpy as np

from fl_research.datasets.federated_data import Clients, ContiguousClients, NumberedIds
from tests import slow_machines

_CLIENTS = 100_000
_PER_CLIENT = 4
_FEATURES = 784


def _resident_bytes() -> int:
  with open('/proc/self/statm') as status:
    return int(status.read().split()[1]) * 4096


def test_opens_and_samples_without_loading_the_rest(tmp_path):
  rows = _CLIENTS * _PER_CLIENT
  # A sparse file of 1.25 GB: only what is written takes room.
  x = np.lib.format.open_memmap(tmp_path / 'x.npy', 'w+', np.float32, (rows, _FEATURES))
  wanted = 77_777
  x[wanted * _PER_CLIENT : (wanted + 1) * _PER_CLIENT] = 5
  del x
  np.save(tmp_path / 'y.npy', np.repeat(np.arange(_CLIENTS, dtype=np.int32), _PER_CLIENT))
  np.save(tmp_path / 'offsets.npy', np.arange(_CLIENTS + 1) * _PER_CLIENT)

  before, start = _resident_bytes(), time.process_time()
  clients = ContiguousClients(
    {key: np.load(tmp_path / f'{key}.npy', mmap_mode='r') for key in ('x', 'y')},
    np.load(tmp_path / 'offsets.npy'),
  )
  cohort = [*np.random.default_rng(0).choice(_CLIENTS, 100, replace=False), wanted]
  examples = [clients.examples(int(position)) for position in cohort]
  sums = [float(own['x'].sum()) for own in examples]
  seconds = time.process_time() - start

  assert len(clients) == _CLIENTS
  assert clients.ids[wanted] == 'client_77777'
  assert sums == [0.0] * 100 + [5.0 * _PER_CLIENT * _FEATURES]
  assert [own['y'].tolist() for own in examples] == [[int(p)] * _PER_CLIENT for p in cohort]
  assert seconds < slow_machines.seconds(2)
  assert _resident_bytes() - before < 100e6


class _CountedIds(NumberedIds):
  """Counts how often it is asked."""

  asked = 0

  def __getitem__(self, position):
    self.asked += 1
    return super().__getitem__(position)


class _Nobody(Clients):
  """A population without examples."""

  def __init__(self, count):
    self.counted = _CountedIds(count)

  @property
  def ids(self):
    return self.counted

  @property
  def sizes(self):
    return np.ones(len(self.counted), np.int64)

  def examples(self, position):
    raise NotImplementedError


def test_an_id_of_a_selection_costs_one_id():
  everybody = _Nobody(_CLIENTS)
  held_out = everybody.select(np.arange(0, _CLIENTS, 5))
  nested = held_out.select([7, 3])
  assert (len(held_out), held_out.ids[7], nested.ids[1]) == (20_000, 'client_00035', 'client_00015')
  assert list(nested.ids[:1]) == ['client_00035']
  assert everybody.counted.asked == 3
