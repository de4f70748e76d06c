"""The figures of a paper's README, drawn from its committed curves.

`figures.csv` of a paper has a row per figure: `figure`, the name of its file; `title`; `column` of
the curves; and `studies`, with blanks between. Each study is drawn in the cell that a claim chose.
Where `column` is `MEASURE against FLAG`, each algorithm is a line, and each of its studies a point.
Where it is `COLUMN over X`, X being another column that grows, such as `simulated_hours`, every run
is a line. Where it is `FILE.csv: Y against X`, the lines are those that a file of `results/` names
in `line`.
"""

from collections.abc import Sequence
import csv
import io
import pathlib

from absl import flags
from matplotlib import axes as axes_lib
import numpy as np
import pandas as pd

from baselines import measurement, protocols, studies
from baselines.claims import Claim
from baselines.studies import Study
from experiments import command_line
from fl_research import analysis
from fl_research.analysis import plots
from fl_research.registry import UsageError

FILE = 'figures.csv'
COLUMNS = ['figure', 'title', 'column', 'studies']
_AGAINST, _OVER = ' against ', ' over '


def rows(folder: pathlib.Path) -> list[dict[str, str]]:
  """The figures of a paper.

  Raises:
    UsageError: the file has other columns.
  """
  path = folder / FILE
  if not path.exists():
    return []
  found = list(csv.DictReader(io.StringIO(path.read_text(encoding='utf-8'), newline='')))
  for line, row in enumerate(found, 2):
    if list(row) != COLUMNS or None in row.values():
      raise UsageError(f'{path}:{line}: its columns are not {", ".join(COLUMNS)}')
  return found


def file(folder: pathlib.Path, row: dict[str, str]) -> pathlib.Path:
  """Where a figure lies."""
  return folder / studies.RESULTS / f'{row["figure"]}.png'


def draw(folder: pathlib.Path, ledger: Sequence[Claim]) -> None:
  """Draws a paper's figures, with those of their studies that have been measured."""
  ledger = protocols.fullest(ledger)
  for row in rows(folder):
    table, colon, columns = row['column'].partition('.csv: ')
    if colon:
      _plot_table(folder / studies.RESULTS / f'{table}.csv', columns, file(folder, row))
      continue
    listed = [Study(folder, name) for name in row['studies'].split()]
    measured = [study for study in listed if _measured(study, ledger)]
    if not measured:
      continue
    figure, axes = plots.new_figure()
    measure, _, setting = row['column'].partition(_AGAINST)
    if setting:
      _plot_against(measured, ledger, measure, setting, axes)
    else:
      runs = analysis.concatenate([_runs(study, ledger) for study in measured])
      column, _, x = row['column'].partition(_OVER)
      if x:
        _plot_over(runs, column, x, axes)
      else:
        analysis.plot_curves(runs, column, ['study'], axes)
    figure.savefig(file(folder, row), dpi=120, bbox_inches='tight')


def _plot_table(path: pathlib.Path, columns: str, target: pathlib.Path) -> None:
  """One column of a file against another, line by line."""
  y, _, x = columns.partition(_AGAINST)
  figure, axes = plots.new_figure()
  for number, (name, part) in enumerate(pd.read_csv(path).groupby('line', sort=False)):
    axes.plot(part[x], part[y], label=name, color=plots.COLORS[number], marker='os^DvPX*'[number])
  axes.set(xlabel=x, ylabel=y)
  axes.grid(alpha=0.3)
  axes.legend(frameon=False)
  figure.savefig(target, dpi=120, bbox_inches='tight')


def _plot_over(runs: analysis.Runs, column: str, x: str, axes: axes_lib.Axes) -> None:
  """A column over another, which grows by factors, a line for every run."""
  for number, (study, members) in enumerate(runs.settings.groupby('study', sort=False)):
    for place, name in enumerate(members.index):
      known = runs.metrics[runs.metrics['run'] == name].dropna(subset=[column, x])
      label = str(study) if place == 0 else None
      axes.plot(known[x], known[column], label=label, color=plots.COLORS[number], linewidth=1.1)
  axes.set(xscale='log', xlabel=x, ylabel=column)
  axes.grid(alpha=0.3)
  axes.legend(frameon=False)


def _plot_against(
  listed: Sequence[Study],
  ledger: Sequence[Claim],
  measure: str,
  setting: str,
  axes: axes_lib.Axes,
) -> None:
  """A measure against a setting of the flag files: mean over seeds with t intervals."""
  lines: dict[str, list[tuple[float, np.ndarray]]] = {}
  for study in listed:
    given = _flags(study)
    values = analysis.parse_measure(measure).of(_runs(study, ledger)).to_numpy()
    lines.setdefault(given['algorithm'].value, []).append((given[setting].value, values))
  for number, (algorithm, points) in enumerate(lines.items()):
    points.sort(key=lambda point: point[0])
    means = np.array([values.mean() for _, values in points])
    low, high = np.array([analysis.t_interval(values) for _, values in points]).T
    axes.errorbar(
      [x for x, _ in points],
      means,
      yerr=[means - low, high - means],
      label=algorithm,
      color=plots.COLORS[number],
      marker='os^DvPX*'[number],
      capsize=3,
    )
  axes.set(xscale='log', xlabel=setting, ylabel=measure)
  axes.grid(alpha=0.3)
  axes.legend(frameon=False)


def _flags(study: Study) -> flags.FlagValues:
  """The parsed flags of a study's flag file."""
  values = flags.FlagValues()
  command_line.define_settings_flags(values)
  command_line.parse(values, ['figures', f'--flagfile={study.flag_file}'])
  return values


def _measured(study: Study, ledger: Sequence[Claim]) -> bool:
  return any(claim.ours and study.name in claim.arms[0] for claim in ledger)


def _runs(study: Study, ledger: Sequence[Claim]) -> analysis.Runs:
  """The runs of a study in the cell that the first of its measured claims chose."""
  claim = next(claim for claim in ledger if claim.ours and study.name in claim.arms[0])
  runs = studies.load(study)
  axes = measurement.own_axes(study, claim)
  best = studies.best_cell(runs, axes, claim.seed_list[0], claim.select)
  chosen = studies.take(runs, [best], claim.seed_list)
  names = {name: f'{study.name}/{name}' for name in chosen.settings.index}
  return analysis.Runs(
    chosen.settings[['seed']].assign(study=study.name).rename(index=names),
    chosen.facts.assign(path=list(names.values())).rename(index=names),
    chosen.metrics.assign(run=chosen.metrics['run'].astype(str).map(names).astype('category')),
  )
