"""Ray: joining a cluster, or starting one on this machine that never outlives this process.

A driver that is killed leaves processes of a local Ray behind. So whatever starts one here is
started by a shell that waits on a pipe whose other end only we hold: when we close it, or die of
anything at all, it ends all processes that name the folder of this Ray, and removes that. Both are
in a session of their own: a signal to this process and all of its group is for this process only,
which needs its actors to end its round.
"""

import contextlib
import importlib.util
import logging
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Optional

from fl_research import environment
from fl_research.registry import UsageError

RUNTIME = '--runtime=ray'
"""The flag that usually asks for Ray."""

ACTOR_BYTES = 1 << 30
"""What an actor reserves: TensorFlow's 0.6 GB, and a chunk's slice, model and accumulators."""

_ANSWER_SECONDS = 10.0
_START_SECONDS = 180.0
_STORE_SHARE = 0.2  # Of the free memory, for objects.
_LEAST_STORE_BYTES, _MOST_STORE_BYTES = 100 << 20, 4 << 30
# Workers are no longer named so once they are up, and may make the folder anew as they end: it
# counts as gone when it has been for three looks.
_KEEPER = """folder=$1; shift; "$@" </dev/null & read _
clean=0
while [ $clean -lt 3 ]; do
  clean=$((clean + 1)); [ -e "$folder" ] && clean=0
  for process in /proc/[0-9]*; do
    if grep -aqs -- "$folder" $process/cmdline && [ ${process#/proc/} != $$ ]; then
      kill -9 ${process#/proc/}; clean=0
    fi
  done
  rm -rf "$folder"; sleep 0.4
done
"""


def check_installed(flag: str = RUNTIME) -> None:
  """Refuses where Ray is not.

  Raises:
    UsageError: it is not installed, though the flag asks for it.
  """
  if importlib.util.find_spec('ray') is None:
    raise UsageError(f'{flag}: Ray is not installed; `make ray` does it')


