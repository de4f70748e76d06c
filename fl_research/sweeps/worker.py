"""A process that makes one run after the other, so that TensorFlow is imported once for all.

    python -m fl_research.sweeps.worker

reads a line of JSON for each run, `{"program": module, "arguments": [...], "log": file}`, runs the
module as `python -m` does, and answers with a line, `{"code": exit code, "retires": whether this
was its last}`. What a run writes to standard output and standard error, C++ code among it, goes to
its log. Between runs all is put back that a run may have changed and another would notice; what
stays are imported modules and compiled computations. How many threads a TensorFlow kernel has is
fixed once the first run has begun: who sends runs here sends such as agree in that.
"""

import gc
import json
import os
import runpy
import sys
import traceback
from typing import Any

from fl_research import runtime
from fl_research.runtime import memory

MOST_GROWTH = 1 << 30
"""By how many bytes a process may be larger than after its first run, before it retires."""


def main() -> None:
  requests = os.fdopen(os.dup(0))
  answers = os.fdopen(os.dup(1), 'w')
  _redirect(os.devnull, 0, 1)
  first = 0
  for line in requests:
    code = run(**json.loads(line))
    size = memory.resident_bytes()
    first = first or size
    # A run that ended by a signal was asked to, and so is this process; what an exception that
    # nobody foresaw has left behind, nobody knows.
    retires = code == 1 or code > 128 or size - first > MOST_GROWTH
    print(json.dumps({'code': code, 'retires': retires}), file=answers, flush=True)
    if retires:
      break


def run(program: str, arguments: list[str], log: str) -> int:
  """Makes one run; gives its exit code.

  Args:
    program: the module to run.
    arguments: its command line.
    log: the file that its output goes to, in a folder that is there.
  """
  _redirect(log, 1, 2)
  try:
    return _run(program, arguments)
  finally:
    sys.stdout.flush()
    sys.stderr.flush()
    _put_back()


def _run(program: str, arguments: list[str]) -> int:
  sys.argv = [program, *arguments]
  try:
    runpy.run_module(program, run_name='__main__', alter_sys=True)
  except SystemExit as ended:
    if ended.code is None or isinstance(ended.code, int):
      return ended.code or 0
    print(ended.code, file=sys.stderr)
    return 1
  except BaseException:
    traceback.print_exc()
    return 1
  return 0


def _redirect(path: str, *descriptors: int) -> None:
  """Has a file, begun anew, take the place of standard input, output or error."""
  opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
  for descriptor in descriptors:
    os.dup2(opened, descriptor)
  os.close(opened)


def _put_back() -> None:
  """Ends, frees and forgets what the run has left behind."""
  runtime.shutdown()
  tensorflow: Any = sys.modules.get('tensorflow')
  if tensorflow is not None:
    tensorflow.keras.backend.clear_session()  # Names of layers are counted up.
  gc.collect()
  memory.trim()


if __name__ == '__main__':
  main()
