"""The store of client states, against a dictionary, through crashes, damage and full disks."""

import collections
import errno
import itertools
import os
import pathlib
import shutil
import tempfile
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import tensorflow as tf

from fl_research.registry import UsageError
from fl_research.training import client_states
from fl_research.training.checkpoints import Checkpoint, CheckpointStore
from fl_research.training.client_states import ClientStates

CLIENTS = 6
INITIAL = collections.OrderedDict(
  method=(np.zeros((2, 300), np.float32), np.array(7, np.int32)), compressor=[np.zeros(0, bool)]
)


def stacked(values):
  """A state for each of these numbers, stacked as a round leaves them."""
  values = np.asarray(values, np.float32)
  return {
    'compressor': (np.zeros((len(values), 0), bool),),
    'method': [values[:, None, None] + np.zeros((2, 300), np.float32), values.astype(np.int32)],
  }


def value(state):
  """The number that a state was made of; 0 for the initial one."""
  matrix, number = state['method']
  assert matrix.dtype == np.float32 and matrix.shape == (2, 300) and np.ptp(matrix) == 0
  assert state['compressor'][0].shape == (0,)
  assert number == (matrix[0, 0] or 7)
  return int(matrix[0, 0])


def values(states):
  return [value(state) for state in states.get(range(CLIENTS))]


def open_store(folder, keep=2):
  states = ClientStates(INITIAL, folder / client_states.FILE)
  return states, CheckpointStore(folder, keep, states)


def open_without_cache(folder, keep):
  """States go to the file long before they are committed; and, for speed, not to the disk."""
  states, store = open_store(folder, keep)
  states._most_held = 1
  for statement in ('COMMIT', 'PRAGMA cache_size=1', 'PRAGMA synchronous=OFF', 'BEGIN'):
    states._connection.execute(statement)
  return states, store


def save(store, round_num):
  store.save(Checkpoint(round_num, [np.array(round_num)], {}))


def saved(folder, rounds=3, keep=2):
  """Checkpoints of rounds in each of which one client was seen, and the value is the round."""
  states, store = open_store(folder, keep)
  for round_num in range(1, rounds + 1):
    states.put([round_num], stacked([round_num]))
    save(store, round_num)
  return states, store


def npz(folder):
  return sorted(folder.glob('round_*.npz'))


def test_what_was_put_comes_back_in_the_order_asked_for():
  states = ClientStates(INITIAL)
  states.put(np.array([3, 1], np.int32), stacked([30, 10]))
  assert [value(state) for state in states.get(np.array([1, 2, 3]))] == [10, 0, 30]
  states.put([1], stacked([11]))
  assert [value(state) for state in states.get([3, 1])] == [30, 11]


def test_what_is_held_is_neither_read_nor_written_before_a_checkpoint():
  states, statements = ClientStates(INITIAL), []
  states._connection.set_trace_callback(statements.append)
  for number in (1, 2):
    states.put([3, 1], stacked([10 * number, number]))
    assert [value(state) for state in states.get([1, 3])] == [number, 10 * number]
  assert not statements
  states.commit()
  assert [s[:6] for s in statements].count('INSERT') == 2
  del statements[:]
  assert [value(state) for state in states.get([1, 3])] == [2, 20] and not statements


def test_so_much_is_held_and_no_more(monkeypatch):
  states = ClientStates(INITIAL)
  states._most_held = 2
  states.put(range(4), stacked([1, 2, 3, 4]))
  assert sorted(states._held) == [2, 3]
  assert values(states) == [1, 2, 3, 4, 0, 0]
  states.put([2], stacked([30]))
  assert values(states) == [1, 2, 30, 4, 0, 0] and sorted(states._held) == [2, 3]
  monkeypatch.setattr(client_states, '_HELD_BYTES', 100)
  states = ClientStates(np.zeros(100, np.int8))
  states.put([0, 1], np.ones([2, 100], np.int8))
  assert list(states._held) == [1] and states.get([0])[0].all()


COHORTS = st.sets(st.integers(0, CLIENTS - 1), min_size=1, max_size=3)
EVENTS = st.one_of(
  st.tuples(st.just('round'), COHORTS),
  st.tuples(st.just('round and checkpoint'), COHORTS),
  st.tuples(st.just('round and checkpoint'), COHORTS),
  st.tuples(st.sampled_from(['crash', 'crash and damage', 'crash and tear']), COHORTS),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(EVENTS, min_size=3, max_size=15), st.integers(1, 3))
