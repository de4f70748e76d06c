"""One page about many runs, which needs nothing but itself: no network, no other file.

Figures are inline SVG whose lines take the colour of the page's text, so that they follow light,
dark and print.
"""

from collections.abc import Callable, Iterable, Sequence
import datetime
import functools
import html
import io
import re
from typing import Any, Optional

import matplotlib
from matplotlib import axes as axes_lib
import numpy as np
import pandas as pd

from fl_research.analysis import page_style, plots
from fl_research.analysis.inequality import fairness
from fl_research.analysis.measures import LAST, Measure, rounds_to_target
from fl_research.analysis.run_files import CLIENTS
from fl_research.analysis.runs import Runs, SEED
from fl_research.analysis.summaries import summarise
from fl_research.registry import UsageError

_INK = '#010203'
"""Stands for the text's colour in a figure, and is replaced by it."""


def render(
  runs: Runs,
  measure: Measure,
  target: Optional[float] = None,
  by: Optional[Sequence[str]] = None,
  title: str = 'Runs',
) -> str:
  """The page.

  Args:
    runs: the runs, of one task.
    measure: the result that tables and the trade-off show.
    target: of `measure.column`; adds what it took to reach it.
    by: settings that make a cell; those that differ when None.
    title: of the page.

  Returns:
    HTML.

  Raises:
    UsageError: the runs are of several tasks, or lack the measure's column.
  """
  task = runs.task
  results = measure.of(runs)
  summary = summarise(runs, results, by)
  by = runs.varying() if by is None else list(by)
  shown, left_out = _shown(runs, summary, by, measure)
  sections = [
    f'<header><h1>{_text(title)}</h1><p class="soft">Task {_text(task) or "unknown"}, '
    f'{_today()}</p></header>',
    _tiles(runs, summary),
    *(f'<p class="note">{_text(note)}</p>' for note in _notes(runs, summary, measure, left_out)),
    _section('Results', _results(summary, by, measure)),
    _section('Curves', _curves(shown, by, measure.column)),
  ]
  if target is not None:
    sections.append(_section('Rounds to target', _target(runs, shown, by, measure.column, target)))
  sections += [
    _section('Clients', _clients(runs, shown, by, measure.column)),
    _section('Costs', _costs(runs, shown, by, measure)),
    _section('Settings', _settings(runs)),
    _section('All runs', _all_runs(runs, results, measure)),
  ]
  body = '\n'.join(sections)
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{_text(title)}</title><style>{page_style.STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'
  )


def _today() -> str:
  return datetime.datetime.now().strftime('%Y-%m-%d %H:%M')


def _text(value: Any) -> str:
  return html.escape(str(value))


def _section(title: str, content: str) -> str:
  return f'<section><h2>{title}</h2>\n{content}</section>'


def _shown(
  runs: Runs, summary: pd.DataFrame, by: Sequence[str], measure: Measure
) -> tuple[Runs, int]:
  """The runs that figures show, of the best cells where there are too many, and how many not."""
  if len(summary) <= plots.MOST_CELLS:
    return runs, 0
  ranked = summary['mean'].sort_values(ascending=measure.falls)
  best = set(ranked.index[: plots.MOST_CELLS])
  cells = runs.label(by)
  return runs.take(cells.index[cells.isin(best)]), len(summary) - len(best)


def _tiles(runs: Runs, summary: pd.DataFrame) -> str:
  totals = runs.metrics.reindex(columns=['bytes_up', 'bytes_down']).sum()
  seeds = runs.settings[SEED].nunique() if SEED in runs.settings else 1
  tiles = {
    'runs': f'{len(runs):,}',
    'cells': f'{len(summary):,}',
    'seeds': f'{seeds:,}',
    'rounds': f'{int(runs.facts["last_round"].sum()):,}',
    'computing': duration(runs.facts['seconds'].sum()),
    'sent to clients': byte_count(totals['bytes_down']),
    'sent by clients': byte_count(totals['bytes_up']),
  }
  inner = ''.join(
    f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in tiles.items()
  )
  return f'<div class="tiles">{inner}</div>'


def _notes(runs: Runs, summary: pd.DataFrame, measure: Measure, left_out: int) -> Iterable[str]:
  """What readers should know before they believe a number."""
  yield from runs.notes
  unfinished = [run for run, finished in runs.facts['finished'].items() if finished is False]
  if unfinished:
    yield f'Unfinished: {_some(unfinished, "run")}.'
  diverged = list(runs.diverged.index[runs.diverged])
  if diverged:
    yield f'Diverged, and so without a result: {_some(diverged, "run")}.'
  short = [run for run, last in runs.facts['last_round'].items() if last < measure.number]
  if measure.kind == LAST and short:
    count = f'{measure.number:g} rounds, so that all their rounds are averaged'
    yield f'Ended before {count}: {_some(short, "run")}.'
  lacking = summary.index[summary['missing'] > 0]
  if len(lacking):
    yield f'A run without a result, and so no mean: {_some(lacking, "cell")}.'
  if (summary['runs'] == 1).any():
    yield 'Cells with one run have no interval: nothing is known of the spread over seeds.'
  if left_out:
    yield f'Figures show the {plots.MOST_CELLS} best cells; {left_out} others are in tables only.'
  if runs.facts['data'].nunique() > 1:
    yield 'The runs did not all read the same data files.'


