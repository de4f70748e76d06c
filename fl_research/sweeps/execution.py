"""Running a sweep: what is not finished, its table, and the best cell."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import pathlib
import sys
from typing import Any

import numpy as np

from fl_research import analysis
from fl_research.sweeps import runner, selection
from fl_research.sweeps.planning import Run
from fl_research.training import atomic_files, tables

SUMMARY = 'summary.csv'
_MOST_ROWS = 40


Place = Callable[[Sequence[runner.Job]], Sequence[runner.Slot]]
"""Where jobs run: gives their slots."""


def run(runs: Sequence[Run], measure: analysis.Measure, place: Place, folder: pathlib.Path) -> bool:
  """Runs what is not finished, prints and writes the table; gives whether all have finished.

  Args:
    runs: the runs of the sweep.
    measure: what the best cell is best in.
    place: where they run.
    folder: where the table and the runs' logs go.
  """
  with runner.stopped_by_signals():
    return _run(runs, measure, place, folder)


def _run(
  runs: Sequence[Run], measure: analysis.Measure, place: Place, folder: pathlib.Path
) -> bool:
  for run in runs:
    if run.finished:
      _measure(run, measure)
  waiting = {run.folder.name: run for run in runs if run.status == 'waiting'}
  if len(waiting) < len(runs):
    print(f'{len(runs) - len(waiting)} of {len(runs)} runs are finished already', flush=True)
  logs = folder / 'logs'
  jobs = [run.job(logs / f'{name}.log') for name, run in waiting.items()]
  try:
    with contextlib.closing(runner.run_jobs(jobs, place(jobs))) as ended:
      _follow(ended, waiting, measure)
  finally:
    if any(run.status != 'waiting' for run in runs):
      choice = selection.choose([r.cell for r in runs], [r.value for r in runs], measure)
      _write_summary(runs, choice, measure, folder / SUMMARY)
  _print_choice(choice, measure, folder / SUMMARY)
  failed = [run for run in runs if not run.finished]
  for run in failed:
    print(f'{run.folder.name}: {run.status}; see {logs / run.folder.name}.log', file=sys.stderr)
  return not failed


def _follow(
  ended: Iterator[runner.Ended], waiting: Mapping[str, Run], measure: analysis.Measure
) -> None:
  for number, job in enumerate(ended, 1):
    run = waiting[job.job.name]
    if run.finished:
      _measure(run, measure)
      result = run.status if run.diverged else f'{measure} = {run.value:.6g}'
    else:
      run.status = f'failed: {job.complaint()}'
      result = run.status
    run.seconds = job.seconds
    print(f'[{number}/{len(waiting)}] {job.job.name}: {result} ({job.seconds:.0f} s)', flush=True)


def _measure(run: Run, measure: analysis.Measure) -> None:
  found = analysis.load_runs(run.folder)
  run.value = float(measure.of(found).iloc[0])
  run.rounds = int(found.facts['last_round'].iloc[0])
  run.seconds = float(found.facts['seconds'].iloc[0])
  run.status = 'diverged' if run.diverged else 'finished'


def _write_summary(
  runs: Sequence[Run], choice: selection.Choice, measure: analysis.Measure, path: pathlib.Path
) -> None:
  """One row per run: its cell, how it ended, its value, and what came of its cell."""
  swept = list(dict.fromkeys(name for run in runs for name in run.cell))
  means = {_cell_key(row, swept): row for row in choice.cells.to_dict('records')}
  rows = []
  for run in runs:
    cell = means[_cell_key(run.cell, swept)]
    rows.append(
      {
        'run': run.folder.name,
        **{name: run.cell.get(name) for name in swept},
        'status': run.status,
        'rounds': run.rounds,
        'seconds': run.seconds,
        'measure': str(measure),
        'value': run.value,
        'cell_mean': cell['mean'],
        'cell_sd': cell['sd'],
        'best': bool(cell['best']),
      }
    )
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic_files.write_atomically(path, tables.to_csv(list(rows[0]), rows).encode())


def _cell_key(row: Mapping[str, Any], swept: Sequence[str]) -> tuple[str, ...]:
  return tuple(str(row.get(name, '')) for name in swept if name != selection.SEED)


def _print_choice(choice: selection.Choice, measure: analysis.Measure, path: pathlib.Path) -> None:
  table = choice.cells.copy()
  table.insert(0, ' ', np.where(table.pop('best'), '*', ''))
  if len(table) > _MOST_ROWS:
    table = table.sort_values('mean', ascending=measure.falls).head(_MOST_ROWS)
  direction = 'lower' if measure.falls else 'higher'
  print(f'\n{measure} ({direction} is better; mean over runs, 95 % t interval)')
  print(table.to_string(index=False, na_rep='-', float_format=lambda x: f'{x:.5g}'))
  for warning in choice.warnings:
    print(f'Warning: {warning}')
  print(f'Summary: {path}')
