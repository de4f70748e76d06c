"""A picture of a confusion matrix: of each class, what its examples were taken for."""

import io
import pathlib

import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt
import pandas as pd

from fl_research.training import atomic_files

_MOST_NUMBERS = 12


def save(confusion: pd.DataFrame, picture: pathlib.Path) -> None:
  """Draws the share of each class's examples by answer, and counts above 0 where there is room.

  Args:
    confusion: number of examples by class (rows) and answer (columns).
    picture: the PNG to write.
  """
  counts = confusion.to_numpy()
  shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
  names = [_short(name) for name in confusion.index]
  side, margin = 0.35 * len(counts) + 1, 0.6 + 0.075 * max(map(len, names))
  whole = side + margin + 0.2
  figure = plt.figure(figsize=(whole, whole))
  panel = figure.add_axes((margin / whole, margin / whole, side / whole, side / whole))
  panel.imshow(shares, cmap='Blues', vmin=0, vmax=1)
  places = range(len(counts))
  panel.set_xticks(places, names, rotation=90)
  panel.set_yticks(places, names)
  panel.set_xlabel('answer')
  panel.set_ylabel('class')
  if len(counts) <= _MOST_NUMBERS:
    for row in places:
      for column in places:
        if not counts[row, column]:
          continue
        color = 'white' if shares[row, column] > 0.5 else 'black'
        text = panel.text(column, row, f'{counts[row, column]}', color=color, fontsize=7)
        text.set(ha='center', va='center')
  content = io.BytesIO()
  figure.savefig(content, dpi=120, format='png')
  plt.close(figure)
  atomic_files.write_atomically(picture, content.getvalue())


def _short(name: str) -> str:
  # A `$` would begin mathematics.
  return (name if len(name) <= 16 else f'{name[:15]}…').replace('$', r'\$')
