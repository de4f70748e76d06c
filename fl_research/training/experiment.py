"""A whole run: from settings to a folder with CSVs, checkpoints and the final model."""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import math
import time
from typing import Any, Optional

import numpy as np

from fl_research import (
  aggregation,
  algorithms,
  client_data,
  metrics,
  models,
  optimizers,
  registry,
  runtime,
)
from fl_research.aggregation import compression
from fl_research.aggregation import sums as sums_lib
from fl_research.datasets import files
from fl_research.models.specification import ModelSpec
from fl_research.optimizers import schedules
from fl_research.population import attackers, attacks, cohorts, devices, participation, scheduler
from fl_research.population.attacks import attack as attack_lib
from fl_research.population.traced_devices import TracedDevices
from fl_research.registry import UsageError
from fl_research.round import composition, split
from fl_research.round import process as process_lib
from fl_research.round.method import Method
from fl_research.round.parts import Parts
from fl_research.settings import Settings
from fl_research.training import (
  asynchronous,
  atomic_files,
  checkpoints,
  client_states,
  driver,
  evaluation,
  final_answers,
  fine_tuning,
  learning_curve,
  model_evaluation,
  observer,
  personal_evaluation,
  protocol_rounds,
  run_data,
  run_folder,
  run_observers,
  stored_data,
  synchronous,
  tables,
  tensorboard,
  terminal,
)
from fl_research.training import guarantee as guarantee_lib
from fl_research.training import (
  loop as loop_lib,
)


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


def build_model(settings: Settings, spec: ModelSpec):
  """The model that the settings name, for data of this specification."""
  name = run_data.model_name(settings, spec)
  own = (settings.initializer, settings.initial_model, settings.freeze)
  return models.build(name, spec, settings.seed, *own)


def build_method(settings: Settings) -> Method:
  """The method that the settings name."""
  algorithm = 'local' if settings.local_only else settings.algorithm
  return algorithms.build(algorithm, settings.hyperparameters_of(settings.algorithm))


def check_global_model(settings: Settings, weight_names: Sequence[str], instead: str) -> None:
  """Refuses, or doubts in a line, a global model that the settings' method has not trained.

  Args:
    settings: of the run.
    weight_names: the model's.
    instead: what to do, for the message.

  Raises:
    UsageError: nothing of it was trained.
  """
  method = build_method(settings)
  if settings.centralized or method.global_model:
    return
  # What layers a method keeps at the clients it knows once it is bound; then this is empty.
  shared = method.shares(weight_names)
  if shared and not any(shared):
    raise UsageError(f'clients trained models of their own, and there is no global one; {instead}')
  terminal.note(f'the global model answers, which lacks what clients keep to themselves; {instead}')


def build_process(
  settings: Settings, model, data: run_data.RunData
) -> process_lib.FederatedProcess:
  """The federated process that the settings name."""
  client_optimizer = optimizers.build(
    settings.client_optimizer,
    settings.client_learning_rate,
    settings.hyperparameters_of('client'),
    settings.client_gradient_clip_norm,
    settings.client_weight_decay,
  )
  server_optimizer = optimizers.build(
    settings.server_step, settings.server_rate, settings.hyperparameters_of('server')
  )
  process = _composed(
    settings,
    Parts(
      model=model,
      method=build_method(settings),
      client_optimizer=client_optimizer,
      server_optimizer=server_optimizer,
      aggregator=build_aggregator(settings, data),
      sums=build_sums(settings, data),
      compressor=build_compressor(settings, data),
      attack=build_attack(settings, data),
      attackers=attackers.draw_attackers(
        len(data.train), settings.attacker_fraction, settings.seed
      ),
      client_weighting=settings.weighting,
      client_schedule=schedules.build(
        settings.client_lr_schedule, settings.client_lr_decay, settings.client_lr_decay_rounds
      ),
      server_schedule=schedules.build(
        settings.server_lr_schedule, settings.server_lr_decay, settings.server_lr_decay_rounds
      ),
      batch_size=settings.batch_size,
      server_data=_server_data(settings, data),
      population_size=data.train.num_filled,
      cohort_size=data.combined,
      seed=settings.seed,
    ),
  )
  if process.keeps_client_state and not (settings.local_only or settings.centralized):
    registry.ONE_STATE_PER_CLIENT.check('algorithm', settings.algorithm, settings.cohort_sampling)
  return process


