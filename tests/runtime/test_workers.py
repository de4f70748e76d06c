"""TFF's worker process: started only when needed, gone however its parent ends."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests import forked

ROOT = pathlib.Path(__file__).parents[2]

PRELUDE = """
import sys
from fl_research import runtime
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

@tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
def total(x):
  return tff.federated_sum(x)

def say(word):
  print(word, flush=True)
"""

NATIVE = PRELUDE + "runtime.set_context('native')\nassert total([1.0, 2.0]) == 3.0\nsay('ready')\n"
FOREVER = 'import time\nwhile True:\n  time.sleep(0.05)\n'


def workers_of(process_group: int) -> list[int]:
  """The worker processes whose session or ancestry began with a process of ours."""
  found = []
  for entry in pathlib.Path('/proc').iterdir():
    if not entry.name.isdigit():
      continue
    try:
      command = (entry / 'cmdline').read_bytes()
      environment = (entry / 'environ').read_bytes()
    except OSError:
      continue
    if b'worker_binary' in command and f'RUNTIME_TEST={process_group}'.encode() in environment:
      found.append(int(entry.name))
  return found


@pytest.fixture
def mark():
  return os.getpid() * 1000 + int(time.monotonic() * 1000) % 1000


def start(code: str, mark: int, **streams):
  return forked.Program(forked.execute, code, environment={'RUNTIME_TEST': str(mark)}, **streams)


def wait_until_gone(mark: int) -> None:
  deadline = time.monotonic() + 30
  while workers_of(mark):
    assert time.monotonic() < deadline, 'a worker is still there'
    time.sleep(0.05)


def test_ends_with_a_normal_exit(mark):
  process = start(NATIVE + 'input()', mark, stdin=forked.PIPE, stdout=forked.PIPE)
  assert process.stdout.readline() == 'ready\n'
  assert workers_of(mark)  # or the tests below could not fail
  process.communicate('\n', timeout=20)
  assert process.returncode == 0
  wait_until_gone(mark)


def test_ends_with_an_exception(mark):
  process = start(NATIVE + "raise ValueError('oh')", mark, stdout=forked.PIPE, stderr=forked.PIPE)
  _, error = process.communicate(timeout=60)
  assert process.returncode == 1
  assert 'ValueError: oh' in error
  wait_until_gone(mark)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_ends_with_a_signal(mark, number):
  process = start(NATIVE + FOREVER, mark, stdout=forked.PIPE)
  assert process.stdout.readline() == 'ready\n'
  assert workers_of(mark)
  process.send_signal(number)
  process.wait(20)
  # The pipe's end is what `| tee log` waits for.
  assert process.stdout.read() == ''
  wait_until_gone(mark)


def test_a_pipe_that_is_closed_early_does_not_hang(mark):
  code = NATIVE + "for _ in range(100_000):\n  say('more')\n"
  process = start(code, mark, stdout=forked.PIPE)
  head = subprocess.run(
    ['head', '-1'], stdin=process.stdout, capture_output=True, text=True, timeout=60, check=True
  )
  process.stdout.close()
  assert head.stdout == 'ready\n'
  process.wait(20)
  wait_until_gone(mark)


def test_none_is_started_by_the_fused_runtime(mark):
  code = (
    PRELUDE
    + """
context = runtime.set_context('auto')
assert total([1.0, 2.0]) == 3.0
assert tff.tensorflow.computation(lambda x: x + 1, np.int32)(1) == 2
say('ready')
input()
"""
  )
  process = start(code, mark, stdin=forked.PIPE, stdout=forked.PIPE)
  assert process.stdout.readline() == 'ready\n'
  assert workers_of(mark) == []
  process.communicate('\n', timeout=20)
  assert process.returncode == 0


def test_the_native_runtime_starts_one_at_its_first_call(mark):
  code = (
    PRELUDE
    + """
from fl_research.runtime import native
runtime.shutdown()
runtime.stop_workers_on_exit()
assert not native.worker_started()
for _ in range(2):
  assert total([1.0, 2.0]) == 3.0
  assert native.worker_started()
  runtime.shutdown()
  runtime.shutdown()
  assert not native.worker_started()
context = runtime.set_context('fused')
runtime.stop_workers_on_exit()
assert tff.framework.get_context_stack().current is context
say('done')
"""
  )
  process = start(code, mark, stdout=forked.PIPE)
  output, _ = process.communicate(timeout=60)
  assert (process.returncode, output) == (0, 'done\n')
  wait_until_gone(mark)


def test_importing_the_package_imports_no_tensorflow():
  code = (
    'import sys; from fl_research import runtime; runtime.shutdown(); print(runtime.NAMES); '
    "assert not {'tensorflow', 'tensorflow_federated'} & set(sys.modules)"
  )
  subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'name': 'fast'}, "Unknown runtime 'fast'; there are auto, fused, native, ray, federation."),
    ({'jit': 'maybe'}, "Unknown jit 'maybe'; there are off, on, auto."),
    ({'client_parallelism': 0}, 'client_parallelism must be at least 1, is 0.'),
    ({'chunks': 0}, 'chunks must be at least 1, is 0.'),
    ({'kernel_threads': 0}, 'kernel_threads must be at least 1, is 0.'),
  ],
)
def test_wrong_settings_are_refused(arguments, message):
  from fl_research import runtime

  with pytest.raises(ValueError) as error:
    runtime.set_context(**arguments)
  assert str(error.value) == message


def test_set_late_it_warns_once_and_works(mark):
  code = """
from fl_research import runtime
import tensorflow as tf
tf.constant(1) + 1
for chunks in (1, 2, 1):
  runtime.set_context('fused', 3)
"""
  process = start(code, mark, stderr=forked.PIPE)
  _, error = process.communicate(timeout=60)
  assert process.returncode == 0
  assert error.count('Set the runtime first') == 1
