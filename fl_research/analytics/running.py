"""The run of an analysis: rounds, their CSVs and checkpoints, and what was found.

<output_dir>/<experiment_name>/
  metrics.csv  hparams.csv  manifest.json  checkpoints/  as of training
  <analysis>.csv                                         what was found
"""

from collections.abc import Callable
import contextlib
import dataclasses
import time
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research import analytics
from fl_research.aggregation import sums as sums_lib
from fl_research.analytics.analysis import Analysis, Setup
from fl_research.analytics.settings import AnalysisSettings
from fl_research.population import cohorts
from fl_research.training import (
  assembly,
  atomic_files,
  checkpoints,
  run_data,
  run_folder,
  tables,
  terminal,
)
from fl_research.training.guarantee import Guarantee


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How an analysis ended.

  Attributes:
    folder: its folder.
    last_row: its last row of metrics.csv.
    reason: why it ended before the last round; empty when it did not.
    seconds: time this session took.
  """

  folder: run_folder.RunFolder
  last_row: dict[str, Any]
  reason: str
  seconds: float


def run(
  settings: AnalysisSettings,
  interrupted: Callable[[], str],
  data: Optional[run_data.RunData] = None,
) -> Outcome:
  """Runs, or resumes, the analysis that the settings describe.

  Args:
    settings: checked settings (see `fl_research.analytics.settings.validate`).
    interrupted: asked after each round; a reason to stop now, or nothing.
    data: what `run_data.load` gives for the settings; loaded here when None.

  Raises:
    UsageError: one line, before anything is written.
    OSError: the folder cannot be written to; what it holds stays valid.
  """
  begin = time.monotonic()
  folder = run_folder.RunFolder(settings)
  folder.check()
  context = assembly.set_runtime(settings, jit='off')
  setup = set_up(settings, data or run_data.load(settings))
  analysis = build(settings, setup)
  facts = {'sources': setup.data.sources, 'passport': setup.data.passport, **analysis.facts()}
  resolved = {'clients_per_round': analysis.cohort_size or setup.data.cohort_size}
  if setup.guarantee is not None:
    facts['privacy'] = privacy_facts(setup.guarantee, settings)
    resolved.update(setup.guarantee.resolved())
    terminal.note(privacy_words(setup.guarantee, settings))
  folder.start(facts, resolved)
  with contextlib.closing(folder):
    rounds = Rounds(settings, setup, analysis, folder, getattr(context, 'summer', None))
    reason = rounds.run(interrupted)
    rounds.write_table()
    folder.finish(
      {
        'finished': not reason,
        'rounds': rounds.round_num,
        'stopped': reason,
        'runtime': context.report(),
      }
    )
  return Outcome(folder, tables.last_row(folder.metrics), reason, time.monotonic() - begin)


def set_up(settings: AnalysisSettings, data: run_data.RunData) -> Setup:
  """What an analysis is given; without `--clients_per_round` a cohort is everybody."""
  if settings.clients_per_round is None:
    everybody = data.train.num_filled
    settings = dataclasses.replace(settings, clients_per_round=everybody)
    data = dataclasses.replace(data, cohort_size=everybody, combined=everybody)
  sums, guarantee = assembly.build_sums(settings, data), assembly.build_guarantee(settings, data)
  return Setup(settings, data, sums, settings.column, guarantee)


def privacy_facts(guarantee: Guarantee, settings: AnalysisSettings) -> dict[str, Any]:
  """What the manifest says of a guarantee: that of training, of other things."""
  return {**guarantee.facts(), 'covers': _covered(settings), 'does_not_cover': _NOT_COVERED}


def privacy_words(guarantee: Guarantee, settings: AnalysisSettings) -> str:
  """What a person should know who starts a private analysis, in one line."""
  epsilon, delta = guarantee.epsilon(settings.total_rounds), guarantee.accountant.delta
  line = (
    f'differential privacy: epsilon = {epsilon:.3g} (delta = {delta:.2g}) covers '
    f'{_covered(settings)}; the noise is float32 or float64 from --seed, which gives it back, so '
    'for simulation only.'
  )
  return ' '.join([line, *guarantee.cautions()])


def _covered(settings: AnalysisSettings) -> str:
  return f'{settings.analysis}.csv, and the columns {settings.analysis}/... of metrics.csv'


_NOT_COVERED = (
  'who and how many took part: cohort_size, bytes, seconds',
  'what the manifest says of the data',
  'flags chosen by looking at the same clients, and several analyses of them',
)


def build(settings: AnalysisSettings, setup: Setup) -> Analysis:
  """The analysis that the settings name."""
  module = analytics.ANALYSES[settings.analysis].load()
  return module.build(setup, **settings.own_parameters())


class Rounds:
  """The rounds of an analysis, from where its folder stands.

  Args:
    settings: the run's settings.
    setup: what the analysis was given.
    analysis: the analysis.
    folder: where its files are.
    summer: who takes secure sums by the protocol; None where nobody does.

  Attributes:
    round_num: the last finished round.
  """

  def __init__(
    self,
    settings: AnalysisSettings,
    setup: Setup,
    analysis: Analysis,
    folder: run_folder.RunFolder,
    summer: Any,
  ):
    data = setup.data
    self._settings, self._setup, self._analysis, self._folder, self._summer = (
      settings,
      setup,
      analysis,
      folder,
      summer,
    )
    self._sampler = cohorts.CohortSampler(
      settings.cohort_sampling,
      analysis.cohort_size or data.cohort_size,
      data.train.sizes,
      settings.seed,
      fresh=settings.is_fresh,
      all_filled=data.train.num_filled == len(data.train),
    )
    self._store = checkpoints.CheckpointStore(folder.checkpoints, settings.checkpoints_to_keep)
    self._store.remove_partial()
    self.round_num, self._state = self._resumed()
    self._table = tables.Table(folder.metrics, self.round_num)

  def _resumed(self) -> tuple[int, Any]:
    """The last round of the newest checkpoint, and the state after it; -1 before any."""
    state = self._analysis.initial()
    checkpoint = self._store.restore(tables.last_round(self._folder.metrics))
    if checkpoint is None:
      return -1, state
    terminal.note(f'{self._folder.path}: resuming after round {checkpoint.round_num}')
    return checkpoint.round_num, tf.nest.pack_sequence_as(state, checkpoint.state)

  def run(self, interrupted: Callable[[], str]) -> str:
    """Runs the rounds that are left; gives the reason to stop before the last, or nothing."""
    settings = self._settings
    if self.round_num < 0:
      self._finish_round(0, [], time.monotonic())
    while self.round_num < settings.total_rounds:
      begin, number = time.monotonic(), self.round_num + 1
      cohort = self._sampler.cohort(number)
      if self._summer is not None:
        self._summer.begin(number)
      self._state = self._analysis.step(self._state, number, cohort)
      self._finish_round(number, cohort, begin)
      last = number == settings.total_rounds
      reason = '' if last else interrupted()
      if reason or last or number % settings.rounds_per_checkpoint == 0:
        self._save()
      if reason:
        return reason
    return ''

  def _finish_round(self, number: int, cohort: Any, begin: float) -> None:
    self.round_num = number
    guarantee = self._setup.guarantee
    spent = guarantee.columns() if guarantee is not None else {}
    row = {
      'round': number,
      **self._analysis.measures(self._state),
      **{name: value(number) for name, value in spent.items()},
      **self._wire(len(cohort)),
    }
    self._table.append([{**row, 'seconds': time.monotonic() - begin}])

  def _wire(self, clients: int) -> dict[str, int]:
    """Who took part in a round, and what all of them sent and were sent."""
    up = self._setup.sums.num_bytes(self._analysis.numbers_up)
    down = sums_lib.CLEAR.num_bytes(self._analysis.numbers_down)
    return {'cohort_size': clients, 'bytes_down': clients * down, 'bytes_up': clients * up}

  def _save(self) -> None:
    self._table.sync()
    state = [np.asarray(leaf) for leaf in tf.nest.flatten(self._state)]
    self._store.save(checkpoints.Checkpoint(self.round_num, state, {}))

  def write_table(self) -> None:
    """Writes what has been found so far."""
    rows = self._analysis.table(self._state)
    name = f'{self._settings.analysis}.csv'
    text = tables.to_csv(self._analysis.table_columns or list(rows[0]), rows)
    atomic_files.write_atomically(self._folder.path / name, text.encode())


def print_outcome(outcome: Outcome) -> None:
  """Prints the last row's figures, and where the files are."""
  figures = {name: _shown(text) for name, text in outcome.last_row.items() if text}
  figures['files'] = str(outcome.folder.path)
  terminal.print_summary(outcome.folder.path.name, figures, outcome.reason)


def _shown(text: str) -> str:
  """A value of metrics.csv, fractions with four digits."""
  return text if text.isdecimal() else terminal.figure(float(text))