def _composed(settings: Settings, parts: Parts) -> process_lib.FederatedProcess:
  """The process of these parts, in two halves where results arrive by themselves."""
  if settings.is_asynchronous or settings.runtime == 'federation':
    return split.build_process(parts, mixes=settings.stale_update == 'model')
  return composition.build_process(parts)


def _server_data(settings: Settings, data: run_data.RunData):
  """The D of the server's own examples, the same in every round; None without any."""
  if data.server is None:
    return None
  return client_data.client_data(
    data.server,
    batch_size=settings.batch_size or client_data.FULL_BATCH,
    epochs=settings.client_epochs_per_round,
    seed=settings.seed,
    round_num=0,
    client=len(data.train),
  )


def build_guarantee(
  settings: Settings, data: run_data.RunData
) -> Optional[guarantee_lib.Guarantee]:
  """The differential privacy that the settings ask for; None without any."""
  return guarantee_lib.build(settings, data.train.num_filled, data.cohort_size)


def build_sums(settings: Settings, data: run_data.RunData) -> sums_lib.Sums:
  """How sums over clients are taken."""
  if not settings.is_secure:
    return sums_lib.CLEAR
  selected = math.ceil(data.combined * settings.over_selection)
  # A Poisson cohort may be anybody, as may those be who are there at a deadline; a modulus must be
  # large enough for the largest cohort.
  anybody = settings.cohort_sampling == 'poisson' or settings.aggregation_trigger == 'deadline'
  largest = len(data.train) if anybody else selected
  return sums_lib.SecureSums(settings.secure_sum_bound, largest)


def build_aggregator(settings: Settings, data: run_data.RunData):
  """The aggregator that the settings name."""
  sums = build_sums(settings, data)
  guarantee = build_guarantee(settings, data)
  if guarantee is not None:
    return guarantee.aggregator(sums)
  return aggregation.build(
    settings.aggregator,
    settings.hyperparameters_of(settings.aggregator),
    sums if sums.are_secure else None,
  )


def build_compressor(settings: Settings, data: run_data.RunData):
  """The compressor that the settings name, checked against the population; None without one."""
  return compression.build(settings.compressor_stages())


def build_attack(settings: Settings, data: run_data.RunData):
  """The attack that the settings name; None without one."""
  if not settings.attack:
    return None
  target = attack_lib.Target(data.spec, data.combined, settings.server_rate)
  return attacks.build(settings.attack, target, settings.hyperparameters_of(settings.attack))


def build_evaluation(
  settings: Settings, process: process_lib.FederatedProcess, data: run_data.RunData
) -> model_evaluation.ModelEvaluation:
  """How the model is evaluated; attacks may bring example sets of their own.

  Where a private run withholds what ε does not cover, only on test examples that are no client's,
  and only a model that is the same for all.
  """
  if settings.withholds:
    if data.tests_clients or process.method.personal:
      return model_evaluation.NoEvaluation()
    data = dataclasses.replace(data, test_clients=None, held_out=None)
  attack = process.parts.attack
  further = dict(attack.evaluation_sets(data.test)) if attack else {}
  if settings.evaluate_train:
    further['train_set'] = data.train.pooled()
  return model_evaluation.ModelEvaluation(
    evaluation.Evaluator(process.parts.model, settings.evaluate_auc),
    data,
    further,
    fine_tuning.build(settings, process.parts.model, data),
    personal_evaluation.plan(settings, process.method, data),
  )


def build_participation(
  settings: Settings, data: run_data.RunData, process: process_lib.FederatedProcess
) -> participation.Participation:
  """Who takes part in which round, and how."""
  everybody = settings.local_only or settings.centralized
  wanted = data.cohort_size
  over_selects = settings.over_selection > 1 and not everybody
  sampler = cohorts.CohortSampler(
    sampling='uniform' if everybody else settings.cohort_sampling,
    clients_per_round=len(data.train) if everybody else math.ceil(wanted * settings.over_selection),
    sizes=data.train.sizes,
    seed=settings.seed,
    availability=data.availability,
    fresh=settings.is_fresh,
    all_filled=data.train.num_filled == len(data.train),
  )
  return participation.Participation(
    sampler=sampler,
    wanted=wanted if over_selects else 0,
    epochs=settings.client_epochs_per_round,
    straggler_fraction=settings.straggler_fraction,
    keep_stragglers=settings.stragglers == 'keep',
    dropout_probability=settings.dropout_probability,
    devices=build_devices(settings, data),
    bytes_down=process.bytes_down_per_client,
    bytes_up=process.bytes_up_per_client,
    seed=settings.seed,
    readiness=data.readiness,
    max_examples=settings.max_examples_per_client or None,
  )


