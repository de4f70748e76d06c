"""The few lines that a person reads when a run has ended."""

from collections.abc import Mapping
from typing import Any

from fl_research.training import experiment, reevaluation, terminal

_WHOSE = {
  'personal': "the headline: each client's own model on its own test examples",
  'eval': "clients' own models on everybody's test examples, which they are not for",
  'eval_clients': 'as the headline, every client counting the same',
  'global': 'the global model on all test examples',
  'global_clients': "the global model on each client's own, every client counting the same",
}
"""What the columns of methods with personal models say, by what stands before the `/`."""


def print_reevaluation(found: reevaluation.Reevaluation) -> None:
  """Prints the figures of a model that was evaluated again, and where they are."""
  counted = next(iter(found.row))  # `round`, or of a file `num_examples`
  figures = {counted: str(found.row[counted])}
  personal = any(name.startswith('personal/') for name in found.row)
  for name, value in found.row.items():
    phase = name.partition('/')[0]
    if personal and phase in _WHOSE:
      figures.setdefault(f'{phase}/…', _WHOSE[phase])
    if name != counted and value is not None:
      figures[name] = terminal.figure(value)
  figures.update(found.answers.figures)
  for path in (*found.files, *found.answers.files):
    figures[path.name.replace('_', ' ')] = str(path)
  complaint = found.answers.complaint or worse_than_the_mean(found.row)
  terminal.print_summary(found.files[0].parent.name, figures, complaint)


def worse_than_the_mean(row: Mapping[str, Any]) -> str:
  """A line where predicted numbers are worse than always the same one; else empty.

  Args:
    row: of metrics.csv, or of a model that was evaluated again.
  """
  name = next((n for n in ('personal/r2', 'eval/r2', 'r2') if n in row), None)
  value = None if name is None else row[name]
  if value is None or value == '' or not float(value) <= 0:
    return ''
  return (
    f'{name} is {float(value):.4f}: always answering the mean would be better; try more rounds '
    '(--total_rounds) or other rates (--client_learning_rate)'
  )


def print_outcome(outcome: experiment.Outcome) -> None:
  """Prints how a run ended, its last figures, and where its files are."""
  row = outcome.last_row
  figures = {'rounds': row['round']}
  # `eval/` of clients' own models, each on everybody's examples, is not how good they are.
  personal = any(name.startswith('personal/') for name in row)
  phases = ('train/', 'personal/', 'global/') if personal else ('train/', 'eval/', 'global/')
  for name, value in row.items():
    if name.startswith(phases) and value:
      figures[name] = terminal.figure(float(value))
    if name.startswith('privacy/') and value:
      figures[name] = f'{float(value):.4g}'
  figures.update(outcome.answers.figures)
  for name in ('bytes_up', 'bytes_down'):
    if row.get(name):
      figures[f'{name} per round'] = f'{int(row[name]):,}'
  figures['seconds'] = f'{outcome.seconds:.1f}'
  path = outcome.folder.path
  figures['metrics'] = str(outcome.folder.metrics)
  figures['learning curve'] = str(path / 'learning_curve.png')
  for file in outcome.answers.files:
    figures[file.stem] = f'{figures[file.stem]}, {file}' if file.stem in figures else str(file)
  figures['model'] = f'{path / "model.npz"}, {path / "model.keras"}'
  title = path.name + (f' ({outcome.reason})' if outcome.reason else '')
  complaint = outcome.answers.complaint or worse_than_the_mean(row)
  terminal.print_summary(title, figures, complaint)