def _some(names: Sequence[Any], what: str) -> str:
  """How many, and one of them by name: `1 run (a)`, `3 runs (a, …)`."""
  return f'1 {what} ({names[0]})' if len(names) == 1 else f'{len(names)} {what}s ({names[0]}, …)'


def _results(summary: pd.DataFrame, by: Sequence[str], measure: Measure) -> str:
  table = summary[[*by, 'runs', 'mean', 'sd', 'low', 'high']].copy()
  table['95 % interval'] = [_interval(low, high) for low, high in zip(table['low'], table['high'])]
  means = table['mean']
  best = (means.idxmin() if measure.falls else means.idxmax()) if means.notna().any() else None
  direction = 'lower' if measure.falls else 'higher'
  looked = measure.column.startswith('eval') and best is not None
  caution = (
    ' The row set off is best on the test set; settings chosen by it would make it too good.'
    if looked and len(table) > 1
    else ''
  )
  table = table.sort_values('mean', ascending=measure.falls).drop(columns=['low', 'high'])
  introduction = f'{_text(measure)}: mean over seeds, {direction} is better.{caution}'
  return f'<p>{introduction}</p>{_table(table, by, best)}'


def _interval(low: float, high: float) -> str:
  return f'{low:.4g} – {high:.4g}' if np.isfinite(low) else '–'


def _curves(runs: Runs, by: Sequence[str], column: str) -> str:
  phase, _, metric = column.partition('/')
  wanted = dict.fromkeys((column, f'{phase}/loss', f'train/{metric}', 'train/loss'))
  figures = [
    _figure(
      functools.partial(plots.plot_curves, runs, name, by),
      f'{name} against rounds: mean over seeds with 95 % t interval',
    )
    for name in wanted
    if name in runs.metrics and runs.metrics[name].notna().any()
  ]
  return f'<div class="figures">{"".join(figures)}</div>'


def _target(runs: Runs, shown: Runs, by: Sequence[str], column: str, target: float) -> str:
  reached = rounds_to_target(runs, column, target)
  cells = runs.label(by)
  rows = []
  for _, members in cells.groupby(cells, sort=False):
    found = reached.loc[members.index]
    row: dict[str, Any] = {name: runs.settings.loc[members.index[0], name] for name in by}
    row['reached'] = f'{int(found["reached"].sum())} of {len(found)}'
    median = found['rounds'].fillna(np.inf).median()
    row['median rounds'] = f'{median:.1f}' if np.isfinite(median) else _beyond(found)
    for name in ('bytes_up', 'bytes_down'):
      if name in found:
        row[f'median {name}'] = byte_count(found[name].fillna(np.inf).median())
    rows.append(row)
  figure = _figure(
    lambda axes: plots.plot_rounds_to_target(shown, column, target, by, axes),
    'A dot per seed, a bar at the median; hollow triangles never reached it.',
  )
  return (
    f'<p>{_text(column)} {target:g}: best value so far, straight lines between evaluations.</p>'
    f'{_table(pd.DataFrame(rows), by)}<div class="figures">{figure}</div>'
  )


def _beyond(found: pd.DataFrame) -> str:
  return f'> {found["last_evaluated"].max():.0f}'


def _clients(runs: Runs, shown: Runs, by: Sequence[str], column: str) -> str:
  phase, _, metric = column.partition('/')
  if phase.endswith('_clients'):
    metric = metric.rpartition('_')[0]
  try:
    table = fairness(runs, metric)
    figure = _figure(
      lambda axes: plots.plot_clients(shown, metric, by=by, axes=axes),
      'Share of clients with at most a value, at the last evaluation, seeds pooled.',
    )
  except UsageError as error:
    return f'<p class="soft">{_text(error)} ({CLIENTS}).</p>'
  means = table.join(runs.label(by)).groupby('cell', sort=False).mean()
  first = runs.settings.assign(cell=runs.label(by)).drop_duplicates('cell').set_index('cell')
  joined = first[list(by)].join(means, how='inner').drop(columns='sd')
  return (
    f'<p>eval/{_text(metric)} over clients, every client counting the same; mean over seeds.</p>'
    f'{_table(joined, by)}<div class="figures">{figure}</div>'
  )


def _costs(runs: Runs, shown: Runs, by: Sequence[str], measure: Measure) -> str:
  grouped = runs.metrics.groupby('run', observed=True)
  costs = pd.DataFrame({'rounds': runs.facts['last_round'], 'seconds': runs.facts['seconds']})
  for name in ('bytes_up', 'bytes_down'):
    if name in runs.metrics:
      costs[name] = grouped[name].sum()
  if 'simulated_hours' in runs.metrics:
    costs['simulated_hours'] = grouped['simulated_hours'].last()
  cells = runs.label(by)
  means = costs.groupby(cells, sort=False).mean()
  first = runs.settings.assign(cell=cells).drop_duplicates('cell').set_index('cell')[list(by)]
  table = first.join(means)
  for name in ('bytes_up', 'bytes_down'):
    if name in table:
      table[name] = [byte_count(value) for value in table[name]]
  table['seconds'] = [duration(value) for value in table['seconds']]
  figure = ''
  if 'bytes_up' in runs.metrics and (grouped['bytes_up'].sum() > 0).all():
    figure = _figure(
      lambda axes: plots.plot_tradeoff(shown, measure, 'bytes_up', by, axes),
      'Result against bytes that clients sent; the grey line joins cells that none beats in both.',
    )
  return f'<p>Mean per run.</p>{_table(table, by)}<div class="figures">{figure}</div>'


