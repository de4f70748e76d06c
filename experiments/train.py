"""Trains a model by federated learning and leaves CSVs, checkpoints and the model in a folder."""

import signal
import sys

from absl import flags

from experiments import command_line
from fl_research import settings as settings_lib

INTRODUCTION = """
Trains a model by simulated federated learning. Results go to <output_dir>/<experiment_name>/:
metrics.csv (one row per round), hparams.csv, manifest.json, checkpoints/, the final model, a
picture of the learning curve. The same command again resumes an interrupted run.

  python -m experiments.train --task=digits --experiment_name=first_run
  python -m experiments.train --flagfile=experiments/demo.flags

The default of a flag stands in brackets. --flagfile=FILE reads flags from a file, one per line.
"""


class Interruption:
  """Turns the first Ctrl-C or SIGTERM into a wish to stop after the current round."""

  def __init__(self):
    self.signal_number = 0
    for number in (signal.SIGINT, signal.SIGTERM):
      signal.signal(number, self._note)

  def _note(self, number, frame):
    del frame
    if self.signal_number:
      # The second time, now: the default action of the signal.
      signal.signal(number, signal.SIG_DFL)
      signal.raise_signal(number)
    self.signal_number = number
    print('stopping after this round; once more to stop at once', file=sys.stderr)

  def reason(self) -> str:
    """Why to stop; empty when there is no reason."""
    return f'stopped by {signal.Signals(self.signal_number).name}' if self.signal_number else ''


def main() -> int:
  if any(argument in ('--help', '-h', '-help', '--helpfull') for argument in sys.argv[1:]):
    command_line.print_help(
      'python -m experiments.train', INTRODUCTION, command_line.settings_help()
    )
    return 0
  flag_values = flags.FlagValues()
  flags.DEFINE_string('flagfile', '', 'read flags from this file', flag_values=flag_values)
  command_line.define_settings_flags(flag_values)
  command_line.parse(flag_values, sys.argv)
  settings = command_line.to_settings(flag_values)
  settings_lib.validate(settings)
  return train(settings)


def train(settings: settings_lib.Settings) -> int:
  """Runs the experiment and reports; gives the exit code."""
  from fl_research.training import run_folder

  folder = run_folder.RunFolder(settings)
  folder.check()
  if folder.manifest().get('finished'):
    print(f'{folder.path}: this run is finished; nothing to do')
    return 0
  interruption = Interruption()
  from fl_research.training import experiment, report

  outcome = experiment.run(settings, interruption.reason)
  report.print_outcome(outcome)
  return 128 + interruption.signal_number if interruption.signal_number else 0


if __name__ == '__main__':
  command_line.run_main(main)
