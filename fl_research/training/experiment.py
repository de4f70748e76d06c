"""A whole run: from settings to a folder with CSVs, checkpoints and the final model."""

from collections.abc import Callable
import contextlib
import dataclasses
import time
from typing import Any, Optional

import numpy as np

from fl_research import metrics
from fl_research.datasets import files
from fl_research.settings import Settings
from fl_research.training import (
  assembly,
  atomic_files,
  checkpoints,
  client_states,
  final_answers,
  learning_curve,
  observer,
  run_data,
  run_folder,
  run_observers,
  stored_data,
  tables,
  tensorboard,
  terminal,
)
from fl_research.training import loop as loop_lib


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended.

  Attributes:
    folder: the run's folder.
    last_row: its last row of metrics.csv.
    reason: why it ended before the last round; empty when it did not.
    seconds: time this session took.
    diverged: whether it ended because no client sent a finite update any more.
    answers: what the final model answers, class by class.
  """

  folder: run_folder.RunFolder
  last_row: dict[str, Any]
  reason: str
  seconds: float
  diverged: bool = False
  answers: final_answers.FinalAnswers = final_answers.NONE


def run(
  settings: Settings, interrupted: Callable[[], str], data: Optional[run_data.RunData] = None
) -> Outcome:
  """Runs, or resumes, the experiment that the settings describe.

  Args:
    settings: checked settings (see `fl_research.soundness.validation.validate`).
    interrupted: asked after each round; a reason to stop now, or nothing.
    data: what `run_data.load` gives for the settings; loaded here when None.

  Raises:
    UsageError: one line, before anything is written.
    OSError: the folder cannot be written to (disk full, …); what it holds stays valid.
  """
  begin = time.monotonic()
  folder = run_folder.RunFolder(settings)
  folder.check()
  built = assembly.build(settings, data, _jit(settings, folder))
  _open(built, folder)
  sites = built.data.sites
  with contextlib.closing(folder):
    if sites is not None:
      sites.heed(interrupted)
    progress, answers = _train(built, folder, interrupted)
    _finish(built, folder, progress)
    if sites is not None and built.loop.ended(progress):
      sites.release()
  return Outcome(
    folder,
    tables.last_row(folder.metrics),
    progress.stopped or progress.interrupted,
    time.monotonic() - begin,
    built.loop.diverged(progress),
    answers,
  )


def _jit(settings: Settings, folder: run_folder.RunFolder) -> str:
  """`--jit`; where that is auto and the run is resumed, what its first session found faster.

  Another choice would end in other last digits than the uninterrupted run.
  """
  choices = folder.manifest().get('runtime', {}).get('jit_choices')
  if settings.jit != 'auto' or not choices:
    return settings.jit
  return 'on' if any(choice['jit'] for choice in choices) else 'off'


def _open(built: assembly.Built, folder: run_folder.RunFolder) -> None:
  """Writes down in the folder what will run, and on what."""
  settings, data, guarantee = built.settings, built.data, built.guarantee
  facts = {
    'sources': data.sources,
    'passport': data.passport,
    'parameters': built.model.num_parameters,
  }
  resolved = {
    'model': settings.model,
    'client_weighting': settings.weighting,
    'server_optimizer': settings.server_step,
    'server_learning_rate': settings.server_rate,
    'clients_per_round': data.cohort_size,
  }
  if guarantee is not None:
    before = folder.manifest().get('privacy', {})
    guarantee.drawn_again = before.get('rounds_drawn_again', 0)
    facts['privacy'] = guarantee.facts()
    resolved.update(guarantee.resolved())
  folder.start(facts, resolved)
  stored_data.save(folder.path, data)
  if guarantee is not None:
    terminal.note(guarantee.words())


def _train(
  built: assembly.Built, folder: run_folder.RunFolder, interrupted: Callable[[], str]
) -> tuple[loop_lib.Progress, final_answers.FinalAnswers]:
  """Runs the loop from where the folder stands, everything it tells going to the folder."""
  settings = built.settings
  states: Any = built.states_at_sites or client_states.build(built.process, folder.checkpoints)
  store = checkpoints.CheckpointStore(folder.checkpoints, settings.checkpoints_to_keep, states)
  progress, last_round = _resumed(built, folder, store, states)
  bar = terminal.ProgressBar(
    settings.total_rounds,
    max(last_round, 0),
    metrics.primary(built.data.problem, built.data.num_classes),
    built.context.progress,
  )
  # Where chance is fresh, rounds that have to be made again are counted by their rows.
  every_row = settings.is_fresh
  observers: list[observer.Observer] = [
    run_observers.Tables(folder, last_round, settings.clients_csv, every_row)
  ]
  remember = lambda: folder.finish({'runtime': built.context.report()})
  with contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.closing(store))
    if settings.tensorboard:
      board = tensorboard.Writer(folder.logdir, last_round)
      observers.append(stack.enter_context(contextlib.closing(board)))
    observers += [stack.enter_context(bar), terminal.Complaints()]
    built.loop.run(
      progress,
      [*observers, run_observers.Saver(store, remember), run_observers.Pauses(interrupted)],
    )
    # While clients' states can still be read.
    at_the_end = (built.process.model_weights(progress.state), progress.state, states)
    answers = final_answers.save(
      folder.path, settings, built.process, built.data, built.evaluation, *at_the_end
    )
  return progress, answers


def _resumed(
  built: assembly.Built,
  folder: run_folder.RunFolder,
  store: checkpoints.CheckpointStore,
  states: Any,
) -> tuple[loop_lib.Progress, int]:
  """Where the folder's checkpoints stand, and the round of it; -1 before any."""
  store.remove_partial()
  written = tables.last_round(folder.metrics)
  checkpoint = store.restore(written)
  if checkpoint is None:
    store.clear()
    progress, last_round = loop_lib.start(built.process, states), -1
  else:
    progress = loop_lib.from_checkpoint(built.process, checkpoint, states)
    last_round = progress.round_num
    terminal.note(f'{folder.path}: resuming after round {last_round}')
  lost = written - progress.round_num
  if built.guarantee is not None and built.settings.is_fresh and lost > 0:
    built.guarantee.drawn_again += lost
    folder.finish({'privacy': built.guarantee.facts()})
    terminal.note(
      f'{folder.path}: {lost} rounds that its checkpoints lack are made again with other noise, '
      'and count twice in epsilon'
    )
  return progress, last_round


