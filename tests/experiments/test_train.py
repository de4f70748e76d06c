"""`experiments.train` as a process: help, signals, deaths, and what it leaves running."""

import ast
import os
import pathlib
import pty
import signal
import subprocess
import sys
import time

import pytest

from tests import forked, soak_kills

PROJECT = pathlib.Path(__file__).parents[2]
FLAGS = ('--task=digits', '--num_clients=10', '--clients_per_round=3', '--seed=1')


def processes_of(session):
  """Command lines of the processes of a session that were not forked, as workers are not."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/environ'):
    try:
      marked = f'FL_TEST_SESSION={session}'.encode() in path.read_bytes().split(b'\0')
      text = path.with_name('cmdline').read_bytes().replace(b'\0', b' ').decode()
    except OSError:
      continue  # It has just ended.
    if marked and text:
      found.append(text)
  return found


def place(folder):
  return f'--output_dir={folder.parent}', f'--experiment_name={folder.name}'


def start(folder, *flags, **streams):
  """A process whose workers can be told from all others."""
  arguments = ('experiments.train', *FLAGS, *flags, *place(folder))
  environment = {'FL_TEST_SESSION': str(folder)}
  return forked.Program(forked.run_main, *arguments, environment=environment, **streams)


def start_silently(module, folder, *flags):
  """What `soak_kills` starts, forked."""
  return forked.Program(forked.run_main, module, *flags, *place(folder), stderr=forked.PIPE)


def assert_nothing_left(folder):
  deadline = time.monotonic() + 10
  while processes_of(folder) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert processes_of(folder) == []


def wait_for_rows(folder, process, rows):
  while soak_kills.last_round(folder) < rows:
    assert process.poll() is None, process.stderr.read()
    time.sleep(0.02)


def test_help_is_grouped_and_quick():
  before = os.times()
  text = subprocess.run(
    [sys.executable, '-m', 'experiments.train', '--help=all'],
    cwd=PROJECT,
    capture_output=True,
    text=True,
  ).stdout
  # Of the processor's time, as other tests run beside this one; it takes under 2 s.
  assert os.times().children_user - before.children_user < 5
  headings = [line for line in text.splitlines() if line and not line[0].isspace()]
  for heading in ('Run', 'Data', 'Method', 'Clients', 'Server', 'Evaluation', 'Output', 'Machine'):
    assert heading in headings
  assert all(len(line) <= 100 for line in text.splitlines())
  assert '--client_batch_size [20]' in text


@pytest.mark.parametrize('runtime, number', [('native', signal.SIGINT), ('fused', signal.SIGTERM)])
def test_signals_end_the_round_and_save_everything(runtime, number, tmp_path):
  folder = tmp_path / 'run'
  flags = ('--total_rounds=100000', f'--runtime={runtime}', '--rounds_per_checkpoint=100000')
  process = start(folder, *flags, stdout=forked.PIPE, stderr=forked.PIPE)
  wait_for_rows(folder, process, 3)
  if runtime == 'native':
    assert any('worker_binary' in line for line in processes_of(folder))
  process.send_signal(number)
  out, err = process.communicate(timeout=60)
  assert process.returncode == 128 + number
  assert 'stopping after this round' in err and f'stopped by {number.name}' in out
  assert 'round ' not in err.replace('this round', ''), 'a progress bar without a terminal'
  saved = max(path.name for path in (folder / 'checkpoints').iterdir())
  assert int(saved[6:14]) == soak_kills.last_round(folder)
  assert (folder / 'model.npz').exists() and (folder / 'model.keras').exists()
  assert_nothing_left(folder)


def test_a_second_signal_ends_it_at_once(tmp_path):
  process = start(tmp_path / 'run', '--total_rounds=100000', stderr=forked.PIPE)
  wait_for_rows(tmp_path / 'run', process, 1)
  process.send_signal(signal.SIGSTOP)
  process.send_signal(signal.SIGTERM)
  process.send_signal(signal.SIGINT)
  process.send_signal(signal.SIGCONT)
  process.communicate(timeout=60)
  assert process.returncode in (130, 143)
  assert not (tmp_path / 'run' / 'model.npz').exists()
  assert_nothing_left(tmp_path / 'run')


def test_nobody_reads_the_output(tmp_path):
  folder = tmp_path / 'run'
  flags = ('--total_rounds=2', '--runtime=native')
  command = soak_kills.command('experiments.train', folder, *FLAGS, *flags)
  environment = {**os.environ, 'FL_TEST_SESSION': str(folder)}
  streams = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
  process = subprocess.Popen(command, cwd=PROJECT, env=environment, **streams)
  head = subprocess.Popen(['head', '-1'], stdin=process.stdout, stdout=subprocess.PIPE, text=True)
  process.stdout.close()
  assert head.communicate(timeout=120)[0].startswith('run')
  assert process.stderr.read() == b''
  assert process.wait(timeout=60) == 0
  assert soak_kills.last_round(folder) == 2
  assert_nothing_left(folder)


def test_an_exception_leaves_no_process(tmp_path):
  folder = tmp_path / 'run'
  flags = ('--total_rounds=100000', '--runtime=native', '--rounds_per_checkpoint=1')
  process = start(folder, *flags, stderr=forked.PIPE)
  wait_for_rows(folder, process, 2)
  checkpoints = folder / 'checkpoints'
  checkpoints.rename(folder / 'elsewhere')
  checkpoints.write_text('a file in the place of the folder')
  _, err = process.communicate(timeout=60)
  assert process.returncode == 1 and err
  assert_nothing_left(folder)


def test_a_progress_bar_on_a_terminal(tmp_path):
  ours, theirs = pty.openpty()
  process = start(tmp_path / 'run', '--total_rounds=2', stdout=forked.PIPE, stderr=theirs)
  os.close(theirs)
  shown = b''
  while True:
    try:
      shown += os.read(ours, 10_000)
    except OSError:  # The terminal's other end is closed.
      break
  assert process.wait(timeout=60) == 0
  assert b'round 2/2' in shown and b'test loss' in shown and b'accuracy' in shown
  assert 'eval/accuracy' in process.stdout.read()


def test_kills_in_the_middle_of_writes(tmp_path):
  flags = (*soak_kills.FLAGS, '--total_rounds=40')
  killed, calm = tmp_path / 'killed', tmp_path / 'calm'
  soak_kills.run_to_a_death(killed, flags, 'torn:*/checkpoints/*.npz.*.tmp:2', start_silently)
  assert list(killed.rglob('*.tmp'))
  soak_kills.run_to_a_death(killed, flags, 'torn:*/metrics.csv:3', start_silently)
  assert not (killed / 'metrics.csv').read_text().endswith('\n')
  soak_kills.run_to_a_kill(killed, flags, rows=5, delay=0.01, start=start_silently)
  soak_kills.run_to_the_end(killed, flags, start_silently)
  soak_kills.run_to_the_end(calm, flags, start_silently)
  assert soak_kills.differences(calm, killed) == []


def test_nothing_is_ever_unpickled():
  unpicklers = {
    'pickle',
    'cPickle',
    '_pickle',
    'dill',
    'cloudpickle',
    'joblib',
    'shelve',
    'marshal',
  }
  for folder in ('fl_research', 'experiments'):
    for path in (PROJECT / folder).rglob('*.py'):
      for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
          names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
          names = [node.module or '']
        assert not unpicklers & {name.split('.')[0] for name in names}, path
        if not isinstance(node, ast.Call):
          continue
        called = getattr(node.func, 'attr', '')
        assert called != 'read_pickle', path
        allowed = [k.value for k in node.keywords if k.arg == 'allow_pickle']
        assert all(isinstance(v, ast.Constant) and v.value is False for v in allowed), path
        if called == 'load' and getattr(node.func.value, 'id', '') == 'np':
          assert allowed, f'{path}:{node.lineno}: np.load without allow_pickle=False'
