"""The doctor tells what works from what does not, and leaves no process behind."""

import ast
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from experiments import doctor
from fl_research import tasks

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MARK = 'FL_RESEARCH_TEST_OF_DOCTOR'


def run(*arguments, **environment):
  return subprocess.run(
    [sys.executable, '-m', 'experiments.doctor', *arguments],
    cwd=ROOT,
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
    timeout=120,
  )


def marked_processes(mark: str) -> list[int]:
  """Processes that inherited the variable MARK with this value, whoever their parent is now."""
  found = []
  for folder in pathlib.Path('/proc').glob('[0-9]*'):
    try:
      if f'{MARK}={mark}'.encode() in (folder / 'environ').read_bytes().split(b'\0'):
        found.append(int(folder.name))
    except OSError:
      continue  # it has ended meanwhile, or is not ours
  return found


def wait_until_none(mark: str) -> list[int]:
  """Marked processes that are still there after a few seconds."""
  deadline = time.monotonic() + 10
  while (left := marked_processes(mark)) and time.monotonic() < deadline:
    time.sleep(0.05)
  return left


def test_healthy_machine(tmp_path):
  (tmp_path / 'mnist').mkdir()
  (tmp_path / 'mnist' / 'train-images-idx3-ubyte.gz').write_bytes(b'')
  mark = f'healthy-{os.getpid()}'
  result = run(f'--data_dir={tmp_path}', f'--output_dir={tmp_path / "new"}', **{MARK: mark})
  assert result.returncode == 0, result.stdout + result.stderr
  assert 'Python is 3.11' in result.stdout
  assert 'TensorFlow 2.14.' in result.stdout
  assert 'TensorFlow Federated 0.87.0' in result.stdout
  assert 'A round on the fused runtime took' in result.stdout
  assert 'its worker_binary started, took' in result.stdout
  assert f'Data sets found in {tmp_path}: mnist, mnist_centred.' in result.stdout
  assert result.stdout.endswith('\nThe main job would run.\n')
  assert result.stderr == ''
  assert not (tmp_path / 'new').exists()
  assert wait_until_none(mark) == []


def test_unwritable_results_and_no_time(tmp_path):
  (tmp_path / 'file').write_text('')
  mark = f'late-{os.getpid()}'
  result = run(f'--output_dir={tmp_path / "file" / "x"}', '--deadline_seconds=1', **{MARK: mark})
  assert result.returncode == 1
  assert f'FAILS  Results cannot be written to {tmp_path / "file" / "x"}: ' in result.stdout
  assert 'did not finish: it was not done after 1 s.' in result.stdout
  assert result.stdout.endswith('\nThe main job would not run.\n')
  assert wait_until_none(mark) == []


def test_broken_environment_is_told_in_sentences(tmp_path):
  for name in ('numpy', 'tensorflow'):
    (tmp_path / f'{name}.py').write_text(f"raise ImportError('{name} is broken')\n")
  result = run(PYTHONPATH=str(tmp_path))
  assert result.returncode == 1
  assert 'FAILS  Importing TensorFlow failed: ImportError: ' in result.stdout
  assert 'FAILS  Data sets cannot be read: numpy is broken.' in result.stdout
  assert result.stderr == ''


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_everything(number):
  mark = f'{number.name}-{os.getpid()}'
  process = subprocess.Popen(
    [sys.executable, '-m', 'experiments.doctor'],
    cwd=ROOT,
    env={**os.environ, MARK: mark},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  process.stdout.readline()
  while len(marked_processes(mark)) < 2:
    assert process.poll() is None, process.communicate()
    time.sleep(0.02)
  process.send_signal(number)
  _, errors = process.communicate(timeout=30)
  assert process.returncode == 128 + number
  assert errors == ''
  assert wait_until_none(mark) == []


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--deadline_seconds=0'], 'deadline_seconds'),
    (['--deadline_seconds=soon'], 'deadline_seconds'),
    (['--datadir=x'], 'datadir'),
    (['mnist'], 'mnist'),
  ],
)
def test_wrong_flags_are_one_line(arguments, message):
  result = run(*arguments)
  assert result.returncode == 2
  assert message in result.stderr
  assert result.stderr.count('\n') == 1
  assert result.stdout == ''


def test_help_is_fast_and_lists_the_flags():
  before = os.times()
  result = run('--help')
  # Of the processor's time, as other tests run beside this one.
  assert os.times().children_user - before.children_user < 2
  for flag in ('--data_dir', '--output_dir', '--deadline_seconds'):
    assert flag in result.stdout


def test_probe_ends_the_whole_group():
  program = (
    'import subprocess, sys\n'
    f'subprocess.Popen(["sleep", "600"], env={{"{MARK}": "group-{os.getpid()}"}})\n'
  )
  report, ending = doctor.run_probe(20, program)
  assert report == {}
  assert ending == 'the process ended with exit code 0'
  assert wait_until_none(f'group-{os.getpid()}') == []