def build_devices(settings: Settings, data: run_data.RunData) -> devices.Clock:
  """The virtual clock that the settings name."""
  if data.phones is not None:
    return TracedDevices(settings.device_seconds_per_example, data.phones, settings.seed)
  return devices.Devices(
    settings.device_seconds_per_example,
    settings.device_download_rate,
    settings.device_upload_rate,
    settings.device_spread,
    settings.seed,
  )


def build_driver(
  settings: Settings, data: run_data.RunData, process: process_lib.FederatedProcess
) -> driver.Driver:
  """What makes the server step."""
  plans = build_participation(settings, data, process)
  if not isinstance(process, split.SplitProcess):
    return synchronous.Synchronous(settings, process, data, plans)
  if process.sent_bytes_per_client is not None:
    plans = dataclasses.replace(plans, bytes_up=process.sent_bytes_per_client)
  events = scheduler.Scheduler(plans, data.cohort_size, _trigger(settings), settings.max_staleness)
  return asynchronous.Asynchronous(settings, process, data, events)


def _by_protocol(settings: Settings, context: Any, steps: driver.Driver) -> driver.Driver:
  """The driver, which tells the protocol of its steps where there is one."""
  return protocol_rounds.ProtocolRounds(steps, context.summer) if settings.by_protocol else steps


def _trigger(settings: Settings) -> scheduler.Trigger:
  if settings.buffer_size is not None:
    return scheduler.Buffer(settings.buffer_size)
  entry = scheduler.TRIGGERS['deadline']
  return scheduler.Deadline(**entry.settings('deadline', settings.hyperparameters_of('deadline')))


def set_runtime(settings: Settings, jit: str):
  """Makes the runtime that the settings name the one of this thread; gives its context."""
  summer = None
  if settings.by_protocol and settings.runtime != 'federation':  # There its parties are real.
    from fl_research.runtime import protocol_sums  # With much that no other run needs.

    summer = protocol_sums.ProtocolSums(settings.experiment_name, settings.seed)
  return runtime.set_context(
    settings.runtime,
    settings.client_chunks,
    jit,
    settings.client_parallelism or None,
    settings.kernel_threads,
    settings.ray_address,
    summer,
  )


@dataclasses.dataclass(frozen=True)
class Built:
  """All that a run is made of, before anything is written.

  Attributes:
    settings: the settings, with what the data decide where they leave it open.
    context: the runtime, which is that of this thread now.
    data, model, process, loop: what trains on what.
    evaluation: how the model is evaluated.
    guarantee: the differential privacy; None without any.
    states_at_sites: what clients keep, where that is at sites; None where it is here.
  """

  settings: Settings
  context: Any
  data: run_data.RunData
  model: Any
  process: process_lib.FederatedProcess
  loop: loop_lib.Loop
  evaluation: model_evaluation.ModelEvaluation
  guarantee: Optional[guarantee_lib.Guarantee]
  states_at_sites: Any = None


