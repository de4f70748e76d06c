"""A study: the runs of one flag file over a grid and seeds, and their committed curves.

The runs are made as by `experiments.sweep`. What the ledger keeps of them lies in two files of the
paper's folder: `results/<study>.csv`, the measured columns by cell, seed and round, and
`results/runs.csv`, what each run took and where. Both are rounded to seven digits.
"""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import functools
import json
import pathlib

import numpy as np
import pandas as pd

from experiments import command_line, sweep
from fl_research import analysis
from fl_research.registry import UsageError
from fl_research.sweeps import execution, grid, local_slots, planning, selection

RESULTS = 'results'
RUNS = 'runs.csv'
_KEYS = ['study', 'cell', 'seed']
_ALWAYS = ('eval/accuracy', 'eval/loss')
_DIGITS = '%.7g'


@dataclasses.dataclass(frozen=True)
class Study:
  """One flag file of a paper.

  Attributes:
    folder: the paper's.
    name: of the flag file, without its ending.
  """

  folder: pathlib.Path
  name: str

  @property
  def flag_file(self) -> pathlib.Path:
    return self.folder / f'{self.name}.flags'

  @property
  def curves_file(self) -> pathlib.Path:
    return self.folder / RESULTS / f'{self.name}.csv'

  def runs_folder(self, output_dir: pathlib.Path) -> pathlib.Path:
    return output_dir / self.folder.name / self.name


def run(
  study: Study,
  axes: Sequence[str],
  seeds: Sequence[int],
  select: str,
  output_dir: pathlib.Path,
  data_dir: str,
) -> None:
  """Makes the runs that are missing: all cells on the first seed, the best cell on the others.

  Raises:
    UsageError: there is no such flag file, or it cannot be understood, or a run failed.
  """
  if not study.flag_file.exists():
    raise UsageError(f'{study.flag_file}: there is no such flag file')
  _sweep(study, [*axes, f'seed={seeds[0]}'], select, output_dir, data_dir)
  rest = ','.join(str(seed) for seed in seeds[1:])
  if rest:
    best = best_cell(load_finished(study, output_dir), axes, seeds[0], select)
    fixed = [f'{name}={value}' for name, value in best.items()]
    _sweep(study, [*fixed, f'seed={rest}'], select, output_dir, data_dir)


def _sweep(
  study: Study, axes: Sequence[str], select: str, output_dir: pathlib.Path, data_dir: str
) -> None:
  print(f'\n{study.folder.name}/{study.name}: {"; ".join(axes)}', flush=True)
  folder = study.runs_folder(output_dir)
  if not train(study, axes, select or 'train/loss final', folder, data_dir):
    raise UsageError(f'{study.flag_file}: a run failed, see above')


def train(
  study: Study,
  axes: Sequence[str],
  select: str,
  folder: pathlib.Path,
  data_dir: str,
  more: Sequence[str] = (),
) -> bool:
  """Makes the runs of a flag file over a grid that are missing; gives whether all have finished.

  Args:
    study: whose flag file.
    axes: the grid, the seed in it.
    select: the measure in the table that is printed.
    folder: where the runs go.
    data_dir: where the data are; empty for the usual place.
    more: flags that come after those of the file.

  Raises:
    UsageError: a flag or the grid cannot be understood, or a run is refused.
  """
  arguments = [f'--flagfile={study.flag_file}', '--tensorboard=false', *more]
  given = command_line.read_flags([*arguments, *([f'--data_dir={data_dir}'] if data_dir else [])])
  measure = analysis.parse_measure(select)
  runs = planning.plan(cells(axes), given, folder, sweep.TRAIN, measure, allow_test_target=True)
  return execution.run(runs, measure, functools.partial(local_slots.local_slots, 0), folder)


def cells(axes: Sequence[str]) -> list[dict[str, str]]:
  """All combinations of a grid's values; one empty cell when there is no grid."""
  return grid.product([], [grid.grid_axis(axis) for axis in axes]) if axes else [{}]