def test_like_a_dictionary_whatever_happens(events, keep):
  with tempfile.TemporaryDirectory() as scratch, mock.patch.object(os, 'fsync'):
    follow(pathlib.Path(scratch), events, keep)


def follow(scratch, events, keep):
  """Does these things to a store and to a dictionary, and compares them after each."""
  folder = scratch / '0'
  folder.mkdir()
  open_anew = open_without_cache if len(events) % 2 else open_store
  states, store = open_anew(folder, keep)
  now, round_num, known = {}, 0, {}
  for number, (event, ids) in enumerate(events, 1):
    if event.startswith('round'):
      round_num += 1
      states.put(sorted(ids), stacked([1000 * number + k for k in sorted(ids)]))
      now |= {k: 1000 * number + k for k in ids}
    if event.endswith('checkpoint'):
      save(store, round_num)
      known[round_num] = dict(now)
      known = dict(sorted(known.items())[-keep:])
    if event.startswith('crash'):
      # What a process that is killed leaves: all files as they lie, an open journal among them.
      shutil.copytree(folder, folder := scratch / str(number))
      states.close()
      lost = [] if event == 'crash' else sorted(known)[-len(ids) :]
      if event.endswith('damage'):
        for path in npz(folder)[len(known) - len(lost) :]:
          path.write_bytes(b'damaged')
      last_round = lost[0] - 1 if lost and event.endswith('tear') else round_num
      known = {r: values for r, values in known.items() if r not in lost}
      states, store = open_anew(folder, keep)
      checkpoint = store.restore(last_round)
      if checkpoint is None:
        store.clear()
      round_num = checkpoint.round_num if checkpoint else 0
      assert round_num == max(known, default=0)
      now = dict(known.get(round_num, {}))
      for path in npz(folder)[len(known) :]:
        path.unlink()
    assert values(states) == [now.get(k, 0) for k in range(CLIENTS)]
  states.close()


def test_states_that_no_checkpoint_needs_are_deleted(tmp_path):
  states, store = open_store(tmp_path, keep=2)
  for round_num in range(1, 21):
    states.put([0, round_num % CLIENTS], stacked([round_num] * 2))
    save(store, round_num)
  rows = 'SELECT client, COUNT(*) FROM states GROUP BY client'
  # The newest of all, the older ones of those that changed after the older checkpoint.
  assert dict(states._connection.execute(rows)) == {0: 2, 1: 1, 2: 2, 3: 1, 4: 1, 5: 1}


def test_a_checkpoint_writes_what_changed(tmp_path):
  states, store = open_store(tmp_path)
  states.put(range(5000), stacked(np.arange(1, 5001)))
  save(store, 1)
  states.put([5, 6], stacked([1, 2]))
  written = lambda: int(pathlib.Path('/proc/self/io').read_text().split('wchar: ')[1].split()[0])
  before = written()
  save(store, 2)
  assert written() - before < (tmp_path / client_states.FILE).stat().st_size / 100


def test_a_checkpoint_looks_at_what_changed():
  """The steps of SQLite's machine in a round and its checkpoint, by how many clients there are."""

  def steps(clients):
    states, counted = ClientStates(INITIAL), itertools.count()
    states.put(range(clients), stacked(np.arange(1, clients + 1)))
    for round_num in range(1, 4):
      states.commit()
      states.advance(round_num, round_num)
      states.get([7, 8])
      states.put([5, 6], stacked([round_num] * 2))
    states._connection.set_progress_handler(lambda: next(counted) and 0, 10)
    states.commit()
    states.advance(4, 4)
    states.get([7, 8])
    states.put([5, 6], stacked([4] * 2))
    return next(counted)

  assert 0 < steps(3000) < 1.5 * steps(30)


@pytest.mark.parametrize('numbers, page', [(1000, 4096), (100_000, 65536)])
def test_pages_are_as_large_as_states_need(numbers, page, tmp_path):
  states = ClientStates(np.zeros(numbers, np.float32), tmp_path / client_states.FILE)
  states.put([3], np.ones([1, numbers], np.float32))
  states.commit()
  pragma = lambda name: states._connection.execute(f'PRAGMA {name}').fetchone()[0]
  assert (pragma('page_size'), pragma('cache_size')) == (page, -64 * 1024)
  assert states.get([3])[0].sum() == numbers
  states.close()


