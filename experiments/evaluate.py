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

The default of a flag stands in brackets. --flagfile=FILE reads flags from a file, one per line.
"""
_CHANGEABLE = ('data_dir', 'runtime', 'client_parallelism', 'jit')


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {
      'Run': ['  --run: folder of the run, <output_dir>/<experiment_name>'],
      "Changes to the run's settings": command_line.changes_help(_CHANGEABLE),
    }
    command_line.print_help('python -m experiments.evaluate', INTRODUCTION, groups)
    return 0
  flag_values = flags.FlagValues()
  flags.DEFINE_string('run', '', 'folder of the run', flag_values=flag_values)
  command_line.define_changes(flag_values, _CHANGEABLE)
  command_line.parse(flag_values, argv)
  if not flag_values.run:
    raise UsageError('--run: must be given; it is a folder <output_dir>/<experiment_name>')
  folder = pathlib.Path(flag_values.run).resolve()
  # Said before TensorFlow is imported, which takes seconds.
  run_folder.read_ended(folder)
  changes = command_line.to_changes(flag_values, _CHANGEABLE)
  from fl_research.training import reevaluation, summary

  summary.print_reevaluation(reevaluation.evaluate(folder, changes))
  return 0


if __name__ == '__main__':
  command_line.run_main(main)