def test_probe_that_crashes_or_hangs():
  crash = 'import os, signal; os.kill(os.getpid(), signal.SIGILL)'
  assert doctor.run_probe(20, crash) == ({}, 'the process died of SIGILL')
  report, ending = doctor.run_probe(
    1, 'import sys, time; open(sys.argv[1], \'w\').write(\'{"step": "tff"}\\n\'); time.sleep(600)'
  )
  assert report == {'tff': {'step': 'tff'}}
  assert ending == 'it was not done after 1 s'


def _sentences(report, ending='the end'):
  return [str(finding) for finding in doctor.check_probe(report, ending)]


IMPORTED = {
  'tensorflow': {'version': '2.14.1', 'seconds': 2.0, 'gpus': []},
  'tff': {'version': '0.87.0', 'seconds': 3.0},
}


def test_report_in_sentences():
  assert _sentences({'tensorflow': {'error': 'ImportError: no'}}) == [
    'FAILS  Importing TensorFlow failed: ImportError: no.'
  ]
  assert _sentences(IMPORTED, 'the process died of SIGILL') == [
    'ok     TensorFlow 2.14.1 was imported in 2.0 s.',
    'ok     TensorFlow Federated 0.87.0 was imported in 3.0 s.',
    'FAILS  A round on the fused runtime did not finish: the process died of SIGILL.',
  ]
  rounds = {'fused': {'seconds': 0.5}, 'native': {'error': 'RuntimeError: no worker'}}
  assert _sentences({**IMPORTED, **rounds})[2:] == [
    'ok     A round on the fused runtime took 0.5 s.',
    "note   A round on TFF's own runtime (worker_binary) failed: RuntimeError: no worker.",
  ]


def test_python():
  assert not doctor.check_python((3, 11, 9)).fatal
  assert doctor.check_python((3, 12, 1)).fatal
  assert '3.12.1' in doctor.check_python((3, 12, 1)).sentence


def test_memory(tmp_path):
  assert doctor.check_memory(9 * 10**8).fatal
  assert not doctor.check_memory(4 * 10**9).fatal
  assert not doctor.check_memory(None).fatal
  assert doctor.available_memory(str(tmp_path), str(tmp_path)) is None
  (tmp_path / 'meminfo').write_text('MemTotal: 9 kB\nMemAvailable:    4000 kB\n')
  assert doctor.available_memory(str(tmp_path), str(tmp_path)) == 4000 * 1024
  (tmp_path / 'memory.max').write_text('3000000\n')
  (tmp_path / 'memory.current').write_text('1000000\n')
  assert doctor.available_memory(str(tmp_path), str(tmp_path)) == 2000000
  (tmp_path / 'memory.max').write_text('max\n')
  assert doctor.available_memory(str(tmp_path), str(tmp_path)) == 4000 * 1024


def test_gpu(tmp_path):
  device = tmp_path / 'nvidia0'
  assert 'no GPU' in doctor.check_gpu(IMPORTED, str(device)).sentence
  device.touch()
  assert 'cannot use it' in doctor.check_gpu(IMPORTED, str(device)).sentence
  seen = {'tensorflow': {'gpus': ['/physical_device:GPU:0']}}
  assert doctor.check_gpu(seen, str(device)).sentence == 'TensorFlow sees 1 GPU.'


def published() -> list[str]:
  return [name for name in tasks.NAMES if tasks.TASKS[name].files]


def test_data_sets_are_all_told_of(tmp_path):
  paths = {name: tasks.TASKS[name].files[0].replace('*', 'x') for name in published()}
  for path in paths.values():
    (tmp_path / path).parent.mkdir(exist_ok=True)
  # A folder that only says where its data comes from is an empty one.
  (tmp_path / 'mnist' / 'SOURCE.txt').touch()
  *_, missing = doctor.check_data(tasks.TASKS, str(tmp_path))
  assert 'mnist' in missing.sentence
  assert not missing.fatal
  for path in paths.values():
    (tmp_path / path).touch()
  _, found = doctor.check_data(tasks.TASKS, str(tmp_path))
  assert found.sentence == f'Data sets found in {tmp_path}: {", ".join(published())}.'


def strings_of(module: str) -> set[str]:
  """String constants of a data set's module and of the modules beside it that it imports."""
  path = ROOT / 'fl_research' / 'datasets' / f'{module}.py'
  nodes = list(ast.walk(ast.parse(path.read_text())))
  found = {node.value for node in nodes if isinstance(node, ast.Constant)}
  for node in nodes:
    if isinstance(node, ast.ImportFrom) and str(node.module).startswith('fl_research.datasets'):
      names = [*node.module.split('.')[2:], *(alias.name for alias in node.names)]
      found |= {
        text for name in names if (path.parent / f'{name}.py').exists() for text in strings_of(name)
      }
  return found


@pytest.mark.parametrize('name', published())
def test_files_are_those_that_the_data_set_reads(name):
  folder, _, file = tasks.TASKS[name].files[0].partition('/')
  known = strings_of(name)
  assert folder in known
  assert file == '*' or file in known