def build(settings: Settings, data: Optional[run_data.RunData], jit: str) -> Built:
  """Builds what the settings name, on these data or, when None, on those that they name.

  Raises:
    UsageError: one line; something does not fit.
  """
  context = set_runtime(settings, jit)
  data = data or run_data.load(settings)
  settings = data.decide(settings)
  model = build_model(settings, data.spec)
  runtime.memory.prepare(model.num_parameters)
  process = build_process(settings, model, data)
  states = None
  if data.sites is not None:
    plans = build_participation(settings, data, process)
    steps, scored, states = data.sites.build(settings, process, data, plans)
  else:
    steps = _by_protocol(settings, context, build_driver(settings, data, process))
    scored = build_evaluation(settings, process, data)
  tested = scored.headline == personal_evaluation.PERSONAL
  if process.method.personal and not (tested or settings.withholds):
    terminal.note(
      'no client that trains is tested on examples of its own, so nothing says how good its model '
      'is to it; --own_test_fraction gives it some (and --max_evaluation_clients above 0 tests it)'
    )
  guarantee = build_guarantee(settings, data)
  loop = loop_lib.Loop(
    settings, process, data, steps, scored, guarantee.columns() if guarantee else None
  )
  _check_target(settings, loop)
  return Built(settings, context, data, model, process, loop, scored, guarantee, states)


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
  built = build(settings, data, _jit(settings, folder))
  context, data, model, process = built.context, built.data, built.model, built.process
  guarantee, loop, scored = built.guarantee, built.loop, built.evaluation
  settings = built.settings
  facts = {'sources': data.sources, 'passport': data.passport, 'parameters': model.num_parameters}
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
  with contextlib.closing(folder):
    remember = lambda: folder.finish({'runtime': context.report()})

    def describe(progress: loop_lib.Progress) -> final_answers.FinalAnswers:
      weights, state = process.model_weights(progress.state), progress.state
      at_the_end = (weights, state, progress.client_states)
      return final_answers.save(folder.path, settings, process, data, scored, *at_the_end)

    progress, answers = _train(
      settings,
      folder,
      process,
      data,
      loop,
      interrupted,
      remember,
      describe,
      guarantee,
      context.progress,
      built.states_at_sites,
    )
    for name, weights in process.models(progress.state).items():
      _save_model(folder, name, model, weights)
    score = metrics.primary(data.problem, data.num_classes)
    learning_curve.save(folder.metrics, folder.path / 'learning_curve.png', score)
    folder.finish(
      {
        'finished': loop.ended(progress),
        'rounds': progress.round_num,
        'stopped': progress.stopped or progress.interrupted,
        'diverged': loop.diverged(progress),
        'runtime': context.report(),
        **({} if data.sites is None else {'traffic': data.sites.traffic()}),
      }
    )
  reason = progress.stopped or progress.interrupted
  return Outcome(
    folder,
    tables.last_row(folder.metrics),
    reason,
    time.monotonic() - begin,
    loop.diverged(progress),
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


def _check_target(settings: Settings, loop: loop_lib.Loop) -> None:
  if settings.target_metric:
    measured = [name for name in loop.columns() if '/' in name]
    registry.lookup('target_metric', settings.target_metric, dict.fromkeys(measured))


def _train(
  settings: Settings,
  folder: run_folder.RunFolder,
  process: process_lib.FederatedProcess,
  data: run_data.RunData,
  loop: loop_lib.Loop,
  interrupted: Callable[[], str],
  remember: Callable[[], None],
  describe: Callable[[loop_lib.Progress], final_answers.FinalAnswers],
  guarantee: Optional[guarantee_lib.Guarantee],
  workers: Callable[[], str],
  states_at_sites: Any,
) -> tuple[loop_lib.Progress, final_answers.FinalAnswers]:
  """Runs the loop from where the folder stands, everything it tells going to the folder.

  `remember` is called before each checkpoint, `describe` at the end, when clients' states can still
  be read; `guarantee` hears of rounds that are made again; `workers` says who is at work;
  `states_at_sites` is what clients keep, where that is not here.
  """
  states: Any = states_at_sites or client_states.build(process, folder.checkpoints)
  store = checkpoints.CheckpointStore(folder.checkpoints, settings.checkpoints_to_keep, states)
  store.remove_partial()
  checkpoint = store.restore(tables.last_round(folder.metrics))
  if checkpoint is None:
    store.clear()
    progress, last_round = loop_lib.start(process, states), -1
  else:
    progress = loop_lib.from_checkpoint(process, checkpoint, states)
    last_round = progress.round_num
    terminal.note(f'{folder.path}: resuming after round {last_round}')
  lost = tables.last_round(folder.metrics) - progress.round_num
  if guarantee is not None and settings.is_fresh and lost > 0:
    guarantee.drawn_again += lost
    folder.finish({'privacy': guarantee.facts()})
    terminal.note(
      f'{folder.path}: {lost} rounds that its checkpoints lack are made again with other noise, '
      'and count twice in epsilon'
    )
  bar = terminal.ProgressBar(
    settings.total_rounds,
    max(last_round, 0),
    metrics.primary(data.problem, data.num_classes),
    workers,
  )
  # Where chance is fresh, rounds that have to be made again are counted by their rows.
  every_row = settings.is_fresh
  observers: list[observer.Observer] = [
    run_observers.Tables(folder, last_round, settings.clients_csv, every_row)
  ]
  with contextlib.ExitStack() as stack:
    stack.enter_context(contextlib.closing(store))
    if settings.tensorboard:
      board = tensorboard.Writer(folder.logdir, last_round)
      observers.append(stack.enter_context(contextlib.closing(board)))
    observers += [stack.enter_context(bar), terminal.Complaints()]
    loop.run(
      progress,
      [*observers, run_observers.Saver(store, remember), run_observers.Pauses(interrupted)],
    )
    answers = describe(progress)
  return progress, answers


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
