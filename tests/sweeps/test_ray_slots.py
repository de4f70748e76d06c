"""Sweeps on a Ray cluster: the same jobs in the same processes, whose actors may die."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from experiments import command_line, sweep
from fl_research.registry import UsageError
from fl_research.sweeps import runner

pytest.importorskip('ray')
from fl_research.sweeps import ray_slots

PROGRAM = 'tests.sweeps.little_program'


def test_an_address_at_which_nobody_listens():
  with socket.socket() as taken:
    taken.bind(('localhost', 0))
    address = f'localhost:{taken.getsockname()[1]}'
    expected = pytest.raises(UsageError, match=f'--ray_address={address}: no cluster answers there')
    with expected, ray_slots.cluster(address):
      pass


@pytest.fixture(scope='module')
def cluster():
  """Ray with two processors, whatever this machine has; nothing of it is left afterwards."""
  handler = signal.getsignal(signal.SIGTERM)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(os, 'sched_getaffinity', lambda process: {0, 1})
    stack = contextlib.ExitStack()
    running = stack.enter_context(ray_slots.cluster(''))
  with stack:
    yield running
  assert signal.getsignal(signal.SIGTERM) is handler
  listed = subprocess.run(['ps', '-o', 'args', '--ppid', str(os.getpid())], capture_output=True)
  assert b'raylet' not in listed.stdout


def _job(folder, number, *arguments, process=''):
  log = folder / 'logs' / f'{number}.log'
  return runner.Job(f'job {number}', PROGRAM, tuple(map(str, arguments)), log, process)


def _run(cluster, jobs, parallel=0):
  ended = {one.job.name: one for one in runner.run_jobs(jobs, cluster.slots(parallel, jobs))}
  return [ended[job.name] for job in jobs]


def test_jobs_share_processes_with_cores_of_their_own_and_a_crash_harms_no_other(cluster, tmp_path):
  whats = [*2 * [('meet', tmp_path)], ('signal',), *4 * [('process',)]]
  ended = _run(cluster, [_job(tmp_path, number, *what) for number, what in enumerate(whats)])
  assert [one.code for one in ended] == [0, 0, -signal.SIGSEGV, 0, 0, 0, 0]
  assert ended[2].complaint() == 'the last words'
  first, second, *processes = [
    json.loads(one.job.log.read_text()) for one in ended if one.code == 0
  ]
  assert len(first) == len(second) == 1
  assert first != second or len(os.sched_getaffinity(0)) == 1
  assert len(set(processes)) <= 3  # One of the two was replaced.


def test_a_run_whose_actor_dies_has_another_turn(cluster, tmp_path, capfd):
  jobs = [_job(tmp_path, 0, 'orphan', tmp_path / 'begun'), _job(tmp_path, 1, 'process')]
  ended = _run(cluster, jobs)
  assert [one.code for one in ended] == [0, 0]
  assert ended[0].job.log.read_text() == 'again\n'


def test_a_run_whose_actors_die_again_and_again_has_failed(cluster, tmp_path, monkeypatch):
  monkeypatch.setattr(runner, 'MOST_LOSSES', 1)
  jobs = [_job(tmp_path, 0, 'orphan'), _job(tmp_path, 1, 'process')]
  lost, other = _run(cluster, jobs)
  assert (lost.code, other.code) == (1, 0)
  assert lost.complaint().startswith('its Ray actor died (')
  assert '\n' not in lost.complaint()


def test_a_node_that_lacks_the_folder_is_refused(cluster, tmp_path, monkeypatch):
  monkeypatch.setattr(pathlib.Path, 'cwd', lambda: pathlib.Path('/only/here'))
  with pytest.raises(UsageError, match=r'/only/here is not there, .* share that disk'):
    _run(cluster, [_job(tmp_path, 0, 'process')])


def test_a_sweep(cluster, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(sweep, 'TRAIN', 'tests.experiments.fake_train')
  monkeypatch.setattr(ray_slots, 'cluster', lambda address: contextlib.nullcontext(cluster))
  arguments = ['--task=digits', '--total_rounds=2', '--experiment_name=sw', '--launch=ray']
  arguments += [
    '--ray_address=any',
    '--grid=client_learning_rate=0.1,9,0.3',
    f'--output_dir={tmp_path}',
  ]
  assert (
    command_line.run(sweep.main, ['sweep.py', *arguments, '--select=train/accuracy final']) == 1
  )
  captured = capsys.readouterr()
  assert 'failed: fake_train.py: something went wrong' in captured.err
  (best,) = [line for line in captured.out.splitlines() if line.startswith('*')]
  assert best.split()[1] == '0.3'
  assert not list((tmp_path / 'sw' / 'logs').glob('.*/*'))


def test_not_with_the_runtime_that_needs_the_cluster_itself(tmp_path, capsys):
  arguments = ['--task=digits', '--experiment_name=sw', '--launch=ray', '--grid=runtime=fused,ray']
  assert command_line.run(sweep.main, ['sweep.py', *arguments, f'--output_dir={tmp_path}']) == 2
  assert '--launch=ray: not with --runtime=ray' in capsys.readouterr().err


def test_without_ray_it_is_one_line(monkeypatch, tmp_path, capsys):
  monkeypatch.setitem(sys.modules, 'ray', None)
  arguments = ['--task=digits', '--experiment_name=sw', '--launch=ray', '--grid=seed=0,1']
  arguments.append(f'--output_dir={tmp_path}')
  assert command_line.run(sweep.main, ['sweep.py', *arguments]) == 2
  assert capsys.readouterr().err == (
    'sweep.py: --launch=ray: Ray is not installed; `make ray` does it\n'
  )
