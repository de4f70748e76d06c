"""What a run is made of: the parts that its settings name, put together before it begins."""

from collections.abc import Sequence
import dataclasses
import math
from typing import Any, Optional

from fl_research import (
  aggregation,
  algorithms,
  client_data,
  models,
  optimizers,
  registry,
  runtime,
)
from fl_research.aggregation import compression
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.privacy import local_noise
from fl_research.models.specification import ModelSpec
from fl_research.optimizers import schedules
from fl_research.population import (
  attackers,
  attacks,
  choosers,
  cohorts,
  devices,
  participation,
  scheduler,
)
from fl_research.population.attacks import attack as attack_lib
from fl_research.population.traced_devices import TracedDevices
from fl_research.registry import UsageError
from fl_research.round import composition, from_learning_process, split
from fl_research.round import process as process_lib
from fl_research.round.method import Method
from fl_research.round.parts import Parts
from fl_research.settings import Settings
from fl_research.training import (
  asynchronous,
  choosing,
  driver,
  evaluation,
  fine_tuning,
  model_evaluation,
  personal_evaluation,
  protocol_rounds,
  run_data,
  synchronous,
  terminal,
)
from fl_research.training import guarantee as guarantee_lib
from fl_research.training import loop as loop_lib


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


def _check_target(settings: Settings, loop: loop_lib.Loop) -> None:
  if settings.target_metric:
    measured = [name for name in loop.columns() if '/' in name]
    registry.lookup('target_metric', settings.target_metric, dict.fromkeys(measured))


def build_model(settings: Settings, spec: ModelSpec):
  """The model that the settings name, for data of this specification."""
  name = run_data.model_name(settings, spec)
  own = (settings.initializer, settings.initial_model, settings.freeze)
  adapters = None
  if settings.lora_rank:
    adapters = models.specification.Adapters(
      settings.lora_rank, settings.lora_alpha, settings.lora_layers, settings.lora_freeze_a
    )
  return models.build(name, spec, settings.seed, *own, adapters)


def build_method(settings: Settings) -> Method:
  """The method that the settings name."""
  algorithm = 'local' if settings.local_only else settings.algorithm
  return algorithms.build(
    algorithm, settings.hyperparameters_of(algorithms.prefix(settings.algorithm))
  )


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
  rule = build_rule(settings)
  if getattr(rule, 'needs_squared_losses', False):
    model = model.summing_squared_loss()
  process = _composed(
    settings,
    Parts(
      model=model,
      method=build_method(settings),
      client_optimizer=client_optimizer,
      server_optimizer=server_optimizer,
      aggregator=build_aggregator(settings, data),
      local_noise=build_local_noise(settings, data),
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
  if isinstance(parts.method, from_learning_process.OfLearningProcess):
    return from_learning_process.build_process(parts)
  decides_late = settings.cohort_sampling in choosers.SENDERS
  if settings.is_asynchronous or settings.runtime == 'federation' or decides_late:
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
  sampler = build_sampler(settings, data)
  return guarantee_lib.build(settings, data.train.num_filled, data.cohort_size, sampler)


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
  guarantee = None if settings.is_local else build_guarantee(settings, data)
  if guarantee is not None:
    return guarantee.aggregator(sums)
  return aggregation.build(
    settings.aggregator,
    settings.hyperparameters_of(settings.aggregator),
    sums if sums.are_secure else None,
  )


def build_local_noise(
  settings: Settings, data: run_data.RunData
) -> Optional[local_noise.LocalNoise]:
  """What clients do to their updates before they send them; None where it is nothing."""
  guarantee = build_guarantee(settings, data) if settings.is_local else None
  return guarantee.local_noise() if guarantee is not None else None


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


def build_rule(settings: Settings) -> Any:
  """The rule by which cohorts are chosen, see `choosers`; None where they are drawn."""
  name = settings.cohort_sampling
  return choosers.build(name, settings.hyperparameters_of(name))


def build_sampler(settings: Settings, data: run_data.RunData) -> cohorts.CohortSampler:
  """What draws the cohorts, over-selection included."""
  everybody = settings.local_only or settings.centralized
  rule = build_rule(settings)
  drawn = math.ceil(data.cohort_size * settings.over_selection)
  if rule is not None and rule.candidates is not None:
    candidates = choosers.num_candidates(
      settings.cohort_sampling, rule.candidates, data.cohort_size
    )
    drawn = candidates if settings.cohort_sampling in choosers.SENDERS else drawn
  return cohorts.CohortSampler(
    sampling='uniform' if everybody or rule is not None else settings.cohort_sampling,
    clients_per_round=len(data.train) if everybody else drawn,
    sizes=data.train.sizes,
    seed=settings.seed,
    availability=data.availability,
    fresh=settings.is_fresh,
    all_filled=data.train.num_filled == len(data.train),
  )


def build_participation(
  settings: Settings, data: run_data.RunData, process: process_lib.FederatedProcess
) -> participation.Participation:
  """Who takes part in which round, and how."""
  everybody = settings.local_only or settings.centralized
  over_selects = settings.over_selection > 1 and not everybody
  return participation.Participation(
    sampler=build_sampler(settings, data),
    wanted=data.cohort_size if over_selects else 0,
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
  rule = build_rule(settings)
  if rule is not None:
    kind = choosing.Sending if settings.cohort_sampling in choosers.SENDERS else choosing.Choosing
    return kind(settings, process, data, plans, rule)
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