def best_cell(
  runs: analysis.Runs, axes: Sequence[str], seed: int, select: str
) -> Mapping[str, str]:
  """The cell of the grid that is best on a seed.

  Raises:
    UsageError: a run is missing, or none has a value.
  """
  candidates = cells(axes)
  if len(candidates) == 1:
    return candidates[0]
  measure = analysis.parse_measure(select)
  selection.check_measure(measure, allow_test_target=True)
  values = measure.of(take(runs, candidates, [seed]))
  found = [values[run_name(cell, seed)] for cell in candidates]
  choice = selection.choose(candidates, found, measure)
  if choice.best < 0:
    raise UsageError(f'{select}: no cell of {"; ".join(axes)} has a value')
  return candidates[choice.best]


def edges(axes: Sequence[str], best: Mapping[str, str]) -> list[str]:
  """The numbers of the best cell at the edge of the grid, in words."""
  candidates = cells(axes)
  found = selection.edges(candidates, candidates.index(dict(best)))
  return [f'{name}={best[name]} ({side})' for name, side in found.items()]


def run_name(cell: Mapping[str, str], seed: int) -> str:
  return f'{cell_name(cell)},seed={seed}'.lstrip(',')


def cell_name(cell: Mapping[str, str]) -> str:
  return ','.join(f'{name}={value}' for name, value in cell.items())


def take(
  runs: analysis.Runs, wanted: Iterable[Mapping[str, str]], seeds: Sequence[int]
) -> analysis.Runs:
  """The runs of some cells and seeds.

  Raises:
    UsageError: one is missing.
  """
  names = [run_name(cell, seed) for cell in wanted for seed in seeds]
  missing = [name for name in names if name not in runs.settings.index]
  if missing:
    raise UsageError(f'{missing[0]}: there is no such run yet')
  return runs.take(names)


def load_finished(study: Study, output_dir: pathlib.Path) -> analysis.Runs:
  """The finished runs of a study, named by cell and seed.

  Raises:
    UsageError: there are none.
  """
  runs = analysis.load_runs(study.runs_folder(output_dir))
  names = {name: pathlib.Path(path).name for name, path in runs.facts['path'].items()}
  runs = runs.take(runs.facts.index[runs.facts['finished'].astype(bool)])
  return analysis.Runs(
    runs.settings.rename(index=names),
    runs.facts.rename(index=names),
    runs.metrics.assign(run=runs.metrics['run'].astype(str).map(names).astype('category')),
  )


def export(study: Study, output_dir: pathlib.Path, columns: Iterable[str]) -> None:
  """Writes what the ledger keeps of a study's finished runs, and lets that of others stay.

  Rows that were replaced need cells and seeds that nobody runs again.
  """
  runs = load_finished(study, output_dir)
  wanted = list(dict.fromkeys([*columns, *(c for c in _ALWAYS if c in runs.metrics)]))
  for column in columns:
    runs.check_column(column)
  table = runs.metrics
  measured = table[list(dict.fromkeys(columns))].notna().any(axis=1)
  last = ~table['run'].duplicated(keep='last')
  table = table[measured | last]
  keys = table['run'].astype(str).str.rpartition('seed=')
  curves = table[['round', *wanted]].copy()
  curves.insert(0, 'cell', keys[0].str.rstrip(','))
  curves.insert(1, 'seed', keys[2].astype(int))
  study.curves_file.parent.mkdir(exist_ok=True)
  if study.curves_file.exists():
    old = pd.read_csv(study.curves_file, float_precision='round_trip')
    curves = _with_others(curves, old.fillna({'cell': ''}), ['cell', 'seed'])
  curves.sort_values(['cell', 'seed', 'round']).to_csv(
    study.curves_file, index=False, float_format=_DIGITS
  )
  _export_facts(study, runs)


