"""Trains a model by federated learning and leaves CSVs, checkpoints and the model in a folder."""

from collections.abc import Sequence
import os
import signal
import threading
from typing import Any

from absl import flags

from experiments import command_line, help_pages
from fl_research import settings as settings_lib
from fl_research.soundness import validation

INTRODUCTION = """
Trains a model by simulated federated learning. Results go to <output_dir>/<experiment_name>/:
metrics.csv (one row per round), hparams.csv, manifest.json, checkpoints/, the final model, a
picture of the learning curve. The same command again resumes an interrupted run, and with a larger
--total_rounds it makes a finished one longer. Exit code 3: training diverged, and said why.

  python -m experiments.train --task=digits --experiment_name=first_run
  python -m experiments.train --flagfile=experiments/demo.flags

The default of a flag stands in brackets. --flagfile=FILE reads flags from a file, one per line.
"""

EXIT_DIVERGED = 3
"""The code of a run that ended since training diverged; its files are whole."""


class Interruption:
  """Turns the first Ctrl-C or SIGTERM into a wish to stop after the current round.

  The second one ends the process at once. A thread hears of signals the moment they come, where a
  Python handler would have to wait until TensorFlow returns.
  """

  def __init__(self):
    self.signal_number = 0

  def __enter__(self) -> 'Interruption':
    self._heard, self._written = os.pipe()
    os.set_blocking(self._written, False)
    self._handlers = {n: signal.signal(n, lambda *_: None) for n in (signal.SIGINT, signal.SIGTERM)}
    self._wakeup = signal.set_wakeup_fd(self._written, warn_on_full_buffer=False)
    self._thread = threading.Thread(target=self._listen, daemon=True)
    self._thread.start()
    return self

  def __exit__(self, *exception) -> None:
    signal.set_wakeup_fd(self._wakeup)
    for number, handler in self._handlers.items():
      signal.signal(number, handler)
    os.close(self._written)
    self._thread.join()
    os.close(self._heard)

  def _listen(self) -> None:
    from fl_research.training import terminal

    while received := os.read(self._heard, 1):
      number = received[0]
      if number not in self._handlers:
        continue
      if self.signal_number:
        os._exit(128 + number)
      self.signal_number = number
      terminal.note('stopping after this round, with everything saved; once more to stop at once')

  def reason(self) -> str:
    """Why to stop; empty when there is no reason."""
    return f'stopped by {signal.Signals(self.signal_number).name}' if self.signal_number else ''


def main(argv: Sequence[str]) -> int:
  topic = command_line.help_topic(argv)
  if topic is not None:
    help_pages.print_help(topic, 'python -m experiments.train', INTRODUCTION)
    return 0
  flag_values = flags.FlagValues()
  command_line.define_settings_flags(flag_values)
  command_line.parse(flag_values, argv)
  settings = command_line.to_settings(flag_values)
  if not (settings.task or settings.data_file):
    # The complaint follows, on stderr.
    print(help_pages.WHERE_TO_START.strip(), flush=True)
  settings = settings_lib.complete(settings, command_line.say)
  validation.validate(settings)
  return train(settings)


def run_data_loader(settings: settings_lib.Settings):
  """What loads the data that the settings name, or meets the sites that have them."""
  if settings.runtime == 'federation':
    from fl_research.federation import engine_data

    return engine_data.load
  from fl_research.training import run_data

  return run_data.load


def train(settings: settings_lib.Settings) -> int:
  """Runs the experiment and reports; gives the exit code."""
  from fl_research.training import run_folder

  folder = run_folder.RunFolder(settings)
  folder.check()
  manifest = folder.manifest()
  if folder.finished:
    diverged = manifest.get('diverged')
    ended = f'has ended ({manifest["stopped"]})' if diverged else 'is finished'
    print(f'{folder.path}: this run {ended}; nothing to do')
    return EXIT_DIVERGED if diverged else 0
  # The data first: what is wrong with them is said before TensorFlow's five seconds.
  load = run_data_loader(settings)
  data = load(settings)
  try:
    return run(settings, folder, data)
  finally:
    if data.sites is not None:
      data.sites.close()


def run(settings: settings_lib.Settings, folder: Any, data: Any) -> int:
  """Trains on these data, and reports; gives the exit code."""
  folder.check_data({'sources': data.sources, 'passport': data.passport})
  with Interruption() as interruption:
    from fl_research.training import experiment, summary

    outcome = experiment.run(settings, interruption.reason, data)
    summary.print_outcome(outcome)
  if interruption.signal_number:
    return 128 + interruption.signal_number
  return EXIT_DIVERGED if outcome.diverged else 0


if __name__ == '__main__':
  command_line.run_main(main)
