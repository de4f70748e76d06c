"""Jobs side by side: which cores and processes they have, how they end."""

import contextlib
import json
import os
import signal
import time

import pytest

from fl_research.sweeps import local_slots, runner, worker

CORES = sorted(os.sched_getaffinity(0))
PROGRAM = 'tests.sweeps.little_program'


def _job(folder, number, what, process='', graphs=''):
  log = folder / 'logs' / f'{number}.log'
  return runner.Job(f'job {number}', PROGRAM, (what,), log, process, graphs)


def _run(jobs, parallel):
  """How each job ended, in the order of the jobs."""
  slots = local_slots.local_slots(parallel, jobs)
  ended = {one.job.name: one for one in runner.run_jobs(jobs, slots)}
  return [ended[job.name] for job in jobs]


def _said(jobs, parallel):
  """What each job printed, as JSON."""
  ended = _run(jobs, parallel)
  assert [one.code for one in ended] == [0] * len(jobs)
  return [json.loads(one.job.log.read_text()) for one in ended]


def _cores_of(folder, count, parallel):
  return _said([_job(folder, number, 'cores') for number in range(count)], parallel)


def test_one_job_at_a_time_has_all_cores(tmp_path):
  assert _cores_of(tmp_path, 2, 1) == [CORES, CORES]


def test_a_job_without_company_has_all_cores(tmp_path):
  assert _cores_of(tmp_path, 1, 2) == [CORES]


@pytest.mark.skipif(len(CORES) < 2, reason='needs two cores')
def test_jobs_side_by_side_share_no_core(tmp_path):
  first, second = _cores_of(tmp_path, 2, 2)
  assert sorted(first + second) == CORES


@pytest.mark.skipif(len(CORES) < 2, reason='needs two cores')
def test_the_next_job_has_the_cores_that_became_free(tmp_path):
  found = _cores_of(tmp_path, 5, 2)
  assert {len(cores) for cores in found} <= {len(CORES) // 2, (len(CORES) + 1) // 2}


def test_more_jobs_than_cores_have_one_core_each(tmp_path):
  count = len(CORES) + 1
  found = _cores_of(tmp_path, count, count)
  assert {len(cores) for cores in found} == {1}
  assert {core for (core,) in found} == set(CORES)


def _processes(folder, keys, parallel=1):
  jobs = [_job(folder, number, 'process', *key) for number, key in enumerate(keys)]
  return _said(jobs, parallel)


def test_jobs_share_a_process_where_they_may(tmp_path):
  """Those that may are done first: the process of the other kind is the second, and the last."""
  first, second, third, fourth = _processes(tmp_path, [('a',), ('b',), ('a',), ('b',)])
  assert first == third != second == fourth


def test_graphs_are_traced_in_one_process(tmp_path):
  """Each slot takes graphs of its own, though the other order would have mixed them."""
  jobs = [_job(tmp_path, n, 'cores', '', graphs) for n, graphs in enumerate('aabb')]
  cores = _said(jobs, 2)
  if len(CORES) > 1:
    assert cores[0] != cores[2]
    # A slot that is done before the other has begun its second job takes that one as well.
    assert len({(tuple(own), graphs) for own, graphs in zip(cores, 'aabb')}) <= 3


@pytest.mark.parametrize(
  'end, code, complaint',
  [
    ('signal', -signal.SIGSEGV, 'the last words'),
    ('exit', 7, 'the last words'),
    ('fail', 2, 'the last words'),
    ('raise', 1, 'ValueError: the reason'),
  ],
)
def test_what_ends_badly_harms_no_other(tmp_path, end, code, complaint):
  jobs = [_job(tmp_path, n, what) for n, what in enumerate(['process', end, 'process'])]
  before, bad, after = _run(jobs, 1)
  assert [before.code, bad.code, after.code] == [0, code, 0]
  assert bad.complaint() == complaint
  # What nobody foresaw may have left anything: the process goes with it.
  assert (before.job.log.read_text() == after.job.log.read_text()) == (end == 'fail')


def test_a_job_that_says_nothing_has_its_code_for_a_complaint(tmp_path):
  log = tmp_path / 'log'
  log.write_text('\n')
  assert runner.Ended(runner.Job('job', PROGRAM, (), log), -9, 0.0).complaint() == 'exit code -9'


def test_what_c_writes_is_in_the_log_of_its_job(tmp_path):
  _run([_job(tmp_path, n, what) for n, what in enumerate(['process', 'native', 'process'])], 1)
  assert (tmp_path / 'logs' / '1.log').read_text() == 'written by C\n'


def test_what_a_job_leaves_behind_ends_with_it(tmp_path):
  (ended,) = _run([_job(tmp_path, 0, 'leave')], 1)
  assert ended.code == -signal.SIGKILL
  _wait_for_the_end(int(ended.complaint()))


def test_a_process_retires_that_has_grown_too_large(tmp_path, monkeypatch, capfd):
  """Its second run is its last; nobody reads the third job."""
  sizes = iter([100, 100 + worker.MOST_GROWTH + 1])
  monkeypatch.setattr(worker.memory, 'resident_bytes', lambda: next(sizes))
  monkeypatch.setattr(worker, '_redirect', lambda *given: None)
  monkeypatch.setattr(worker, 'run', lambda **given: 0)
  read, write = os.pipe()
  os.write(write, b'{}\n{}\n{}\n')
  os.close(write)
  monkeypatch.setattr(worker.os, 'dup', lambda number, dup=os.dup: read if number == 0 else dup(1))
  worker.main()
  answers = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
  assert [answer['retires'] for answer in answers] == [False, True]


def test_jobs_at_work_end_with_the_iteration(tmp_path):
  jobs = [_job(tmp_path, 0, 'process'), _job(tmp_path, 1, 'sleep')]
  with contextlib.closing(runner.run_jobs(jobs, local_slots.local_slots(2, jobs))) as ended:
    next(ended)
    _wait(lambda: jobs[1].log.exists() and jobs[1].log.read_text())
  _wait_for_the_end(int(jobs[1].log.read_text()))


def _wait_for_the_end(process):
  _wait(lambda: not os.path.exists(f'/proc/{process}'))


def _wait(condition):
  deadline = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.01)
