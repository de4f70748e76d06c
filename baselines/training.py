"""Runs of which a computation wants more than their CSVs: what the server has, at checkpoints."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from fl_research import runtime
from fl_research.round import process as process_lib
from fl_research.settings import Settings
from fl_research.training import assembly, client_states, observer, run_data
from fl_research.training import loop as loop_lib

Found = TypeVar('Found')
Read = Callable[[process_lib.FederatedProcess, Any], Found]
"""What is wanted, of the process and the server's state."""


def checkpoints(settings: Settings, read: Read[Found]) -> tuple[run_data.RunData, list[Found]]:
  """Trains: the data, and what is read after every `rounds_per_checkpoint` rounds and the last."""
  found: list[Found] = []
  with runtime.use_context(settings.runtime, jit=settings.jit):
    data = run_data.load(settings)
    process = assembly.build_process(settings, assembly.build_model(settings, data.spec), data)
    loop = loop_lib.Loop(
      settings,
      process,
      data,
      assembly.build_driver(settings, data, process),
      assembly.build_evaluation(settings, process, data),
    )
    reader = _Reader(process, read, found)
    loop.run(loop_lib.start(process, client_states.build(process)), [reader])
  return data, found


class _Reader(observer.Observer, Generic[Found]):
  """Reads the state at each checkpoint."""

  def __init__(self, process: process_lib.FederatedProcess, read: Read[Found], found: list[Found]):
    self._process, self._read, self._found = process, read, found

  def checkpoint(self, progress: loop_lib.Progress) -> None:
    self._found.append(self._read(self._process, progress.state))
