"""The few lines that a person reads when a run has ended."""

from fl_research.training import experiment, progress


def print_outcome(outcome: experiment.Outcome) -> None:
  """Prints how a run ended, its last figures, and where its files are."""
  row = outcome.last_row
  figures = {'rounds': row['round']}
  for name, value in row.items():
    if name.startswith(('train/', 'eval/')) and value:
      figures[name] = f'{float(value):.4f}'
  for name in ('bytes_up', 'bytes_down'):
    if row.get(name):
      figures[f'{name} per round'] = f'{int(row[name]):,}'
  figures['seconds'] = f'{outcome.seconds:.1f}'
  path = outcome.folder.path
  figures['metrics'] = str(outcome.folder.metrics)
  figures['learning curve'] = str(path / 'learning_curve.png')
  figures['model'] = f'{path / "model.npz"}, {path / "model.keras"}'
  title = path.name + (f' ({outcome.reason})' if outcome.reason else '')
  progress.print_summary(title, figures)