def _settings(runs: Runs) -> str:
  varying = runs.varying()
  differing = pd.DataFrame(
    {
      'setting': varying,
      'values': [', '.join(_values(runs.settings[name])) for name in varying],
    }
  )
  same = [name for name in runs.settings if runs.settings[name].map(str).nunique() == 1]
  common = pd.DataFrame({'setting': same, 'value': [runs.settings[n].iloc[0] for n in same]})
  return (
    (_table(differing, ('setting', 'values')) if varying else '<p>None differs.</p>')
    + f'<details><summary>{len(same)} settings that all runs share</summary>'
    + f'{_table(common, ("setting", "value"))}</details>'
  )


def _values(column: pd.Series, most: int = 12) -> list[str]:
  values = ['(default)' if v is None or v != v else str(v) for v in dict.fromkeys(column)]
  return values if len(values) <= most else [*values[:most], f'and {len(values) - most} more']


def _all_runs(runs: Runs, results: pd.Series, measure: Measure) -> str:
  chosen = [name for name in (*runs.varying(), SEED) if name in runs.settings]
  table = runs.settings[chosen].copy()
  table.insert(0, 'run', table.index)
  table[str(measure)] = results
  table['rounds'] = runs.facts['last_round']
  table['finished'] = runs.facts['finished'].map({True: 'yes', False: 'no'}).fillna('')
  table.loc[runs.diverged, 'finished'] = 'diverged'
  table['time'] = [duration(seconds) for seconds in runs.facts['seconds']]
  table['commit'] = [str(commit or '')[:10] for commit in runs.facts['commit']]
  table['data'] = [str(data or '')[:8] for data in runs.facts['data']]
  shown = _table(table, ('run', *runs.varying(), 'finished', 'commit', 'data'))
  return f'<details><summary>{len(runs)} runs</summary>{shown}</details>'


def _table(table: pd.DataFrame, texts: Iterable[str] = (), best: Any = None) -> str:
  """A table; columns of `texts` are flushed left, the row `best` is set off."""
  texts = set(texts)
  kind = lambda name: ' class="text"' if name in texts else ''
  head = ''.join(f'<th{kind(name)}>{_text(name)}</th>' for name in table)
  rows = []
  for index, values in zip(table.index, table.itertuples(index=False, name=None)):
    mark = ' class="best"' if best is not None and index == best else ''
    cells = ''.join(f'<td{kind(n)}>{_cell(v)}</td>' for n, v in zip(table, values))
    rows.append(f'<tr{mark}>{cells}</tr>')
  return (
    f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
    f'<tbody>{"".join(rows)}</tbody></table></div>'
  )


def _cell(value: Any) -> str:
  if value is None or value != value:
    return '–'
  if isinstance(value, (float, np.floating)):
    return f'{value:.5g}'
  return _text(value)


def _figure(draw: Callable[[axes_lib.Axes], Any], caption: str) -> str:
  """What a function draws, as inline SVG in the colours of the page."""
  inks = dict.fromkeys(
    ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color', 'grid.color'),
    _INK,
  )
  options: Any = {**inks, 'svg.fonttype': 'none', 'svg.hashsalt': caption, 'font.size': 10}
  with matplotlib.rc_context(options):
    figure, axes = plots.new_figure(height=4.2)
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    draw(axes)
    content = io.StringIO()
    figure.savefig(content, format='svg', metadata={'Date': None, 'Creator': None})
  svg = content.getvalue()
  svg = svg[svg.index('<svg') :].replace(_INK, 'currentColor')
  svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
  svg = re.sub(r'font: ([\d.]+)px [^;"]*', r'font: \1px system-ui, sans-serif', svg)
  return f'<figure>{svg}<figcaption>{_text(caption)}</figcaption></figure>'


def byte_count(count: float) -> str:
  """A number of bytes for readers: 26 kB, 1.2 GB."""
  if not np.isfinite(count):
    return '–'
  units = ['B', 'kB', 'MB', 'GB', 'TB']
  while abs(count) >= 999.5 and len(units) > 1:
    count /= 1000
    units.pop(0)
  return f'{count:.3g} {units[0]}'


def duration(seconds: float) -> str:
  """A time for readers: 12 s, 3.5 min, 2.1 h."""
  if not np.isfinite(seconds):
    return '–'
  if seconds < 100:
    return f'{seconds:.3g} s'
  return f'{seconds / 60:.3g} min' if seconds < 6000 else f'{seconds / 3600:.3g} h'
