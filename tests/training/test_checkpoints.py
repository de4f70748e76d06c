"""Checkpoints: what is read is what was written, or the one before."""

import errno
import os
import time

from absl import logging
import numpy as np
import pytest

from fl_research.training import checkpoints
from fl_research.training.checkpoints import Checkpoint, CheckpointStore


def checkpoint(round_num):
  return Checkpoint(
    round_num=round_num,
    state=[
      np.array([[0.1, np.nan], [-0.0, np.inf]], np.float32) * round_num,
      np.array(round_num, np.int32),
      np.array(b'bytes'),
    ],
    progress={'best': 0.1 + 0.2, 'evaluations_since_best': 3, 'stopped': ''},
  )


def assert_equal(found, expected):
  assert (found.round_num, found.progress) == (expected.round_num, expected.progress)
  for a, b in zip(found.state, expected.state, strict=True):
    assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.fixture
def store(tmp_path):
  return CheckpointStore(tmp_path / 'checkpoints', keep=3)


@pytest.fixture
def warnings(monkeypatch):
  """The warnings that are logged."""
  lines = []
  monkeypatch.setattr(logging, 'warning', lambda text, *values: lines.append(text % values))
  return lines


def files(store):
  return sorted(store._folder.iterdir())


def test_none_before_the_first(store, warnings):
  assert store.restore() is None
  assert warnings == []


def test_every_bit_comes_back(store):
  store.save(checkpoint(5))
  assert_equal(store.restore(), checkpoint(5))


def test_the_newest_by_number_and_only_the_last_few_stay(store):
  for round_num in (8, 9, 10, 11, 100):
    store.save(checkpoint(round_num))
  assert store.restore().round_num == 100
  assert [int(path.name[6:14]) for path in files(store)] == [10, 11, 100]


def test_the_same_content_has_the_same_bytes(store, tmp_path):
  other = CheckpointStore(tmp_path / 'other', keep=3)
  store.save(checkpoint(5))
  other.save(checkpoint(5))
  assert [p.name for p in files(store)] == [p.name for p in files(other)]


def test_truncated_anywhere_falls_back_with_one_warning(store, warnings):
  store.save(checkpoint(1))
  store.save(checkpoint(2))
  newest = files(store)[-1]
  content = newest.read_bytes()
  for size in (0, 1, len(content) // 2, len(content) - 1):
    newest.write_bytes(content[:size])
    warnings.clear()
    assert store.restore().round_num == 1
    assert len(warnings) == 1 and newest.name in warnings[0] and 'is damaged' in warnings[0]


def test_any_flipped_bit_falls_back_with_one_warning(store, warnings):
  store.save(checkpoint(1))
  store.save(checkpoint(2))
  newest = files(store)[-1]
  content = newest.read_bytes()
  for position in np.linspace(0, len(content) - 1, 25).astype(int):
    flipped = bytearray(content)
    flipped[position] ^= 1 << position % 8
    newest.write_bytes(flipped)
    warnings.clear()
    assert store.restore().round_num == 1
    assert len(warnings) == 1


def test_all_damaged_means_none_with_a_warning_for_each(store, warnings):
  for round_num in (1, 2):
    store.save(checkpoint(round_num))
  for path in files(store):
    path.write_bytes(b'PK')
  assert store.restore() is None
  assert len(warnings) == 2 and 'from the start' in warnings[-1]


def test_checkpoints_beyond_the_tables_are_passed_over(store, warnings):
  for round_num in (10, 20, 30):
    store.save(checkpoint(round_num))
  assert store.restore(last_round=30).round_num == 30
  assert warnings == []
  assert store.restore(last_round=29).round_num == 20
  assert len(warnings) == 1 and 'beyond the last whole row of the tables (29)' in warnings[0]


@pytest.mark.parametrize('damaged', [False, True])
def test_a_fresh_checkpoint_outlives_those_beyond_the_tables(damaged, store):
  """Tables put back to an older copy: what is saved from there on is what counts."""
  for round_num in (10, 20, 30, 40):
    store.save(checkpoint(round_num))
  if damaged:
    files(store)[0].write_bytes(b'')  # So the run begins anew.
  assert (store.restore(last_round=29) or checkpoint(0)).round_num == (0 if damaged else 20)
  again = CheckpointStore(store._folder, keep=2)
  again.save(checkpoint(21))
  assert again.restore(last_round=21).round_num == 21
  assert [int(path.name[6:14]) for path in files(store)] == [20, 21]


def test_other_files_are_left_alone(store):
  store.save(checkpoint(1))
  stranger = store._folder / 'round_notes.npz'
  stranger.write_text('mine')
  for round_num in range(2, 9):
    store.save(checkpoint(round_num))
  assert stranger.read_text() == 'mine'
  assert store.restore().round_num == 8


def test_pickled_objects_are_refused(store):
  store.save(checkpoint(1)._replace(state=[np.array([{}], object)]))
  with pytest.raises(ValueError, match='allow_pickle'):
    store.restore()


@pytest.mark.parametrize('function', ['fsync', 'replace'])
def test_a_full_disk_leaves_what_was_there(function, store, monkeypatch, tmp_path):
  store.save(checkpoint(1))

  def refuse(*arguments):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, function, refuse)
  with pytest.raises(OSError, match=r'No space left on device: .*round_00000002'):
    store.save(checkpoint(2))
  assert store.restore().round_num == 1
  assert not list(tmp_path.rglob('*.tmp'))


def test_what_a_killed_process_left_is_removed(store, monkeypatch):
  store.save(checkpoint(1))
  with monkeypatch.context() as killed:
    killed.setattr(os, 'replace', lambda source, target: None)
    store.save(checkpoint(2))
  assert [path.suffix for path in files(store)] == ['.npz', '.tmp']
  store.remove_partial()
  assert [path.suffix for path in files(store)] == ['.npz']


def test_reading_many_states_of_an_old_checkpoint_takes_linear_time(monkeypatch, tmp_path):
  """Eight times as many members, less than twenty times the processor's time; was nearly sixty."""

  def seconds(clients):
    held = {f'client/{client}/0': np.zeros(1) for client in range(clients)}
    with monkeypatch.context() as patched:
      savez = np.savez
      patched.setattr(np, 'savez', lambda file, **arrays: savez(file, **arrays, **held))
      with open(tmp_path / 'old.npz', 'wb') as file:
        checkpoints._write(checkpoint(1), None, file)
    begin = time.process_time()
    _, states = checkpoints._read(tmp_path / 'old.npz')
    assert len(states) == clients
    return time.process_time() - begin

  few = min(seconds(2000) for _ in range(2))
  assert seconds(16000) < 20 * few
