"""Runs experiments.train for many settings and finds the best, without looking at the test set."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from typing import Any

from absl import flags
import numpy as np

from experiments import command_line
from fl_research import analysis, registry
from fl_research import settings as settings_lib
from fl_research.registry import UsageError
from fl_research.soundness import validation
from fl_research.sweeps import grid, runner, selection
from fl_research.training import atomic_files, run_folder, tables

INTRODUCTION = """
Runs experiments.train for every cell of a grid, for listed cells, or for random draws, several
runs at a time, each in <output_dir>/<experiment_name>/<cell>/. Prints the mean over seeds of every
cell with the best one marked, and writes summary.csv. The same command again goes on where it was
ended. All other flags are those of experiments.train and hold for every run.

  python -m experiments.sweep --flagfile=base.flags --grid="client_learning_rate=log10(-2:0:0.5)" \\
    --grid=seed=0,1,2 --select="train/accuracy last 100"
  python -m experiments.sweep --flagfile=base.flags --samples=20 \\
    --random="client_learning_rate=log10(-3:0)" --random="client_epochs_per_round=integer(1:5)"
"""
HELP = {
  'grid': 'FLAG=VALUES, repeatable, all combinations: a list (0,1,2), log10(first:last:step) for '
  'powers of ten, linear(first:last:step), integer(first:last:step)',
  'list': '"FLAG=VALUE FLAG=VALUE ...", repeatable: one cell each',
  'random': 'FLAG=RANGE, repeatable: drawn from log10(low:high), linear(low:high), '
  'integer(low:high) or a list',
  'samples': 'how many cells --random draws',
  'sweep_seed': 'fixes the draws of --random',
  'select': 'what the best cell is best in: "COLUMN last N", "COLUMN final" or "COLUMN rounds to '
  'TARGET", of training (train/...) or held-out clients (held_out/...)',
  'allow_test_target': 'let --select="eval/... rounds to TARGET", or a --target_metric of the test '
  'set, have a say in the choice. McMahan et al. 2017 and others chose learning rates so, and '
  'their tables cannot be repeated otherwise; the result is then no estimate on unseen data',
  'parallel': 'runs at a time, each on cores of its own; 0: one per core',
  'launch': 'local runs them here; print only prints the commands; slurm and ray submit a job per '
  'run, or print the lines where there is no cluster. Once the jobs are done, the same command '
  'with local makes the table',
}
LAUNCHERS = ('local', 'print', 'slurm', 'ray')
SUMMARY = 'summary.csv'
TRAIN = 'experiments.train'
_RESERVED = ('experiment_name', 'output_dir')
_ROOT = pathlib.Path(__file__).resolve().parent.parent
_MOST_ROWS = 40


@dataclasses.dataclass
class Run:
  """One run of the sweep.

  Attributes:
    cell: its swept settings.
    settings: all its settings.
    command: what runs it.
    folder: where it writes to.
    status: `waiting`, `finished`, or why it failed.
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
    return bool(run_folder.read_manifest(self.folder).get('finished'))


def define_flags(values: flags.FlagValues) -> None:
  """The flags of the sweep itself."""
  for name in ('grid', 'list', 'random'):
    flags.DEFINE_multi_string(name, [], HELP[name], flag_values=values)
  flags.DEFINE_integer('samples', 10, HELP['samples'], flag_values=values)
  flags.DEFINE_integer('sweep_seed', 0, HELP['sweep_seed'], flag_values=values)
  flags.DEFINE_string('select', 'train/loss last 100', HELP['select'], flag_values=values)
  flags.DEFINE_bool('allow_test_target', False, HELP['allow_test_target'], flag_values=values)
  flags.DEFINE_integer('parallel', 0, HELP['parallel'], flag_values=values)
  flags.DEFINE_string('launch', 'local', HELP['launch'], flag_values=values)


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    lines = [f'  --{name}: {text}' for name, text in HELP.items()]
    groups = {'Sweep': lines, **command_line.settings_help()}
    command_line.print_help('python -m experiments.sweep', INTRODUCTION, groups)
    return 0
  values = flags.FlagValues()
  define_flags(values)
  command_line.define_settings_flags(values)
  command_line.parse(values, argv)
  measure = analysis.parse_measure(values.select)
  selection.check_measure(measure, values.allow_test_target)
  parallel = _parallel(values)
  runs = _runs(values, measure, argv[0])
  folder = pathlib.Path(values.output_dir) / values.experiment_name
  if values.launch != 'local':
    return _launch(values.launch, runs, folder)
  with runner.stopped_by_signals():
    return _sweep(runs, measure, parallel, folder)


def _parallel(values: flags.FlagValues) -> int:
  if values.parallel < 0:
    raise UsageError(f'--parallel={values.parallel}: accepted is an integer of at least 0')
  if values.launch not in LAUNCHERS:
    raise UsageError(f'--launch={values.launch}: accepted are {", ".join(LAUNCHERS)}')
  return values.parallel or len(os.sched_getaffinity(0))


def _cells(values: flags.FlagValues) -> list[grid.Cell]:
  """The cells that --grid, --list and --random describe."""
  if values.samples < 1:
    raise UsageError(f'--samples={values.samples}: accepted is an integer of at least 1')
  if values.sweep_seed < 0:
    raise UsageError(f'--sweep_seed={values.sweep_seed}: accepted is an integer of at least 0')
  if values.list and values.random:
    raise UsageError('--list and --random: at most one of them')
  if not (values.grid or values.list or values.random):
    raise UsageError('--grid, --list or --random: at least one must be given')
  axes = [grid.grid_axis(text) for text in values.grid]
  cells = [grid.list_cell(text) for text in values.list]
  if values.random:
    cells = grid.random_cells(values.random, values.samples, values.sweep_seed)
  return grid.product(cells, axes)