def _with_others(new: pd.DataFrame, old: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
  """New rows, and the old ones that are about other runs."""
  there = pd.MultiIndex.from_frame(new[keys])
  return pd.concat([new, old[~pd.MultiIndex.from_frame(old[keys]).isin(there)]])


def _export_facts(study: Study, runs: analysis.Runs) -> None:
  keys = runs.settings.index.str.rpartition('seed=')
  rows = pd.DataFrame(
    {
      'study': study.name,
      'cell': [key[0].rstrip(',') for key in keys],
      'seed': [int(key[2]) for key in keys],
      'rounds': runs.facts['last_round'].to_numpy(),
      'seconds': runs.facts['seconds'].round(1).to_numpy(),
      'machine': [_machine(path) for path in runs.facts['path']],
      'commit': [commit[:12] for commit in runs.facts['commit']],
      'diverged': np.where(runs.diverged, 'yes', ''),
    }
  )
  add_facts(study.folder, rows)


def add_facts(folder: pathlib.Path, rows: pd.DataFrame) -> None:
  """Puts rows into a paper's runs.csv in place of those of the same runs."""
  path = folder / RESULTS / RUNS
  if path.exists():
    rows = _with_others(rows, pd.read_csv(path, keep_default_na=False), _KEYS)
  path.parent.mkdir(exist_ok=True)
  rows.sort_values(_KEYS).to_csv(path, index=False)


def _machine(run_folder: str) -> str:
  manifest = json.loads((pathlib.Path(run_folder) / analysis.run_files.MANIFEST).read_text())
  return describe(manifest['machine'])


def describe(machine: Mapping) -> str:
  """A machine in a few words."""
  cores = '1 core' if machine['cores'] == 1 else f'{machine["cores"]} cores'
  return f'{cores}, {machine["processor"]}'


def load_facts(folder: pathlib.Path, study: str) -> pd.DataFrame:
  """The rows of runs.csv for a study; empty when there are none."""
  path = folder / RESULTS / RUNS
  if not path.exists():
    return pd.DataFrame(columns=[*_KEYS, 'rounds', 'seconds', 'machine', 'commit'])
  table = pd.read_csv(path, keep_default_na=False)
  return table[table['study'] == study]


def load(study: Study) -> analysis.Runs:
  """A study's committed curves.

  Raises:
    UsageError: there are none.
  """
  if not study.curves_file.exists():
    raise UsageError(f'{study.curves_file}: there are no results yet')
  table = pd.read_csv(study.curves_file, keep_default_na=True, float_precision='round_trip')
  table['cell'] = table['cell'].fillna('')
  names = (table['cell'] + ',seed=' + table['seed'].astype(str)).str.lstrip(',')
  metrics = table.drop(columns=['cell', 'seed'])
  metrics.insert(0, 'run', names.astype('category'))
  keys = table[['cell', 'seed']].assign(run=names).drop_duplicates('run').set_index('run')
  settings = pd.DataFrame([_settings(cell) for cell in keys['cell']], index=keys.index)
  settings['seed'] = keys['seed']
  last = metrics.groupby('run', observed=True)['round'].max().reindex(keys.index)
  facts = pd.DataFrame({'last_round': last, 'finished': True}, index=keys.index)
  facts['diverged'] = facts.index.isin(_diverged(study))
  return analysis.Runs(settings, facts.reindex(columns=analysis.run_files.FACTS), metrics)


def _diverged(study: Study) -> list[str]:
  """The names of a study's runs that diverged; rows from before this was noted do not say."""
  table = load_facts(study.folder, study.name)
  rows = table[table['diverged'] == 'yes'] if 'diverged' in table else table[:0]
  return [f'{row.cell},seed={row.seed}'.lstrip(',') for row in rows.itertuples()]


def _settings(cell: str) -> dict[str, str]:
  return dict(part.partition('=')[::2] for part in cell.split(',') if part)
