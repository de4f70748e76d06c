"""TFF's own local C++ runtime, started when first used and never left behind.

TFF starts a child process `worker_binary` that inherits stdout and may outlive its parent, so that
`python train.py | tee log` hangs. Here the worker runs under a shell that waits on a pipe whose
other end only we hold: when we close it, or die of anything at all (an exception, Ctrl-C, SIGTERM,
SIGKILL), the shell sees the end of the pipe and kills the worker. No signal handler is needed.
"""

import atexit
import os
import subprocess
import threading
import time
from typing import Any, Optional

import grpc
import portpicker
import tensorflow_federated as tff

from fl_research import tff_private
from fl_research.runtime import clear_sums, described, errors

START_SECONDS = 60.0
"""How long a worker may take to answer before it counts as failed."""

_MAX_MESSAGE_BYTES = 2**31 - 1
_GRPC_OPTIONS = [
  ('grpc.max_message_length', _MAX_MESSAGE_BYTES),
  ('grpc.max_receive_message_length', _MAX_MESSAGE_BYTES),
  ('grpc.max_send_message_length', _MAX_MESSAGE_BYTES),
]
# The shell ignores what a terminal or a supervisor sends to the whole group: only the end of the
# pipe counts, and only it leads to the worker's end.
_KEEPER = 'trap "" INT TERM HUP; "$@" </dev/null & worker=$!; read _; kill -9 $worker; wait'


class Worker:
  """One `worker_binary`, alive at most as long as this process."""

  def __init__(self):
    port = portpicker.pick_unused_port()
    binary = os.path.join(os.path.dirname(tff.__file__), 'data', 'worker_binary')
    if not os.path.isfile(binary):
      raise RuntimeError(f'This installation of TFF has no worker at {binary}.')
    self._keeper = subprocess.Popen(
      ['/bin/sh', '-c', _KEEPER, 'sh', binary, f'--port={port}'],
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      start_new_session=True,
    )
    self._channel = grpc.insecure_channel(f'localhost:{port}', _GRPC_OPTIONS)
    self.stub = tff.framework.RemoteExecutorGrpcStub(self._channel)
    self._wait_until_ready()

  def _wait_until_ready(self) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not self.stub.is_ready:
      if time.monotonic() > deadline:
        self.close()
        raise RuntimeError(f"TFF's worker did not answer within {START_SECONDS:.0f} seconds.")
      time.sleep(0.02)

  def close(self) -> None:
    """Ends the worker and waits until it is gone."""
    self._channel.close()
    if self._keeper.stdin is not None:
      self._keeper.stdin.close()
    self._keeper.wait()


_lock = threading.Lock()
_worker: Optional[Worker] = None


def _current_worker() -> Worker:
  global _worker
  with _lock:
    if _worker is None:
      _worker = Worker()
    return _worker


def worker_started() -> bool:
  """Whether this process has a `worker_binary` now."""
  return _worker is not None


def shutdown() -> None:
  """Ends the worker, if there is one; the next native call starts another."""
  global _worker
  with _lock:
    worker, _worker = _worker, None
  if worker is not None:
    worker.close()


atexit.register(shutdown)


def forget() -> None:
  """Has all that is called from now on be compiled anew."""
  tff_private.forget_compiled()


def _compile(computation):
  return tff.backends.native.desugar_and_transform_to_native(clear_sums.in_the_clear(computation))


def _context_of(worker: Worker) -> tff.framework.SyncExecutionContext:
  def executor_of(cardinalities):
    cardinalities.setdefault(tff.CLIENTS, 0)
    executor = tff.framework.RemoteExecutor(worker.stub)
    executor.set_cardinalities(cardinalities)
    return executor

  return tff.framework.SyncExecutionContext(
    tff.framework.ResourceManagingExecutorFactory(executor_of),
    _compile,
    transform_args=tff.tensorflow.transform_args,
    transform_result=tff.tensorflow.transform_result,
  )


def _made(arg: Any) -> Any:
  """The argument, with the clients made that are only described."""
  if isinstance(arg, described.DescribedClients):
    return arg.make()
  if isinstance(arg, tff.structure.Struct):
    parts = tff.structure.iter_elements(arg)
    return tff.structure.Struct([(name, _made(part)) for name, part in parts])
  return arg


class NativeContext(tff.framework.SyncContext):
  """TFF's own runtime as an execution context; nothing is started before the first call."""

  def __init__(self):
    self._worker: Optional[Worker] = None
    self._context: Any = None

  def invoke(self, comp, arg):
    """Runs `comp` on `arg`.

    Raises:
      ComputationError: the computation itself failed.
      TypeError, ValueError: the arguments do not fit the computation's type.
    """
    worker = _current_worker()
    if worker is not self._worker:
      self._worker, self._context = worker, _context_of(worker)
    try:
      return self._context.invoke(comp, _made(arg))
    except grpc.RpcError as error:
      raise errors.ComputationError(errors.message_of(error.details())) from error

  def progress(self) -> str:
    """Nothing: see `fused.FusedContext`."""
    return ''

  def report(self) -> dict:
    """What to write into a run's manifest."""
    return {'runtime': 'native', 'worker_started': worker_started()}