def _runs(values: flags.FlagValues, measure: analysis.Measure, program: str) -> list[Run]:
  """All runs, every one of them checked before the first begins."""
  cells = _cells(values)
  known = flags.FlagValues()
  command_line.define_settings_flags(known)
  for name in dict.fromkeys(name for cell in cells for name in cell):
    _check_swept(name, list(known))
  given = {n: values[n].value for n in known if values[n].present and n not in _RESERVED}
  parent = settings_lib.Settings(experiment_name=values.experiment_name)
  if not parent.experiment_name:
    raise UsageError('--experiment_name: must be given; it names the folder of the sweep')
  output_dir = str(pathlib.Path(values.output_dir, values.experiment_name).absolute())
  runs = []
  for cell in cells:
    own = {**given, **cell, 'output_dir': output_dir, 'experiment_name': grid.folder_name(cell)}
    arguments = [f'--{name}={_argument(value)}' for name, value in own.items()]
    settings = _settings([program, *arguments])
    selection.check_settings(measure, settings, values.allow_test_target)
    folder = run_folder.RunFolder(settings)
    folder.check()
    runs.append(Run(cell, settings, (sys.executable, '-m', TRAIN, *arguments), folder.path))
  return runs


def _check_swept(name: str, known: Sequence[str]) -> None:
  if name in _RESERVED:
    raise UsageError(f'--grid={name}=...: every run gets its own --{name} from the sweep')
  if name not in known:
    near = registry.nearest(name, known)
    hint = f'; did you mean {near}?' if near else '; experiments.train --help lists all flags'
    raise UsageError(f'--grid={name}=...: there is no flag --{name}{hint}')


def _argument(value: Any) -> str:
  return str(value).lower() if isinstance(value, bool) else str(value)


def _settings(argv: Sequence[str]) -> settings_lib.Settings:
  """The checked settings of a command line."""
  values = flags.FlagValues()
  command_line.define_settings_flags(values)
  command_line.parse(values, argv)
  settings = command_line.to_settings(values)
  validation.validate(settings)
  return settings


def _sweep(
  runs: Sequence[Run], measure: analysis.Measure, parallel: int, folder: pathlib.Path
) -> int:
  """Runs what is not finished, and reports; gives the exit code."""
  for run in runs:
    if run.finished:
      _measure(run, measure)
  waiting = {run.folder.name: run for run in runs if run.status == 'waiting'}
  if len(waiting) < len(runs):
    print(f'{len(runs) - len(waiting)} of {len(runs)} runs are finished already', flush=True)
  logs = folder / 'logs'
  jobs = [runner.Job(name, run.command, logs / f'{name}.log') for name, run in waiting.items()]
  try:
    with contextlib.closing(runner.run_jobs(jobs, parallel, _environment())) as ended:
      _follow(ended, waiting, measure)
  finally:
    if any(run.status != 'waiting' for run in runs):
      choice = selection.choose([r.cell for r in runs], [r.value for r in runs], measure)
      _write_summary(runs, choice, measure, folder / SUMMARY)
  _print_choice(choice, measure, folder / SUMMARY)
  failed = [run for run in runs if run.status != 'finished']
  for run in failed:
    print(f'{run.folder.name}: {run.status}; see {logs / run.folder.name}.log', file=sys.stderr)
  return 1 if failed else 0


def _environment() -> dict[str, str]:
  """This process's, with the project found from any folder."""
  return {**os.environ, 'PYTHONPATH': os.pathsep.join([str(_ROOT), *_python_path()])}


def _python_path() -> list[str]:
  return [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]


def _follow(
  ended: Iterator[runner.Ended], waiting: Mapping[str, Run], measure: analysis.Measure
) -> None:
  for number, job in enumerate(ended, 1):
    run = waiting[job.job.name]
    if run.finished:
      _measure(run, measure)
      result = f'{measure} = {run.value:.6g}'
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
  run.status = 'finished'


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


def job_line(launch: str, run: Run, folder: pathlib.Path) -> list[str]:
  """The command that submits a run to a cluster (or runs it, for `print`)."""
  log = folder.absolute() / 'logs' / f'{run.folder.name}.log'
  if launch == 'slurm':
    cores = run.settings.client_parallelism or 1
    return [
      'sbatch',
      f'--job-name={run.folder.name}',
      f'--cpus-per-task={cores}',
      f'--chdir={pathlib.Path.cwd()}',
      f'--output={log}',
      f'--wrap={shlex.join(run.command)}',
    ]
  if launch == 'ray':
    return ['ray', 'job', 'submit', '--no-wait', f'--working-dir={_ROOT}', '--', *run.command]
  return list(run.command)


def _launch(launch: str, runs: Sequence[Run], folder: pathlib.Path) -> int:
  """Submits the runs that are not finished, or prints the lines that would; gives the exit code."""
  there = {
    'slurm': shutil.which('sbatch') is not None,
    'ray': shutil.which('ray') is not None and 'RAY_ADDRESS' in os.environ,
  }.get(launch, False)
  waiting = [run for run in runs if not run.finished]
  if there:
    (folder / 'logs').mkdir(parents=True, exist_ok=True)
  elif launch != 'print':
    needed = 'sbatch was not found' if launch == 'slurm' else 'RAY_ADDRESS is not set'
    print(f'{needed}: these lines submit the {len(waiting)} runs', file=sys.stderr)
  for run in waiting:
    line = job_line(launch, run, folder)
    if not there:
      print(shlex.join(line))
    elif subprocess.run(line, check=False).returncode:
      print(f'{run.folder.name}: could not be submitted', file=sys.stderr)
      return 1
  return 0


if __name__ == '__main__':
  command_line.run_main(main)
