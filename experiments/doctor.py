"""Says in sentences, within a minute, whether experiments can run on this machine.

    .venv/bin/python -m experiments.doctor --data_dir=... --output_dir=results

TensorFlow and both runtimes are tried in a process of their own, which is ended at a deadline: a
worker that never answers is an answer too. The exit code is 1 when the main job (`make demo`) would
not run, 2 for a wrong flag, otherwise 0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import glob
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Optional

try:
  from absl import app, flags
except ImportError:
  sys.exit('The environment is not set up: run `make env`, then use .venv/bin/python.')

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_GIGABYTE = 1e9
# TensorFlow, TFF and its worker take 0.7 GB before there is any data.
_MEMORY_NEEDED = 1.0 * _GIGABYTE
_DISK_NEEDED = 0.1 * _GIGABYTE


@dataclasses.dataclass(frozen=True)
class Finding:
  """One sentence, and whether it means that the main job would not run.

  Attributes:
    sentence: what was found, for people.
    works: False for what does not work.
    needed: whether the main job needs it.
  """

  sentence: str
  works: bool = True
  needed: bool = True

  @property
  def fatal(self) -> bool:
    """Whether the main job would not run."""
    return self.needed and not self.works

  def __str__(self) -> str:
    mark = 'FAILS' if self.fatal else 'ok   ' if self.works else 'note '
    return f'{mark}  {self.sentence}'


def check_python(version: Sequence[Any] = sys.version_info) -> Finding:
  """The one Python that TFF's packages can be installed for."""
  text = '.'.join(str(number) for number in version[:3])
  if tuple(version[:2]) == (3, 11):
    return Finding(f'Python is {text}.')
  return Finding(f'Python is {text}, and TFF needs 3.11: run `make env`.', works=False)


def available_memory(proc: str = '/proc', control_group: str = '/sys/fs/cgroup') -> Optional[int]:
  """Bytes that this process may still take, None where the system does not say."""
  limits = []
  try:
    for line in pathlib.Path(proc, 'meminfo').read_text().splitlines():
      if line.startswith('MemAvailable:'):
        limits.append(int(line.split()[1]) * 1024)
  except OSError:
    return None
  try:
    limit = pathlib.Path(control_group, 'memory.max').read_text().strip()
    used = int(pathlib.Path(control_group, 'memory.current').read_text())
    if limit != 'max':
      limits.append(max(0, int(limit) - used))
  except OSError:
    pass  # no control group of version 2 sets a limit
  return min(limits, default=None)


def check_memory(available: Optional[int]) -> Finding:
  """Whether TensorFlow, TFF and a small experiment fit."""
  cores = len(os.sched_getaffinity(0))
  processors = 'one processor' if cores == 1 else f'{cores} processors'
  if available is None:
    return Finding(f'This system does not say how much memory is free; it has {processors}.')
  text = f'{available / _GIGABYTE:.1f} GB of memory are free, with {processors}'
  if available < _MEMORY_NEEDED:
    return Finding(f'{text}; {_MEMORY_NEEDED / _GIGABYTE:.1f} GB are needed.', works=False)
  return Finding(f'{text}.')


def check_output(output_dir: str) -> Finding:
  """Whether results can be written, and how much fits."""
  folder = pathlib.Path(output_dir).expanduser().absolute()
  existing = next(path for path in (folder, *folder.parents) if path.exists())
  try:
    with tempfile.TemporaryFile(dir=existing):
      free = shutil.disk_usage(existing).free
  except OSError as error:
    return Finding(f'Results cannot be written to {folder}: {error.strerror}.', works=False)
  text = f'Results go to {folder}, where {free / _GIGABYTE:.1f} GB are free'
  if free < _DISK_NEEDED:
    return Finding(f'{text}; {_DISK_NEEDED / _GIGABYTE:.1f} GB are needed.', works=False)
  return Finding(f'{text}.')


def check_data(tasks: Mapping[str, Any], data_dir: str) -> Iterator[Finding]:
  """Which data sets are there; none of these is needed by the main job."""
  there = [name for name in sorted(tasks) if not (tasks[name].files or tasks[name].reads)]
  yield Finding(f'Data sets without files are always there: {", ".join(there)}.')
  published = [name for name in sorted(tasks) if tasks[name].files]
  found = [name for name in published if _has_files(tasks[name].files, data_dir)]
  missing = [name for name in published if name not in found]
  if found:
    yield Finding(f'Data sets found in {data_dir}: {", ".join(found)}.')
  if missing:
    yield Finding(
      f'Data sets without files in {data_dir}: {", ".join(missing)}; they are downloaded when '
      'first used.',
      works=False,
      needed=False,
    )


