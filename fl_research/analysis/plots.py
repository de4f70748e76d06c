"""Figures of runs: legible in print, without colour, and to colour-blind readers.

Every function draws on the axes it is given, or on new ones, and returns them. Cells (runs that
differ in their seed only) are told apart by colour (Okabe and Ito's palette), line style and marker
at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Optional, TYPE_CHECKING

import numpy as np

from fl_research import metrics
from fl_research.analysis import intervals
from fl_research.analysis.measures import Measure, rounds_to_target
from fl_research.analysis.runs import Runs
from fl_research.registry import UsageError

if TYPE_CHECKING:
  # Drawing is imported by those who draw: sweeps and comparisons do not.
  from matplotlib import axes as axes_lib
  from matplotlib import figure as figure_lib

COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#8C6D1F', '#6F6F6F')
_LINES = ('-', '--', '-.', ':', (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 2, 2)))
_MARKERS = ('o', 's', '^', 'D', 'v', 'P', 'X', '*')
MOST_CELLS = len(COLORS)
"""More than so many in one figure cannot be told apart."""

FAR_ABOVE = 100
"""A run whose peak is so many times the lowest peak would flatten all others in a figure."""


def plot_curves(
  runs: Runs,
  column: str,
  by: Optional[Sequence[str]] = None,
  axes: Optional[axes_lib.Axes] = None,
  confidence: float = 0.95,
) -> axes_lib.Axes:
  """A metric against rounds: mean over seeds, with the band of its t interval.

  Bands of what lies between 0 and 1 stay there. The axis ends above the runs that did not diverge.

  Args:
    runs: the runs.
    column: column of metrics.csv.
    by: settings that make a cell; those that differ when None.
    axes: where to draw; a new figure when None.
    confidence: of the bands. A cell with one run has none.

  Raises:
    UsageError: there is no such column or setting, no run has a value of it, or there are more than
      `MOST_CELLS` cells.
  """
  runs.check_column(column)
  axes = _axes(axes)
  peaks: list[float] = []
  for style, cell, members in _cells(runs, by):
    table = runs.metrics.loc[runs.metrics['run'].isin(members), ['run', 'round', column]]
    table = table.astype({column: np.float64})
    values = table.pivot(index='round', columns='run', values=column).dropna(how='all')
    if not len(values):
      continue
    # Only where every seed still runs: else the mean would jump when one ends early.
    values = values[members].dropna() if len(values.dropna()) else values[members]
    every = max(1, len(values) // 8)
    axes.plot(values.index, values.mean(axis=1), label=cell, markevery=every, **style)
    low, high = _bounds(values.to_numpy(), confidence)
    if metrics.is_share(column):
      low, high = low.clip(0, 1), high.clip(0, 1)
    axes.fill_between(values.index, low, high, color=style['color'], alpha=0.18, linewidth=0)
    peaks.extend(values.max())
  if not axes.has_data():
    raise UsageError(f'{column}: has no values in any of the runs')
  _finish(axes, 'round', column, _heading(runs, by))
  _cut(axes, np.array(peaks))
  return axes


def _cut(axes: axes_lib.Axes, peaks: np.ndarray) -> None:
  """Ends the axis above the runs that did not diverge, and says how many leave it.

  Args:
    axes: the axes.
    peaks: the largest value of every run; those far above the lowest of them count as diverged.
  """
  peaks = peaks[~np.isnan(peaks)]
  lowest = peaks.min(initial=np.inf)
  beyond = peaks > FAR_ABOVE * lowest
  if not 0 < lowest < np.inf or not beyond.any():
    return
  axes.set_ylim(max(axes.get_ylim()[0], 0), 1.1 * peaks[~beyond].max())
  axes.annotate(
    f'{beyond.sum()} of {len(peaks)} runs above the axis',
    (0.99, 0.99),
    xycoords='axes fraction',
    ha='right',
    va='top',
    fontsize='small',
  )


def plot_rounds_to_target(
  runs: Runs,
  column: str,
  target: float,
  by: Optional[Sequence[str]] = None,
  axes: Optional[axes_lib.Axes] = None,
) -> axes_lib.Axes:
  """Rounds until a metric reached a target: a dot per seed and a bar at the median of each cell.

  Runs that never reached it are hollow triangles at their last evaluation, pointing onwards; a cell
  has a median only where more than half of its runs reached the target.

  Raises:
    UsageError: as `plot_curves`.
  """
  reached = rounds_to_target(runs, column, target)
  axes = _axes(axes)
  names = []
  for row, (style, cell, members) in enumerate(_cells(runs, by)):
    names.append(cell)
    found = reached.loc[members]
    done, others = found['rounds'].dropna(), found.loc[found['rounds'].isna(), 'last_evaluated']
    dots: dict[str, Any] = {'color': style['color'], 'linestyle': '', 'markersize': 6}
    axes.plot(done, np.full(len(done), row), marker=style['marker'], **dots)
    axes.plot(
      others, np.full(len(others), row), marker='>', markerfacecolor='none', clip_on=False, **dots
    )
    if 2 * len(done) > len(found):
      median = np.median(found['rounds'].fillna(np.inf))
      axes.plot([median, median], [row - 0.3, row + 0.3], color=style['color'], linewidth=2.5)
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.5, -0.5)
  axes.set_xlim(left=0)
  axes.set_title(_heading(runs, by), loc='left', fontsize='small')
  _finish(axes, f'rounds to {column} {_sign(column)} {target:g}', '', legend=None)
  return axes


def plot_clients(
  runs: Runs,
  metric: str,
  phase: str = 'eval',
  by: Optional[Sequence[str]] = None,
  axes: Optional[axes_lib.Axes] = None,
) -> axes_lib.Axes:
  """Which share of the clients has at most which value, at the last evaluation, seeds pooled.

  Args:
    runs: runs with clients.csv.
    metric: e.g. `accuracy`.
    phase: `eval`, `train` or `held_out`.
    by: settings that make a cell; those that differ when None.
    axes: where to draw; a new figure when None.

  Raises:
    UsageError: as `plot_curves`, or no run has clients.csv with such values.
  """
  table = runs.clients
  table = table[(table['metric'] == metric) & (table['phase'] == phase)].dropna(subset='value')
  if not len(table):
    raise UsageError(f'{phase}/{metric}: not in clients.csv')
  axes = _axes(axes)
  for style, cell, members in _cells(runs, by):
    values = np.sort(table.loc[table['run'].isin(members), 'value'].to_numpy())
    if not len(values):
      continue
    shares = np.arange(1, len(values) + 1) / len(values)
    every = max(1, len(values) // 6)
    axes.step(values, shares, where='post', label=cell, markevery=every, **style)
  axes.set_ylim(0, 1.02)
  _finish(
    axes, f'{phase}/{metric} of a client', 'share of clients with at most this', _heading(runs, by)
  )
  return axes


def plot_tradeoff(
  runs: Runs,
  measure: Measure,
  cost: str = 'bytes_up',
  by: Optional[Sequence[str]] = None,
  axes: Optional[axes_lib.Axes] = None,
  confidence: float = 0.95,
) -> axes_lib.Axes:
  """A result against what it cost: mean over seeds with t intervals both ways.

  A grey staircase joins the cells that no other beats in both.

  Args:
    runs: the runs.
    measure: the result.
    cost: column of metrics.csv that is summed over the rounds.
    by: settings that make a cell; those that differ when None.
    axes: where to draw; a new figure when None.
    confidence: of the intervals.

  Raises:
    UsageError: as `plot_curves`.
  """
  runs.check_column(cost)
  results = measure.of(runs)
  costs = runs.metrics.groupby('run', observed=True)[cost].sum().reindex(results.index)
  axes = _axes(axes)
  points, peaks = [], []
  for style, cell, members in _cells(runs, by):
    x, y = costs[members].to_numpy(np.float64), results[members].to_numpy(np.float64)
    points.append((x.mean(), y.mean()))
    peaks.append(y.max())
    bars = [_half_widths(values, confidence) for values in (x, y)]
    axes.errorbar(
      x.mean(),
      y.mean(),
      xerr=bars[0],
      yerr=bars[1],
      label=cell,
      **{**style, 'markersize': 8, 'linestyle': ''},
      capsize=3,
    )
  axes.set_xscale('log')
  front = _front(points, measure.falls)
  if len(front) > 1:
    x_front, y_front = zip(*front)
    axes.step(x_front, y_front, where='post', color='#888888', linewidth=1, zorder=0)
  _finish(axes, f'{cost}, all rounds', str(measure), _heading(runs, by))
  _cut(axes, np.array(peaks))
  return axes


def _axes(axes: Optional[axes_lib.Axes]) -> axes_lib.Axes:
  """The axes, or new ones that a notebook shows."""
  if axes is not None:
    return axes
  from matplotlib import pyplot as plt

  return plt.subplots(figsize=(6, 3.8), layout='constrained')[1]


def new_figure(width: float = 6.0, height: float = 3.8) -> tuple[figure_lib.Figure, axes_lib.Axes]:
  """A figure that no notebook shows and nobody has to close; sizes in inches."""
  from matplotlib import figure as figure_lib

  figure = figure_lib.Figure(figsize=(width, height), layout='constrained')
  return figure, figure.add_subplot()


def _cells(
  runs: Runs, by: Optional[Sequence[str]]
) -> Iterator[tuple[dict[str, Any], str, list[str]]]:
  """Each cell's style, its name, and the names of its runs."""
  labels = runs.label(by)
  if labels.nunique() > MOST_CELLS:
    raise UsageError(
      f'{labels.nunique()} cells are too many for one figure, which can show {MOST_CELLS}; choose '
      'some of the runs, or fewer settings to tell them apart by'
    )
  for position, (cell, members) in enumerate(labels.groupby(labels, sort=False)):
    style = {
      'color': COLORS[position],
      'linestyle': _LINES[position],
      'marker': _MARKERS[position],
      'markersize': 4.5,
      'linewidth': 1.6,
    }
    yield style, _short(str(cell)), list(members.index)


