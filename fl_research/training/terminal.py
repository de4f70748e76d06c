"""What people see while a run goes on; nothing when nobody is looking."""

from collections.abc import Callable, Mapping
import contextlib
import sys
from typing import Any, Optional

import rich.console
import rich.progress
import rich.table

from fl_research.training.observer import Observer


class ProgressBar(Observer):
  """A bar on the terminal with round, loss, accuracy, rounds/s and time left.

  Quiet when stderr is not a terminal.

  Args:
    total_rounds: the last round.
    first_round: the round the run (re)starts from.
    primary: the metric shown beside the loss.
    workers: says who is at work.
  """

  def __init__(
    self,
    total_rounds: int,
    first_round: int,
    primary: str,
    workers: Callable[[], str] = str,
  ):
    console = rich.console.Console(stderr=True)
    self._primary = primary
    self._workers = workers
    self._progress = rich.progress.Progress(
      rich.progress.TextColumn(
        'round {task.completed:.0f}/{task.total:.0f}',
        # On a narrow terminal others give way.
        table_column=rich.table.Column(min_width=len(f'round {total_rounds}/{total_rounds}')),
      ),
      rich.progress.BarColumn(bar_width=12),
      rich.progress.TextColumn('{task.fields[figures]}'),
      _RoundsPerSecond(),
      rich.progress.TimeRemainingColumn(),
      console=console,
      disable=not sys.stderr.isatty(),
    )
    self._task = self._progress.add_task('', total=total_rounds, completed=first_round, figures='')
    self._figures: dict[str, str] = {}

  def __enter__(self) -> 'ProgressBar':
    self._progress.start()
    return self

  def __exit__(self, *exception: Any) -> None:
    self._progress.stop()

  def row(self, row: dict[str, Any]) -> None:
    """Shows a row of metrics.csv."""
    words = {'train': 'training', 'eval': 'test', 'personal': 'own models, own test'}
    for phase, word in words.items():
      names = dict.fromkeys(('loss', self._primary))
      values = {name: row.get(f'{phase}/{name}') for name in names}
      known = [(name, value) for name, value in values.items() if isinstance(value, float)]
      if len(known) == len(names):
        figures = ', '.join(f'{name} {figure(value)}' for name, value in known)
        self._figures[phase] = f'{word} {figures}'
    figures = next((self._figures[p] for p in reversed(words) if p in self._figures), '')
    shown = ', '.join(filter(None, (figures, self._workers())))
    self._progress.update(self._task, completed=row['round'], figures=shown)


class Complaints(Observer):
  """Says on stderr what goes wrong; above the bar where there is one, as rich sees to."""

  def complaint(self, line: str) -> None:
    note(line)


class _RoundsPerSecond(rich.progress.ProgressColumn):
  """Rounds per second, or seconds per round where that reads better."""

  def render(self, task: rich.progress.Task) -> rich.progress.Text:
    speed: Optional[float] = task.speed
    if not speed:
      return rich.progress.Text('')
    text = f'{speed:.1f} rounds/s' if speed >= 1 else f'{1 / speed:.1f} s/round'
    return rich.progress.Text(text)


def figure(value: float) -> str:
  """A figure as it is shown: four decimals, or four digits where these would not tell."""
  return f'{value:.4f}' if value == 0 or 1e-3 <= abs(value) < 1e6 else f'{value:.4g}'


def note(line: str) -> None:
  """Says something on stderr, to whoever is still listening."""
  with contextlib.suppress(BrokenPipeError):
    print(line, file=sys.stderr, flush=True)


def print_summary(title: str, rows: Mapping[str, str], complaint: str = '') -> None:
  """Prints a two-column table to stdout, and below it a line that must be seen."""
  table = rich.table.Table(title=title, show_header=False, title_justify='left')
  for name, value in rows.items():
    table.add_row(name, value)
  console = rich.console.Console()
  # Printed by us, as rich would end the program with code 1 when nobody reads it (`| head -1`).
  with console.capture() as captured:
    console.print(table)
  print(captured.get(), end='')
  if complaint:
    print(complaint)
