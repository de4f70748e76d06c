"""The benchmarks themselves, on work too small to say anything about speed."""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import (
  competitors,
  foreign_programs,
  limits,
  processes,
  round_time,
  scaling,
  split_rounds,
  works,
)
from fl_research import client_data, registry, runtime

# The loss of `tiny` before training.
UNTRAINED = 1.1722


def test_sizes_follow_the_power_law_of_w3():
  sizes = works.power_law_sizes(1000)
  assert (sizes.min(), sizes.max()) == (10, 2000)
  assert abs(np.median(sizes) - 50) <= 1


def test_competitors_see_the_same_batches(tmp_path):
  works.save(works.WORKS['tiny'], tmp_path / 'data.npz')
  job = works.Job.load('tiny', tmp_path / 'data.npz')
  client = int(job.cohort(2)[0])
  [data] = job.cohort_data(2, [client])
  order = job.order(2, client)
  batches = np.asarray(data['batches'])
  first, last = batches[0], batches[-1]
  np.testing.assert_array_equal(order[:4], first)
  np.testing.assert_array_equal(order[-np.count_nonzero(last >= 0) :], last[last >= 0])
  assert sorted(order) == list(range(job.clients.sizes[client]))
  again = client_data.batch_order([order], 4, 1)
  assert again.shape == batches.shape


def test_text_is_predictable():
  arrays = works.text(np.array([3, 4]), 20, 30)
  assert arrays['x'].min() >= 1
  np.testing.assert_array_equal(arrays['x'][:, 1:], arrays['y'][:, :-1])
  successors = {}
  for token, following in zip(arrays['x'].ravel(), arrays['y'].ravel()):
    successors.setdefault(int(token), set()).add(int(following))
  assert max(map(len, successors.values())) <= 4


def test_programs_end_at_the_same_loss():
  names = ('fused', 'tff_tutorial', 'plain_loop')
  plain = next(iter(competitors.COMPETITORS['plain_loop'].configurations))
  result = round_time.measure('tiny', names, 1, 1, {'plain_loop': plain})
  assert result['losses_agree'], result['final_loss']
  assert 0 < result['final_loss']['fused'] < UNTRAINED
  assert set(result['seconds_per_round']) == set(names)
  assert all(seconds > 0 for seconds in result['seconds_per_round'].values())
  assert result['peak_mib']['tff_tutorial'] > 100
  json.dumps(result)


def test_a_foreign_program_is_timed_on_both_runtimes():
  result = foreign_programs.measure(foreign_programs.PROGRAMS['empty_client'](), 1)
  assert set(result) == {'native', 'fused'}
  assert all(own['seconds'] > 0 and own['first_seconds'] > 0 for own in result.values())
  # Ours is the child of a shell that ends it; that of TFF's own default runtime is our own child.
  workers = [pid for pid in processes.family(os.getpid()) if 'worker_binary' in _command(pid)]
  assert workers and os.getpid() not in map(_parent, workers)


def _parent(pid):
  return int(pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])


def _command(pid):
  return pathlib.Path(f'/proc/{pid}/cmdline').read_text().partition('\0')[0]


def test_no_process_is_left_when_one_fails():
  with processes.Process('benchmarks.worker', 'too', 'few') as process:
    pid = process.pid
    with pytest.raises(processes.ProcessError, match='not enough values'):
      process.answer()
  assert not os.path.exists(f'/proc/{pid}')


def test_family_has_grandchildren():
  code = 'import subprocess; subprocess.run(["sleep", "30"])'
  with subprocess.Popen([sys.executable, '-c', code], start_new_session=True) as child:
    try:
      deadline = time.monotonic() + 20
      while len(processes.family(child.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
      found = processes.family(child.pid)
      assert found[0] == child.pid
      assert len(found) == 2
      assert all(processes.peak_bytes(pid) > 0 for pid in found)
    finally:
      os.killpg(child.pid, 9)


def test_unknown_work_is_named():
  with pytest.raises(registry.UsageError, match=r'--work=W11.*did you mean W1\?'):
    round_time.main(['round_time', '--work=W11'])


def test_scaling_measures_memory_and_draws(tmp_path):
  table = scaling.memory(2)
  assert list(table['round']) == [1, 2]
  assert (table['resident_mib'] > 100).all()
  scaling.plot({'memory': table}, tmp_path / 'plot.png')
  assert (tmp_path / 'plot.png').stat().st_size > 1000


class _Small:
  """Flags of `limits` that take no time."""

  states, floats = 200, 20_000


def test_limits_of_states_are_measured(tmp_path):
  rows, course = limits.measure_states(_Small)
  assert [row['what'] for row in rows[:-1]] == ['first'] * 4 + ['again']
  assert all(row['get_ms'] > 0 and row['checkpoint_ms'] > 0 for row in rows[:-1])
  limits.plot('states', course, tmp_path / 'states.png')
  assert (tmp_path / 'states.png').stat().st_size > 1000


def test_rounds_cut_in_two_end_as_whole_ones(tmp_path):
  works.save(works.WORKS['tiny'], tmp_path / 'work.npz')
  with runtime.use_context('fused'):
    taken = split_rounds.measure(works.Job.load('tiny', tmp_path / 'work.npz'), rounds=1)
  assert [len(seconds) for seconds, _ in taken.values()] == [1, 1, 1]
  head, *lines = split_rounds.rows('tiny', taken)
  assert head.split()[:2] == ['tiny', 'next'] and head.split()[-1] == '1.00' and len(lines) == 2
