"""The experimenter's page: which sites are there, how far a run is, what was refused."""

from collections.abc import Callable, Iterator, Sequence
import csv
import dataclasses
import math
import pathlib
from typing import Optional

from fl_research.federation.loopback_page import LoopbackPage, text

REFRESH_SECONDS = 5
"""How often browsers load the page again."""

_WIDTH, _HEIGHT, _MARGIN = 640, 220, 46
_MOST_REFUSALS = 20
_FIRST_CHOICES = ('eval/accuracy', 'eval/loss', 'train/accuracy', 'train/loss')


@dataclasses.dataclass(frozen=True)
class SiteState:
  """What the engine knows of a site.

  Attributes:
    name: of the site.
    there: whether it answers.
    last_heard: seconds since it was last heard of; None when it never was.
    status: what became of the request there: 'approved', 'waiting', …
    clients, rows: as far as the site says; None when it does not.
  """

  name: str
  there: bool
  last_heard: Optional[float]
  status: str = ''
  clients: Optional[int] = None
  rows: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class RunState:
  """What the engine knows of a run.

  Attributes:
    name: of the experiment.
    total_rounds: planned.
    sites: all that take part.
    refusals: what sites refused, `(site, reason)`, the newest last.
  """

  name: str
  total_rounds: int
  sites: Sequence[SiteState] = ()
  refusals: Sequence[tuple[str, str]] = ()


def serve(state: Callable[[], RunState], metrics: pathlib.Path, port: int = 0) -> LoopbackPage:
  """Serves the page until it is closed.

  Args:
    state: gives what is known now; called from another thread.
    metrics: the run's metrics.csv, which need not be there yet.
    port: where; any free one when 0.

  Raises:
    UsageError: the port is taken.
  """
  return LoopbackPage(
    lambda token: render(state(), metrics), port=port, refresh_seconds=REFRESH_SECONDS
  )


def render(state: RunState, metrics: pathlib.Path) -> tuple[str, str]:
  """The page's title and body."""
  rows = read_metrics(metrics)
  done = int(rows[-1].get('round') or 0) if rows else 0
  there = sum(site.there for site in state.sites)
  tiles = {
    'rounds': f'{done:,} of {state.total_rounds:,}',
    'sites there': f'{there} of {len(state.sites)}',
    'refusals': f'{len(state.refusals):,}',
  }
  inner = ''.join(
    f'<div class="tile"><b>{value}</b><span>{name}</span></div>' for name, value in tiles.items()
  )
  sections = (
    f'<header><h1>{text(state.name)}</h1><p class="soft">A federation at work</p></header>',
    f'<div class="tiles">{inner}</div>',
    f'<section><h2>Sites</h2>{_sites(state.sites)}</section>',
    f'<section><h2>Learning curves</h2>{"".join(_figures(rows))}</section>',
    f'<section><h2>Refused</h2>{"".join(_refusals(state.refusals))}</section>',
  )
  return f'{done}/{state.total_rounds} {state.name}', '\n'.join(sections)


def read_metrics(path: pathlib.Path) -> list[dict[str, str]]:
  """The rows of a metrics.csv but for one that is not whole yet; none when there is no file."""
  try:
    with open(path, newline='', encoding='utf-8') as file:
      content = file.read()
  except FileNotFoundError:
    return []
  whole = content[: content.rfind('\n') + 1]
  rows = list(csv.DictReader(whole.splitlines()))
  return [row for row in rows if (row.get('round') or '').isdecimal()]


def points(rows: Sequence[dict[str, str]], column: str) -> list[tuple[float, float]]:
  """`(round, value)` of a column where it has finite numbers."""
  found = []
  for row in rows:
    try:
      value = float(row.get(column) or 'nan')
    except ValueError:
      continue
    if math.isfinite(value):
      found.append((float(row['round']), value))
  return found


def curve(title: str, values: Sequence[tuple[float, float]]) -> str:
  """A line of values by round, as SVG that takes the page's colours."""
  xs, ys = zip(*values)
  low, high = min(ys), max(ys)
  spread = (high - low) or abs(high) or 1.0
  last = max(xs[-1], 1.0)
  x = lambda value: _MARGIN + value / last * (_WIDTH - 1.5 * _MARGIN)
  y = lambda value: _HEIGHT - _MARGIN - (value - low) / spread * (_HEIGHT - 1.6 * _MARGIN)
  line = ' '.join(f'{x(a):.1f},{y(b):.1f}' for a, b in values)
  base, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN / 2
  label = 'fill="var(--soft)" font-size="12" font-family="inherit"'
  return (
    f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{text(title)}">'
    f'<path d="M{_MARGIN} 16V{base}H{right}" fill="none" stroke="var(--line)"/>'
    f'<polyline points="{line}" fill="none" stroke="var(--accent)" stroke-width="2" '
    'stroke-linejoin="round"/>'
    f'<circle cx="{x(xs[-1]):.1f}" cy="{y(ys[-1]):.1f}" r="3.5" fill="var(--accent)"/>'
    f'<text x="{_MARGIN - 6}" y="{y(high) + 4:.1f}" text-anchor="end" {label}>{high:.3g}</text>'
    f'<text x="{_MARGIN - 6}" y="{y(low) + 4:.1f}" text-anchor="end" {label}>{low:.3g}</text>'
    f'<text x="{_MARGIN}" y="{base + 18}" {label}>0</text>'
    f'<text x="{right}" y="{base + 18}" text-anchor="end" {label}>round {last:g}</text>'
    f'</svg><figcaption>{text(title)}: {ys[-1]:.4g}</figcaption></figure>'
  )


def _figures(rows: Sequence[dict[str, str]]) -> Iterator[str]:
  columns = list(rows[0]) if rows else []
  others = [name for name in columns if name.startswith(('eval/', 'train/'))]
  wanted = [name for name in _FIRST_CHOICES if name in columns] or others[:4]
  drawn = [curve(name, found) for name in wanted if (found := points(rows, name))]
  if drawn:
    yield f'<div class="figures">{"".join(drawn)}</div>'
  else:
    yield '<p class="soft">No round has ended yet.</p>'


def _sites(sites: Sequence[SiteState]) -> str:
  if not sites:
    return '<p class="soft">None has been heard of.</p>'
  heads = ''.join(f'<th class="text">{name}</th>' for name in ('site', 'there', 'request'))
  heads += ''.join(f'<th>{name}</th>' for name in ('last heard', 'clients', 'rows'))
  lines = ''.join(
    f'<tr><td class="text">{text(site.name)}</td>'
    f'<td class="text">{"yes" if site.there else "no"}</td>'
    f'<td class="text">{text(site.status)}</td><td>{_ago(site.last_heard)}</td>'
    f'<td>{_count(site.clients)}</td><td>{_count(site.rows)}</td></tr>'
    for site in sites
  )
  return f'<div class="wide"><table><tr>{heads}</tr>{lines}</table></div>'


def _ago(seconds: Optional[float]) -> str:
  if seconds is None:
    return 'never'
  return f'{seconds:.0f} s ago' if seconds < 120 else f'{seconds / 60:.0f} min ago'


def _count(number: Optional[int]) -> str:
  return '–' if number is None else f'{number:,}'


def _refusals(refusals: Sequence[tuple[str, str]]) -> Iterator[str]:
  if not refusals:
    yield '<p class="soft">Nothing.</p>'
  for site, reason in list(refusals)[: -_MOST_REFUSALS - 1 : -1]:
    yield f'<p class="note"><b>{text(site)}</b>: {text(reason)}</p>'