class Cluster:
  """A connection to a cluster; or, without an address, to one of this process's own.

  Where this process is connected to a cluster already, that is it.

  Args:
    address: `host:port` of a cluster's head, or `auto` for the one that this machine is part of;
      empty to start one here.
    cores: how many cores one that is started may use.
    flag: what asks for Ray.

  Raises:
    UsageError: Ray is not installed, or there is no cluster at the address.
  """

  def __init__(self, address: str, cores: int, flag: str = RUNTIME):
    check_installed(flag)
    # Nothing is reported to Ray's makers, and nothing said on stderr that is for them.
    for name, value in (('RAY_USAGE_STATS_ENABLED', '0'), ('RAY_BACKEND_LOG_LEVEL', 'fatal')):
      os.environ.setdefault(name, value)
    import ray

    self.address, self._flag = address, flag
    self._keeper: Optional[subprocess.Popen] = None
    self._folder = ''
    self._joined_before = ray.is_initialized()
    if self._joined_before:
      return
    with _own_signal_handlers():
      if address:
        self._join(ray, address)
      else:
        self._start(ray, cores)

  def _join(self, ray: Any, address: str) -> None:
    if '://' in address:
      raise UsageError(
        f'--ray_address={address}: accepted is host:port, or auto; the driver itself must run on a '
        "node of the cluster, which Ray's client does not"
      )
    try:
      _knock(address)
      ray.init(address=address, **_arguments())
    except (OSError, RuntimeError, ValueError) as error:
      raise UsageError(
        f'--ray_address={address}: no cluster answers there ({one_line(error)}); '
        '`ray start --head` starts one'
      ) from error

  def _start(self, ray: Any, cores: int) -> None:
    self._folder = tempfile.mkdtemp(prefix='ray_')
    store = max(min(int(_STORE_SHARE * _free_bytes()), _MOST_STORE_BYTES), _LEAST_STORE_BYTES)
    head = [
      *(sys.executable, '-m', 'ray.scripts.scripts', 'start', '--head', '--block'),
      *('--node-ip-address=127.0.0.1', '--port=0', '--include-dashboard=false'),
      *('--disable-usage-stats', f'--temp-dir={self._folder}'),
      # Fixed ports would be those of every other Ray on this machine.
      *('--min-worker-port=0', '--max-worker-port=0', '--dashboard-agent-listen-port=0'),
      *(f'--num-cpus={cores}', f'--object-store-memory={store}'),
    ]
    # Otherwise Ray's agents wait for a pipe that they hold open for each other.
    variables = {'RAY_enable_pipe_based_agent_to_parent_health_check': '0', **os.environ}
    words = pathlib.Path(self._folder, 'words')
    with open(words, 'wb') as file:
      self._keeper = subprocess.Popen(
        ['/bin/sh', '-c', _KEEPER, 'sh', self._folder, *head],
        stdin=subprocess.PIPE,
        stdout=file,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=variables,
      )
    try:
      ray.init(address=self._own_address(), _node_ip_address='127.0.0.1', **_arguments())
    except (OSError, RuntimeError, ValueError) as error:
      said = words.read_text(errors='replace').strip().splitlines()[-1:]
      self.close()
      raise UsageError(
        f'{self._flag}: Ray did not start ({" ".join([one_line(error), *said])})'
      ) from error

  def _own_address(self) -> str:
    """The address of the cluster that is being started, once it has one."""
    path = pathlib.Path(self._folder, 'ray_current_cluster')
    end = time.monotonic() + _START_SECONDS
    while not (path.exists() and path.read_text().strip()):
      if time.monotonic() > end:
        raise TimeoutError(f'it has had {_START_SECONDS:.0f} s')
      time.sleep(0.05)
    return path.read_text().strip()

  def actors(self, wanted: Optional[int]) -> int:
    """How many actors the nodes have cores and memory for; at most as many as are wanted."""
    import ray

    resources = [node['Resources'] for node in ray.nodes() if node['Alive']]
    by_node = [min(r.get('CPU', 0), r.get('memory', 0) // ACTOR_BYTES) for r in resources]
    possible = int(sum(by_node))
    if not possible:
      raise UsageError(
        '--runtime=ray: no node has a core and '
        f'{ACTOR_BYTES >> 30} GB of free memory for an actor; nodes have {resources}'
      )
    return possible if wanted is None else min(wanted, possible)

  def close(self) -> None:
    """Leaves the cluster; ends it, where this process has started it."""
    import ray

    if not self._joined_before:
      with contextlib.suppress(Exception):
        ray.shutdown()
    keeper, self._keeper = self._keeper, None
    if keeper is not None and keeper.stdin is not None:
      keeper.stdin.close()
      keeper.wait()
      shutil.rmtree(self._folder, ignore_errors=True)


def _knock(address: str) -> None:
  """Whether anybody is at the address: Ray itself would ask for minutes.

  Raises:
    OSError, ValueError: nobody is, or it is none.
  """
  host, _, port = address.rpartition(':')
  if address != 'auto':
    socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()


def _arguments() -> dict[str, Any]:
  """What both ways of connecting have in common."""
  variables = {name: os.environ[name] for name in environment.DEFAULTS}
  variables['PYTHONPATH'] = environment.python_path()
  return {
    'runtime_env': {'env_vars': variables},
    'log_to_driver': False,
    'logging_level': logging.ERROR,
    'configure_logging': False,
  }


@contextlib.contextmanager
def _own_signal_handlers():
  """Keeps this process's handlers, where Ray would put its own in their place."""
  numbers = (signal.SIGINT, signal.SIGTERM)
  handlers = {number: signal.getsignal(number) for number in numbers}
  try:
    yield
  finally:
    with contextlib.suppress(ValueError):  # In other threads there are none to set.
      for number, handler in handlers.items():
        signal.signal(number, handler)


def _free_bytes() -> int:
  with open('/proc/meminfo', encoding='ascii') as file:
    return next(int(line.split()[1]) << 10 for line in file if line.startswith('MemAvailable:'))


def one_line(error: BaseException) -> str:
  """What an error of Ray's says, without what it tells its developers."""
  text = getattr(error, 'error_msg', None) or str(error)
  return ' '.join(str(text).split())[:500]
