"""The runs of a sweep: one for each cell, checked before the first begins."""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from fl_research import analysis, registry
from fl_research import settings as settings_lib
from fl_research.analysis import measures
from fl_research.registry import UsageError
from fl_research.soundness import validation
from fl_research.sweeps import grid, selection
from fl_research.training import run_folder

RESERVED = ('experiment_name', 'output_dir')
"""Settings that every run gets from the sweep."""


@dataclasses.dataclass
class Run:
  """One run of the sweep.

  Attributes:
    cell: its swept settings.
    settings: all its settings.
    command: what runs it.
    folder: where it writes to.
    status: `waiting`, `finished`, `diverged`, or why it failed.
    value: the selected measure; NaN while there is none.
    rounds: its last round.
    seconds: time it took in this sweep or, computing, before it.
  """

  cell: grid.Cell
  settings: settings_lib.Settings
  command: tuple[str, ...]
  folder: pathlib.Path
  status: str = 'waiting'
  value: float = np.nan
  rounds: int = 0
  seconds: float = 0.0

  @property
  def finished(self) -> bool:
    return run_folder.RunFolder(self.settings).finished

  @property
  def diverged(self) -> bool:
    return bool(run_folder.read_manifest(self.folder).get('diverged'))


def plan(
  cells: Sequence[grid.Cell],
  given: Mapping[str, Any],
  folder: pathlib.Path,
  command: Sequence[str],
  measure: analysis.Measure,
  allow_test_target: bool,
) -> list[Run]:
  """The runs of a sweep, in the order of the cells.

  Args:
    cells: what differs between them.
    given: what all of them share, as flags by name.
    folder: where each has a folder of its own.
    command: what trains, to which a run's flags are added.
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
    arguments = [f'--{name}={_argument(value)}' for name, value in own.items()]
    runs.append(Run(cell, settings, (*command, *arguments), place.path))
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
    hint = f'; did you mean {near}?' if near else '; experiments.train --help lists all flags'
    raise UsageError(f'--grid={name}=...: there is no flag --{name}{hint}')


def _argument(value: Any) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)