def _finish(
  built: assembly.Built, folder: run_folder.RunFolder, progress: loop_lib.Progress
) -> None:
  """Writes the models, the learning curve and how it ended."""
  data = built.data
  for name, weights in built.process.models(progress.state).items():
    _save_model(folder, name, built.model, weights)
  score = metrics.primary(data.problem, data.num_classes)
  learning_curve.save(folder.metrics, folder.path / 'learning_curve.png', score)
  folder.finish(
    {
      'finished': built.loop.ended(progress),
      'rounds': progress.round_num,
      'stopped': progress.stopped or progress.interrupted,
      'diverged': built.loop.diverged(progress),
      'runtime': built.context.report(),
      **({} if data.sites is None else {'traffic': data.sites.traffic()}),
    }
  )


def _save_model(folder: run_folder.RunFolder, name: str, model, weights) -> None:
  """Saves a final model as arrays by name, and as a Keras file."""
  arrays = model.named_weights(weights)
  atomic_files.stream_atomically(folder.path / f'{name}.npz', lambda file: np.savez(file, **arrays))
  temporary = folder.path / f'{name}.tmp.keras'
  try:
    model.keras_model((weights, ())).save(temporary)
  except (NotImplementedError, TypeError) as error:
    # Of users' own models and layers, some cannot be written.
    terminal.note(f'{folder.path}: no {name}.keras, only {name}.npz ({files.one_line(error)})')
    return
  atomic_files.rename(temporary, folder.path / f'{name}.keras')