def _has_files(patterns: Sequence[str], data_dir: str) -> bool:
  paths = [path for pattern in patterns for path in glob.glob(os.path.join(data_dir, pattern))]
  return any(os.path.basename(path) != 'SOURCE.txt' for path in paths)


def check_ray() -> Finding:
  """Whether experiments could be spread over several machines."""
  if importlib.util.find_spec('ray') is None:
    return Finding(
      'Ray is not installed, so experiments run on this machine only.', works=False, needed=False
    )
  return Finding(f'Ray {importlib.metadata.version("ray")} is installed.')


# What follows runs in a process of its own, since it may crash or wait for ever.


def hello_round(runtime_name: str) -> None:
  """One round of three clients on a runtime: the server adds the mean of their numbers.

  Raises:
    ArithmeticError: the round gave a wrong number.
  """
  import numpy as np
  import tensorflow_federated as tff

  from fl_research import runtime

  @tff.tensorflow.computation(np.float32, np.float32)
  def add(state, mean):
    return state + mean

  @tff.federated_computation(
    tff.FederatedType(np.float32, tff.SERVER), tff.FederatedType(np.float32, tff.CLIENTS)
  )
  def next_round(state, numbers):
    return tff.federated_map(add, (state, tff.federated_mean(numbers)))

  with runtime.use_context(runtime_name):
    result = float(next_round(1.0, [1.0, 2.0, 6.0]))
  if result != 4.0:
    raise ArithmeticError(f'1 plus the mean of 1, 2 and 6 came out as {result}')


def _import_tensorflow() -> dict[str, Any]:
  import tensorflow as tf

  return {
    'version': tf.__version__,
    'gpus': [device.name for device in tf.config.list_physical_devices('GPU')],
  }


def _import_tff() -> dict[str, Any]:
  import tensorflow_federated as tff

  return {'version': tff.__version__}


STEPS: dict[str, Callable[[], Optional[dict[str, Any]]]] = {
  'tensorflow': _import_tensorflow,
  'tff': _import_tff,
  'fused': lambda: hello_round('fused'),
  'native': lambda: hello_round('native'),
}


def probe(report: str) -> None:
  """Tries TensorFlow, TFF and the runtimes, and writes a line of JSON after each.

  Args:
    report: path of the file that the lines are appended to.
  """
  from fl_research import environment

  environment.set_defaults()
  for name, step in STEPS.items():
    start = time.monotonic()
    try:
      entry = step() or {}
    except Exception as error:  # whatever it is, it is what the user wants to know
      lines = str(error).strip().splitlines()
      entry = {'error': f'{type(error).__name__}: {lines[0] if lines else "no message"}'}
    entry.update(step=name, seconds=time.monotonic() - start)
    with open(report, 'a', encoding='utf-8') as stream:
      stream.write(json.dumps(entry) + '\n')


def run_probe(
  deadline_seconds: float,
  program: str = 'import sys; from experiments import doctor; doctor.probe(sys.argv[1])',
) -> tuple[dict[str, dict], str]:
  """Runs `probe` in a process group of its own, none of which outlives this call.

  Args:
    deadline_seconds: when to stop waiting.
    program: Python code that writes the report named by its first argument.

  Returns:
    What was reported, by step, and in words how the process ended.
  """
  with tempfile.TemporaryDirectory() as folder:
    report = pathlib.Path(folder, 'report')
    report.touch()
    # A worker inherits what it is given, so a pipe could stay open for ever: nothing is read.
    process = subprocess.Popen(
      [sys.executable, '-c', program, str(report)],
      cwd=_ROOT,
      stdin=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      start_new_session=True,
    )
    try:
      ending = _ending(process.wait(deadline_seconds))
    except subprocess.TimeoutExpired:
      ending = f'it was not done after {deadline_seconds:.0f} s'
    finally:
      _kill_group(process)
    entries = [json.loads(line) for line in report.read_text(encoding='utf-8').splitlines()]
  return {entry['step']: entry for entry in entries}, ending


