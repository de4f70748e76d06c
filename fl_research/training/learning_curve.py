"""A picture of a run: loss and the task's metric against rounds."""

import io
import pathlib

import matplotlib

matplotlib.use('Agg')

from matplotlib import pyplot as plt
import pandas as pd

from fl_research.training import atomic_files

# Okabe and Ito's blue, vermilion and green, told apart by all readers, and by line style in print.
_STYLES = {
  'train': {'color': '#0072B2', 'linestyle': '--', 'label': 'training (cohort, before the step)'},
  'eval': {'color': '#D55E00', 'linestyle': '-', 'label': 'test'},
  'personal': {'color': '#D55E00', 'linestyle': '-', 'label': 'own models, own test examples'},
  'global': {'color': '#009E73', 'linestyle': '-.', 'label': 'global model, test'},
}


def save(metrics_csv: pathlib.Path, picture: pathlib.Path, score: str) -> None:
  """Draws metrics.csv of one run.

  Args:
    metrics_csv: the CSV.
    picture: the PNG to write.
    score: the metric that is drawn beside the loss.
  """
  table = pd.read_csv(metrics_csv)
  names = list(dict.fromkeys(('loss', score)))
  if 'personal/loss' in table:
    table = table.drop(columns=[f'eval/{name}' for name in names], errors='ignore')
  width = 5 * len(names)
  figure, panels = plt.subplots(1, len(names), figsize=(width, 3.6), squeeze=False)
  for panel, name in zip(panels[0], names):
    for phase, style in _STYLES.items():
      column = f'{phase}/{name}'
      if column in table:
        known = table[['round', column]].dropna()
        panel.plot(known['round'], known[column], **style)
    panel.set_xlabel('round')
    # A given number of ticks: to find how many there is room for takes half the time of all.
    panel.locator_params('x', nbins=5, integer=True)
    panel.locator_params('y', nbins=5)
    panel.set_ylabel(name)
    panel.grid(alpha=0.3)
  if panels[0][0].lines:
    panels[0][0].legend(frameon=False)
  # Fixed margins: to fit them to the text takes as long as to draw all of it.
  figure.subplots_adjust(0.75 / width, 0.14, 1 - 0.15 / width, 0.92)
  content = io.BytesIO()
  figure.savefig(content, dpi=150, format='png')
  plt.close(figure)
  atomic_files.write_atomically(picture, content.getvalue())
