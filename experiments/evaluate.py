"""Evaluates the final model of a run again, from what the run's folder holds."""

from collections.abc import Sequence
import pathlib

from absl import flags

from experiments import command_line
from fl_research.registry import UsageError
from fl_research.training import run_folder

INTRODUCTION = """
Evaluates the final model of a run again, on all its test data and client by client, with the
settings that the run's manifest holds. Prints the figures and writes them to evaluation.csv and
evaluation_clients.csv in the run's folder.

  python -m experiments.evaluate --run=results/first_run

With --data_file it is evaluated on a file of your own instead, with labels: a table like those that
the run was trained on, pictures in folders named like their classes where these were pictures, or a
.npz file with x and y where these were arrays.

  python -m experiments.evaluate --run=results/hospitals --data_file=other_hospital.csv

The default of a flag stands in brackets. --flagfile=FILE reads flags from a file, one per line.
"""
_CHANGEABLE = ('data_dir', 'runtime', 'client_parallelism', 'jit')
_RUN = {'run': 'folder of the run, <output_dir>/<experiment_name>'}
_OF_A_FILE = {
  'data_file': 'a file of your own to evaluate on',
  'client': 'whose own model is evaluated on it, of methods that give clients one',
}
_DIALECT = ('separator', 'decimal', 'encoding', 'header', 'missing')


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {
      'Run': [f'  --{name}: {text}' for name, text in _RUN.items()],
      'A file of your own': [
        *(f'  --{name}: {text}' for name, text in _OF_A_FILE.items()),
        *command_line.changes_help(_DIALECT),
      ],
      "Changes to the run's settings": command_line.changes_help(_CHANGEABLE),
    }
    command_line.print_help('python -m experiments.evaluate', INTRODUCTION, groups)
    return 0
  flag_values = flags.FlagValues()
  own = {**_RUN, **_OF_A_FILE}
  command_line.parse_own(flag_values, argv, own, list(_RUN), (*_CHANGEABLE, *_DIALECT))
  folder = pathlib.Path(flag_values.run).resolve()
  # Said before TensorFlow is imported, which takes seconds.
  run_folder.read_ended(folder)
  changes = command_line.to_changes(flag_values, _CHANGEABLE)
  dialect = command_line.to_changes(flag_values, _DIALECT)
  if not flag_values.data_file and (dialect or flag_values.client):
    raise UsageError(f'--{next(iter(dialect), "client")}: only read with --data_file')
  found = _evaluate(folder, changes, flag_values.data_file, dialect, flag_values.client)
  from fl_research.training import summary

  summary.print_reevaluation(found)
  return 0


def _evaluate(folder, changes, data_file, dialect, client):
  """The evaluation on the run's own test data, or on a file."""
  if not data_file:
    from fl_research.training import reevaluation

    return reevaluation.evaluate(folder, changes)
  from fl_research.datasets.federated_data import DatasetOptions
  from fl_research.importing import dialect as dialects
  from fl_research.training import file_evaluation

  given = dialects.given(DatasetOptions('', **dialect))
  return file_evaluation.evaluate(folder, data_file, given, client, changes)


if __name__ == '__main__':
  command_line.run_main(main)
