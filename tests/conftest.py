"""Options of the test suite, and how `make test` deals it out to processes.

A file's tests stay together in one process, since they share what they have traced. What shares
nothing is dealt out test by test, and what takes longest is begun first, so that no process is left
alone with it at the end.
"""

import os
import pathlib
import signal
import sys

import pytest

import fl_research  # noqa: F401  its settings of TensorFlow, before a test imports that
from tests import memory

# A shell starts background jobs deaf to Ctrl-C, and programs that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

BYTES_PER_PROCESS = 2 << 30
"""What a process of the suite may take at most; as many run as there are cores and memory for."""

GROWTH = 256 << 20
"""By how much a process may grow before what TensorFlow keeps is thrown away."""

DEAR = (
  'tests/test_readme.py',
  'tests/baselines/test_quick_look.py',
  'tests/experiments/test_train.py',
  'tests/soundness/test_combinations.py',
  'tests/experiments/test_sweep.py',
  'tests/runtime/test_ray.py',
  'tests/federation/test_equal_to_simulation.py',
  'tests/aggregation/test_contract.py',
  'tests/aggregation/test_secure_sums.py',
  'tests/algorithms/test_contract.py',
  'tests/aggregation/compression/test_training.py',
  'tests/aggregation/privacy/test_private_run.py',
  'tests/training/test_experiment.py',
  'tests/training/test_kinds_of_runs.py',
  'tests/population/attacks/test_attacks.py',
  'tests/runtime/test_workers.py',
)
"""The files that take longest, begun first."""

ONE_BY_ONE = (
  'tests/baselines/test_quick_look.py',
  'tests/experiments/test_train.py',
  'tests/soundness/test_combinations.py',
)
"""Files whose tests share nothing, and may run anywhere."""

CASE_BY_CASE = ('tests/algorithms/test_contract.py',)
"""Files of many cases, whose tests share what they build with those of the same case only."""


def pytest_addoption(parser):
  parser.addoption(
    '--all-combinations',
    action='store_true',
    help='run every cell of docs/combinations.md (half an hour), not only a covering set',
  )


def pytest_make_parametrize_id(val, argname):
  """No bytes in names of tests: archives hold the time, and processes must agree on names."""
  return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items):
  rank = {file: position for position, file in enumerate(DEAR)}
  items.sort(key=lambda item: (rank.get(_file(item.nodeid), len(rank)), _case(item.nodeid)))


def pytest_collection_finish():
  memory.keep_what_is_imported()
  if 'tensorflow' in sys.modules:
    from tests import graphs

    graphs.leave_as_traced()


def _file(nodeid: str) -> str:
  return nodeid.partition('::')[0]


def _case(nodeid: str) -> str:
  """The case of a test, which stands in brackets, where its file goes case by case."""
  return nodeid.partition('[')[2] if _file(nodeid) in CASE_BY_CASE else ''


def number_of_processes(cores: int, free_bytes: int) -> int:
  """As many as there are cores and memory for; 0, no processes but this one, where that is one.

  On few cores one more: some tests wait, for signals and other processes, and TensorFlow keeps half
  a megabyte of each computation, so that every process had better have fewer tests.
  """
  processes = min(cores + (1 < cores < 4), free_bytes // BYTES_PER_PROCESS)
  return processes if processes > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
  (line,) = (line for line in _lines('/proc/meminfo') if line.startswith('MemAvailable:'))
  return number_of_processes(len(os.sched_getaffinity(0)), int(line.split()[1]) << 10)


def _lines(path: str) -> list[str]:
  return pathlib.Path(path).read_text().splitlines()


_kept = [0]  # What was still taken after the last time.


def _forget_beyond(growth: int) -> None:
  if memory.resident_bytes() > _kept[0] + growth:
    memory.forget()
    _kept[0] = memory.resident_bytes()


def pytest_runtest_teardown(item, nextitem):
  ends = nextitem is None or nextitem.module is not item.module
  if ends or _case(nextitem.nodeid) != _case(item.nodeid):
    memory.forget_results(item.module)
  if ends:
    _kept[0] -= GROWTH // 2  # What it built can go, but for what pytest holds a little longer.


def pytest_runtest_logfinish():
  _forget_beyond(GROWTH)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  from xdist.scheduler import LoadScopeScheduling

  class Scheduling(LoadScopeScheduling):
    """Deals out files, in their order, and some of them test by test."""

    def _split_scope(self, nodeid):
      file = _file(nodeid)
      return nodeid if file in ONE_BY_ONE else f'{file}[{_case(nodeid)}'

  config.option.loadscopereorder = False
  return Scheduling(config, log)
