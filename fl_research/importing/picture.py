"""What was found in a user's files, as a picture: sizes of clients, and whose labels are what."""

from collections.abc import Sequence
import pathlib

import numpy as np

from fl_research.importing.source import Source
from fl_research.importing.tally import Tally

_MOST_CLIENTS = 40
_MOST_CLASSES = 12
_BLUE, _ORANGE, _GREY = '#0072B2', '#E69F00', (0.73, 0.73, 0.73, 1.0)
_LONGEST_NAME = 20


def draw(source: Source, tally: Tally, path: pathlib.Path) -> None:
  """Writes the picture to a file, whose suffix says its form."""
  # Only who asks for a picture waits for matplotlib.
  from matplotlib import figure as figure_lib

  sizes = source.counts.train + source.counts.test
  order = np.argsort(-sizes, kind='stable')
  shown = _evenly(order, _MOST_CLIENTS)
  has_labels = tally.counts is not None and tally.counts.sum() > 0
  height = 1.8 + 0.22 * max(len(shown), 5)
  figure = figure_lib.Figure(figsize=(11 if has_labels else 6, height), layout='constrained')
  axes = np.atleast_1d(figure.subplots(1, 1 + has_labels, sharey=True))
  _draw_sizes(axes[0], source, shown)
  if has_labels:
    _draw_shares(axes[1], source, tally, shown)
  title = f'{len(source.counts.ids)} clients' if not source.pooled else 'no clients'
  some = f' ({len(shown)} of the clients are shown)' if len(shown) < len(sizes) else ''
  figure.suptitle(f'{title}, {int(sizes.sum())} examples{some}', fontsize=11)
  figure.savefig(path, dpi=120)


def _evenly(order: np.ndarray, most: int) -> np.ndarray:
  """At most so many, from the first to the last in even steps."""
  if len(order) <= most:
    return order
  return order[np.linspace(0, len(order) - 1, most).round().astype(int)]


def _draw_sizes(axes, source: Source, shown: np.ndarray) -> None:
  train, test = source.counts.train[shown], source.counts.test[shown]
  places = np.arange(len(shown))
  axes.barh(places, train, color=_BLUE, label='training')
  axes.barh(places, test, left=train, color=_ORANGE, label='test')
  axes.set_yticks(places, [_short(source.counts.ids[k]) for k in shown], fontsize=7)
  axes.set_ylim(len(shown) - 0.4, -0.6)
  axes.set_xlabel('examples')
  axes.legend(fontsize=8, loc='lower left', bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False)
  axes.spines[['top', 'right']].set_visible(False)


def _draw_shares(axes, source: Source, tally: Tally, shown: np.ndarray) -> None:
  """Each client's training labels as a bar of shares, the rarer classes together."""
  from matplotlib import colormaps

  assert tally.counts is not None
  # The most frequent classes by name, in the order of their numbers.
  most = np.sort(np.argsort(-tally.counts.sum(axis=0), kind='stable')[:_MOST_CLASSES])
  counts = tally.counts[shown]
  totals = np.maximum(counts.sum(axis=1), 1)
  left = np.zeros(len(shown))
  colours = colormaps['tab20' if len(most) > 10 else 'tab10']
  parts = [(_name(source, k), counts[:, k], colours(i)) for i, k in enumerate(most)]
  rest = counts.sum(axis=1) - counts[:, most].sum(axis=1)
  if rest.any():
    parts.append((f'{counts.shape[1] - len(most)} others', rest, _GREY))
  for name, own, colour in parts:
    axes.barh(np.arange(len(shown)), own / totals, left=left, color=colour, label=name, height=0.9)
    left += own / totals
  axes.set_xlim(0, 1)
  axes.set_xlabel("share of the client's training labels")
  axes.tick_params(axis='y', length=0)
  axes.legend(fontsize=7, loc='center left', bbox_to_anchor=(1.0, 0.5), frameon=False)
  axes.spines[['top', 'right', 'left']].set_visible(False)


def _name(source: Source, k: int) -> str:
  classes: Sequence[str] = source.found.classes or _tokens(source)
  return _short(str(classes[k])) if k < len(classes) else f'class {k}'


def _tokens(source: Source) -> Sequence[str]:
  """What tokens are, by number; none for other data."""
  vocabulary = source.preprocessing.get('vocabulary')
  if not vocabulary:
    return ()
  signs = {' ': 'space', '\n': 'line feed'}
  return ('padding', *(signs.get(t, t) for t in vocabulary), 'unknown', 'begin', 'end')


def _short(name: str) -> str:
  # A dollar sign would begin a formula.
  cut = name if len(name) <= _LONGEST_NAME else f'{name[: _LONGEST_NAME - 1]}…'
  return cut.replace('$', r'\$')
