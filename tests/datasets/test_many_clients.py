"""A pool of 100,000 clients on disk: opened at once, read only where a cohort needs it."""

import time

import numpy as np

from fl_research.datasets.federated_data import ContiguousClients

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
  assert seconds < 2
  assert _resident_bytes() - before < 100e6
