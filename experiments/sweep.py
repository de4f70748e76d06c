"""Runs experiments.train for many settings and finds the best, without looking at the test set."""

from collections.abc import Iterator, Sequence
import contextlib
import functools
import pathlib

from absl import flags

from experiments import command_line, help_pages
from fl_research import analysis
from fl_research.registry import UsageError
from fl_research.runtime import ray_cluster
from fl_research.sweeps import (
  execution,
  extension,
  grid,
  launching,
  local_slots,
  planning,
  selection,
)

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
  'TARGET", of training (train/...) or held-out clients (held_out/...); when empty, train/loss '
  'over the last tenth of the rounds, at most 100',
  'allow_test_target': 'let --select="eval/... rounds to TARGET", or a --target_metric of the test '
  'set, have a say in the choice. McMahan et al. 2017 and others chose learning rates so, and '
  'their tables cannot be repeated otherwise; the result is then no estimate on unseen data',
  'extend_grid': 'at most so many times, and while the best value of a --grid is its smallest or '
  'largest, add the next value beyond it and run that too',
  'parallel': 'runs at a time, each on cores of its own; 0: one per core',
  'launch': 'local runs them here; ray on the Ray cluster at --ray_address, whose nodes share the '
  'disk with the project, data and results; print only prints the commands; slurm submits a job '
  'per run, or prints the lines where there is no cluster. Once the jobs are done, the same '
  'command with local makes the table',
}
LAUNCHERS = ('local', *launching.LAUNCHERS, 'ray')
TRAIN = 'experiments.train'


def define_flags(values: flags.FlagValues) -> None:
  """The flags of the sweep itself."""
  for name in ('grid', 'list', 'random'):
    flags.DEFINE_multi_string(name, [], HELP[name], flag_values=values)
  flags.DEFINE_integer('samples', 10, HELP['samples'], flag_values=values)
  flags.DEFINE_integer('sweep_seed', 0, HELP['sweep_seed'], flag_values=values)
  flags.DEFINE_string('select', '', HELP['select'], flag_values=values)
  flags.DEFINE_bool('allow_test_target', False, HELP['allow_test_target'], flag_values=values)
  flags.DEFINE_integer('extend_grid', 0, HELP['extend_grid'], flag_values=values)
  flags.DEFINE_integer('parallel', 0, HELP['parallel'], flag_values=values)
  flags.DEFINE_string('launch', 'local', HELP['launch'], flag_values=values)


def main(argv: Sequence[str]) -> int:
  topic = command_line.help_topic(argv)
  if topic is not None:
    lines = [line for name, text in HELP.items() for line in command_line.flag_help(name, text)]
    help_pages.print_help(topic, 'python -m experiments.sweep', INTRODUCTION, {'Sweep': lines})
    return 0
  values = flags.FlagValues()
  define_flags(values)
  command_line.define_settings_flags(values)
  command_line.parse(values, argv)
  measure = analysis.parse_measure(values.select) if values.select else None
  if values.parallel < 0:
    raise UsageError(f'--parallel={values.parallel}: accepted is an integer of at least 0')
  if values.launch not in LAUNCHERS:
    raise UsageError(f'--launch={values.launch}: accepted are {", ".join(LAUNCHERS)}')
  _check_extension(values)
  if not values.experiment_name:
    raise UsageError('--experiment_name: must be given; it names the folder of the sweep')
  folder = pathlib.Path(values.output_dir, values.experiment_name)
  measure = measure or planning.usual_measure(
    _cells(values, values.grid), command_line.given_settings(values)
  )
  runs = _plan(values, values.grid, folder, measure)
  if values.launch in launching.LAUNCHERS:
    return launching.launch_runs(values.launch, runs, folder)
  with _place(values) as place:
    finished = execution.run(runs, measure, place, folder)
    if finished and values.extend_grid:
      finished = _extend(values, runs, folder, measure, place)
  return 0 if finished else 1


@contextlib.contextmanager
def _place(values: flags.FlagValues) -> Iterator[execution.Place]:
  """Where the runs are made."""
  if values.launch == 'local':
    yield functools.partial(local_slots.local_slots, values.parallel)
    return
  ray_cluster.check_installed(f'--launch={values.launch}')
  from fl_research.sweeps import ray_slots

  with ray_slots.cluster(values.ray_address) as cluster:
    yield functools.partial(cluster.slots, values.parallel)


def _check_extension(values: flags.FlagValues) -> None:
  given = f'--extend_grid={values.extend_grid}'
  if values.extend_grid < 0:
    raise UsageError(f'{given}: accepted is an integer of at least 0')
  if values.extend_grid and not values.grid:
    raise UsageError(f'{given}: there is no --grid that could be extended')
  if values.extend_grid and values.launch in launching.LAUNCHERS:
    raise UsageError(f'{given}: needs results to go by; give it with --launch=local or ray')


def _cells(values: flags.FlagValues, grids: Sequence[str]) -> list[grid.Cell]:
  return grid.cells(grids, values.list, values.random, values.samples, values.sweep_seed)


def _plan(
  values: flags.FlagValues, grids: Sequence[str], folder: pathlib.Path, measure: analysis.Measure
) -> list[planning.Run]:
  given = command_line.given_settings(values)
  if values.launch == 'ray':
    given.pop('ray_address', None)  # It is the sweep's.
  cells, allow = _cells(values, grids), values.allow_test_target
  runs = planning.plan(cells, given, folder, TRAIN, measure, allow)
  if values.launch == 'ray' and any(run.settings.runtime == 'ray' for run in runs):
    raise UsageError(
      '--launch=ray: not with --runtime=ray, as runs would wait for processors that they have '
      'themselves; give either'
    )
  return runs


def _extend(
  values: flags.FlagValues,
  runs: list[planning.Run],
  folder: pathlib.Path,
  measure: analysis.Measure,
  place: execution.Place,
) -> bool:
  """Makes the grid longer while its best is at an edge; gives whether all runs have finished."""
  axes = [grid.grid_axis(text) for text in values.grid]
  for _ in range(values.extend_grid):
    choice = selection.choose([run.cell for run in runs], [run.value for run in runs], measure)
    longer = extension.extended(axes, choice.edges)
    if longer == axes:
      break
    axes = longer
    grids = [f'{name}={",".join(listed)}' for name, listed in axes]
    try:
      runs = _plan(values, grids, folder, measure)
    except UsageError as error:
      print(f'The grid cannot be extended further: {error}')
      break
    print(f'\nExtended: --grid={" --grid=".join(grids)}', flush=True)
    if not execution.run(runs, measure, place, folder):
      return False
  return True


if __name__ == '__main__':
  command_line.run_main(main)
