"""The runs of a sweep: one for each cell, checked before the first begins."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from fl_research import analysis, registry
from fl_research import settings as settings_lib
from fl_research.algorithms import of_tff
from fl_research.analysis import measures
from fl_research.models import own
from fl_research.registry import UsageError
from fl_research.soundness import validation
from fl_research.sweeps import grid, runner, selection
from fl_research.training import run_folder

RESERVED = ('experiment_name', 'output_dir')
"""Settings that every run gets from the sweep."""


@dataclasses.dataclass
class Run:
  """One run of the sweep.

  Attributes:
    cell: its swept settings.
    settings: all its settings.
    program: the module that makes it.
    arguments: the program's.
    folder: where it writes to.
    status: `waiting`, `finished`, `diverged`, or why it failed.
    value: the selected measure; NaN while there is none.
    rounds: its last round.
    seconds: time it took in this sweep or, computing, before it.
  """

  cell: grid.Cell
  settings: settings_lib.Settings
  program: str
  arguments: tuple[str, ...]
  folder: pathlib.Path
  status: str = 'waiting'
  value: float = np.nan
  rounds: int = 0
  seconds: float = 0.0

  @property
  def finished(self) -> bool:
    return run_folder.RunFolder(self.settings).finished

  def job(self, log: pathlib.Path) -> runner.Job:
    """The job of making it, its output going to `log`."""
    graphs = {name: value for name, value in self.cell.items() if name != selection.SEED}
    process = _process(self.settings)
    return runner.Job(self.folder.name, self.program, self.arguments, log, process, str(graphs))

  @property
  def diverged(self) -> bool:
    return bool(run_folder.read_manifest(self.folder).get('diverged'))


def plan(
  cells: Sequence[grid.Cell],
  given: Mapping[str, Any],
  folder: pathlib.Path,
  program: str,
  measure: analysis.Measure,
  allow_test_target: bool,
) -> list[Run]:
  """The runs of a sweep, in the order of the cells.

  Args:
    cells: what differs between them.
    given: what all of them share, as flags by name.
    folder: where each has a folder of its own.
    program: the module that trains.
    measure: what the sweep chooses by.
    allow_test_target: whether the test set may have a say in the choice.

  Raises:
    UsageError: a run is refused, or the choice would look at the test set.
  """
  selection.check_measure(measure, allow_test_target)
  known = list(settings_lib.flag_types())
  for name in dict.fromkeys(name for cell in cells for name in cell):
    _check_swept(name, known)
  runs = []
  for cell in cells:
    own = {
      **{name: value for name, value in given.items() if name not in RESERVED},
      **cell,
      'output_dir': str(folder.absolute()),
      'experiment_name': grid.folder_name(cell),
    }
    settings = settings_lib.complete(settings_lib.from_flags(own))
    validation.validate(settings)
    selection.check_settings(measure, settings, allow_test_target)
    place = run_folder.RunFolder(settings)
    place.check()
    arguments = tuple(f'--{name}={_argument(value)}' for name, value in own.items())
    runs.append(Run(cell, settings, program, arguments, place.path))
  return runs


def usual_measure(cells: Sequence[grid.Cell], given: Mapping[str, Any]) -> analysis.Measure:
  """What a sweep chooses by when nobody says: the training loss at the end of the shortest run."""
  rounds = min(settings_lib.from_flags({**given, **cell}).total_rounds for cell in cells)
  return analysis.Measure('train/loss', measures.LAST, measures.window(rounds))


def _check_swept(name: str, known: Sequence[str]) -> None:
  if name in RESERVED:
    raise UsageError(f'--grid={name}=...: every run gets its own --{name} from the sweep')
  if name not in known:
    near = registry.nearest(name, known)
    hint = f'; did you mean {near}?' if near else '; experiments.train --help=all lists all flags'
    raise UsageError(f'--grid={name}=...: there is no flag --{name}{hint}')


def _process(settings: settings_lib.Settings) -> str:
  """`Job.process`: TensorFlow's kernels keep the threads that they have in a process's first run.

  Where code of the user's own runs, nobody knows what it leaves behind.
  """
  if own.is_own(settings.model) or of_tff.is_own(settings.algorithm):
    return f'alone: {settings.experiment_name}'
  return 'native' if settings.runtime == 'native' else f'{settings.kernel_threads} threads'


def _argument(value: Any) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)