def test_resuming_reads_no_state(tmp_path):
  states, _ = saved(tmp_path)
  states._connection.execute("UPDATE states SET state = 'nonsense'")
  states.commit()
  states.close()
  states, store = open_store(tmp_path)
  assert store.restore().round_num == 3
  with pytest.raises(UsageError, match=r'client_states\.sqlite: the state of client 2 is damaged'):
    states.get([0, 2])


@pytest.mark.parametrize('loss', ['no file', 'another file', 'a file of before', 'truncated'])
def test_states_that_are_gone_are_no_states(loss, tmp_path):
  states, _ = saved(tmp_path, rounds=2)
  path = tmp_path / client_states.FILE
  old = path.read_bytes()
  states.put([5], stacked([5]))
  save(CheckpointStore(tmp_path, 1, states), 4)
  states.close()
  content = {'no file': b'', 'another file': b'?' * 5000, 'a file of before': old}
  path.write_bytes(content.get(loss, path.read_bytes()[:5000]))
  states, store = open_store(tmp_path)
  assert store.restore() is None
  store.clear()
  assert values(states) == [0] * CLIENTS
  states.put([1], stacked([10]))
  save(store, 1)
  states.close()
  states, store = open_store(tmp_path)
  assert store.restore(1).round_num == 1
  assert values(states) == [0, 10, 0, 0, 0, 0]


def test_flipped_bits_are_never_taken_for_states(tmp_path):
  states, _ = saved(tmp_path)
  states.close()
  path = tmp_path / client_states.FILE
  content = path.read_bytes()
  outcomes = collections.Counter()
  for position in np.random.default_rng(0).integers(0, len(content), 60):
    damaged = bytearray(content)
    damaged[position] ^= 1 << position % 8
    path.write_bytes(damaged)
    states, store = open_store(tmp_path)
    checkpoint = store.restore()
    try:
      found = values(states) if checkpoint else None
    except UsageError:
      outcomes['told'] += 1
    else:
      expected = {3: [0, 1, 2, 3, 0, 0], 2: [0, 1, 2, 0, 0, 0]}
      assert checkpoint is None or found == expected[checkpoint.round_num], position
      outcomes['passed over' if checkpoint is None else 'right'] += 1
    states.close()
  assert outcomes['told'] and outcomes['right']


def test_a_full_disk_leaves_what_was_there(tmp_path):
  states, store = saved(tmp_path)
  pages = states._connection.execute('PRAGMA page_count').fetchone()[0]
  states._connection.execute(f'PRAGMA max_page_count={pages}')
  with pytest.raises(OSError, match=r'No space left on device.*client_states\.sqlite') as raised:
    for round_num in range(4, 400):
      states.put([round_num], stacked([1]))
      save(store, round_num)
  assert raised.value.errno == errno.ENOSPC
  states.close()
  states, store = open_store(tmp_path)
  round_num = store.restore().round_num
  assert round_num in (3, 4)
  assert values(states) == [0, 1, 2, 3, int(round_num == 4), 0]


def test_checkpoints_that_held_the_states_themselves_still_resume(tmp_path, monkeypatch):
  savez, held = np.savez, {}
  for client in (4, 12):
    leaves = tf.nest.flatten(tf.nest.map_structure(lambda leaf: leaf[0], stacked([client])))
    held |= {f'client/{client}/{i:05d}': leaf for i, leaf in enumerate(leaves)}
  with monkeypatch.context() as patched:
    patched.setattr(np, 'savez', lambda file, **arrays: savez(file, **arrays, **held))
    save(CheckpointStore(tmp_path, keep=3), 5)
  states, store = open_store(tmp_path, keep=3)
  assert store.restore().round_num == 5
  assert [value(state) for state in states.get([4, 12, 1])] == [4, 12, 0]
  states.put([4], stacked([40]))
  save(store, 6)
  states.close()
  states, store = open_store(tmp_path, keep=3)
  assert store.restore().round_num == 6
  assert [value(state) for state in states.get([4, 12, 1])] == [40, 12, 0]
  assert store.restore(last_round=5).round_num == 5
  assert [value(state) for state in states.get([4, 12, 1])] == [4, 12, 0]