def _ending(code: int) -> str:
  if code < 0:
    return f'the process died of {signal.Signals(-code).name}'
  return f'the process ended with exit code {code}'


def _kill_group(process: subprocess.Popen) -> None:
  with contextlib.suppress(ProcessLookupError):  # nobody may be left in it
    os.killpg(process.pid, signal.SIGKILL)
  process.wait()


def check_probe(report: dict[str, dict], ending: str) -> Iterator[Finding]:
  """What the probe found out, up to the first thing that it did not come back from."""
  what = {
    'tensorflow': 'TensorFlow{version} was imported in {seconds:.1f} s.',
    'tff': 'TensorFlow Federated{version} was imported in {seconds:.1f} s.',
    'fused': 'A round on the fused runtime took {seconds:.1f} s.',
    'native': "A round on TFF's own runtime, its worker_binary started, took {seconds:.1f} s.",
  }
  subject = {
    'tensorflow': 'Importing TensorFlow',
    'tff': 'Importing TensorFlow Federated',
    'fused': 'A round on the fused runtime',
    'native': "A round on TFF's own runtime (worker_binary)",
  }
  for step in STEPS:
    entry = report.get(step)
    # The main job runs on the fused runtime; the native one is for what that cannot express.
    needed = step != 'native'
    if entry is None:
      yield Finding(f'{subject[step]} did not finish: {ending}.', works=False, needed=needed)
      return
    if 'error' in entry:
      yield Finding(f'{subject[step]} failed: {entry["error"]}.', works=False, needed=needed)
      if step in ('tensorflow', 'tff'):
        return
    else:
      version = f' {entry["version"]}' if 'version' in entry else ''
      yield Finding(what[step].format(version=version, seconds=entry['seconds']))


def check_gpu(report: dict[str, dict], device: str = '/dev/nvidia0') -> Finding:
  """Whether TensorFlow has a GPU; nothing needs one."""
  gpus = report.get('tensorflow', {}).get('gpus', [])
  if gpus:
    return Finding(f'TensorFlow sees {len(gpus)} GPU{"s" if len(gpus) > 1 else ""}.')
  if os.path.exists(device):
    return Finding('There is a GPU, but TensorFlow cannot use it.', works=False, needed=False)
  return Finding('There is no GPU, so TensorFlow uses the processors.', works=False, needed=False)


def examine(data_dir: Optional[str], output_dir: str, deadline_seconds: float) -> Iterator[Finding]:
  """All findings, each as soon as it is known."""
  yield check_python()
  yield check_memory(available_memory())
  yield check_output(output_dir)
  report, ending = run_probe(deadline_seconds)
  yield from check_probe(report, ending)
  try:
    from fl_research import tasks
    from fl_research.datasets import files
  except ImportError as error:
    yield Finding(f'Data sets cannot be read: {error}.', works=False)
  else:
    yield from check_data(tasks.TASKS, files.data_dir(data_dir))
  yield check_gpu(report)
  yield check_ray()


def define_flags() -> None:
  """Defines this program's flags; not on import, since other programs share the names."""
  flags.DEFINE_string(
    'data_dir', None, 'Folder of data files; default: $FL_RESEARCH_DATA_DIR, or your cache folder.'
  )
  flags.DEFINE_string('output_dir', 'results', 'Folder that results would be written to.')
  flags.DEFINE_float(
    'deadline_seconds', 50.0, 'How long TensorFlow and the runtimes may take.', lower_bound=1.0
  )


def _parse(arguments: Sequence[str]) -> list[str]:
  try:
    return flags.FLAGS(arguments)
  except flags.Error as error:
    print(f'experiments.doctor: {error}', file=sys.stderr)
    sys.exit(2)


def main(arguments: Sequence[str]) -> int:
  """Prints the findings and returns the exit code."""
  if len(arguments) > 1:
    print(f'experiments.doctor: {arguments[1]} is not a flag', file=sys.stderr)
    return 2
  # As exceptions, so that the probe's processes are ended on the way out.
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: sys.exit(128 + number))
  values = flags.FLAGS
  would_run = True
  for finding in examine(values.data_dir, values.output_dir, values.deadline_seconds):
    print(finding, flush=True)
    would_run = would_run and not finding.fatal
  print('\nThe main job would run.' if would_run else '\nThe main job would not run.')
  return 0 if would_run else 1


if __name__ == '__main__':
  define_flags()
  app.run(main, flags_parser=_parse)