def _short(cell: str) -> str:
  """A cell without the settings' names, where it has several: the heading has them once."""
  parts = cell.split(', ')
  return cell if len(parts) == 1 else ', '.join(part.partition('=')[2] for part in parts)


def _heading(runs: Runs, by: Optional[Sequence[str]]) -> str:
  """The settings that short names of cells are values of; empty where these are not short."""
  names = runs.varying() if by is None else by
  return ', '.join(names) if len(names) > 1 else ''


def _bounds(values: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
  """The t interval of every row's mean; NaN where a row has fewer than two numbers."""
  found = [intervals.t_interval(row[~np.isnan(row)], confidence) for row in values]
  low, high = np.array(found).T
  return low, high


def _half_widths(values: np.ndarray, confidence: float) -> Optional[float]:
  low, high = intervals.t_interval(values, confidence)
  return (high - low) / 2 if np.isfinite(high) else None


def _front(points: Sequence[tuple[float, float]], falls: bool) -> list[tuple[float, float]]:
  """The points that no other beats in both, by rising cost."""
  front: list[tuple[float, float]] = []
  for x, y in sorted(points, key=lambda point: (point[0], point[1] if falls else -point[1])):
    if np.isfinite(y) and (not front or (y < front[-1][1] if falls else y > front[-1][1])):
      front.append((x, y))
  return front


def _sign(column: str) -> str:
  return '≤' if Measure(column, 'final').falls else '≥'


def _finish(axes: axes_lib.Axes, x: str, y: str, legend: Optional[str]) -> None:
  axes.set_xlabel(x)
  axes.set_ylabel(y)
  axes.grid(alpha=0.25, linewidth=0.6)
  axes.spines[['top', 'right']].set_visible(False)
  if legend is not None:
    # Above the axes, where it hides nothing.
    place: dict[str, Any] = {'loc': 'lower left', 'bbox_to_anchor': (0.0, 1.0)}
    look: dict[str, Any] = {
      'frameon': False,
      'fontsize': 'small',
      'title_fontsize': 'small',
      'handlelength': 3.5,
    }
    columns = 2 if len(axes.get_legend_handles_labels()[1]) > 4 else 1
    axes.legend(title=legend, alignment='left', ncols=columns, **look, **place)
