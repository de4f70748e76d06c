"""What an experiment asks of the sites that have its data, in full, before it begins."""

from collections.abc import Mapping
import dataclasses
import math
from typing import Any

from fl_research import settings as settings_lib
from fl_research.federation import client_graph, proposal, secure_rounds, session_server
from fl_research.federation.engine import Engine
from fl_research.population import cohorts
from fl_research.round import split
from fl_research.settings import Settings
from fl_research.training import guarantee as guarantee_lib
from fl_research.training.run_data import RunData

_BYTES_OF_FLOAT = 4
_METRICS_BYTES = 1 << 20
"""More than sums of metrics of some thousand clients take."""


def of(
  settings: Settings,
  data: RunData,
  process: split.SplitProcess,
  engine: Engine,
  graphs: Mapping[str, client_graph.ClientGraph],
  experimenter: proposal.Experimenter,
  sampler: cohorts.CohortSampler,
) -> proposal.Proposal:
  """The request of a run.

  Args:
    settings: of the run.
    data: what is known of the data.
    process: the method.
    engine: the way to the sites.
    graphs: what the sites are to run, by purpose.
    experimenter: who asks.
    sampler: draws the cohorts.
  """
  model = process.parts.model
  return proposal.Proposal(
    experimenter=experimenter,
    data_set=engine.task,
    columns=_columns(data),
    model=data.model,
    parameters=model.num_parameters,
    algorithm=settings.algorithm,
    aggregator=settings.aggregator,
    compressor=settings.compressor,
    total_rounds=settings.total_rounds,
    clients_per_round=data.cohort_size,
    epochs=math.ceil(settings.client_epochs_per_round),
    batch_size=settings.batch_size or 0,
    secure_aggregation=_secure(settings, engine),
    privacy=_privacy(settings, data, sampler),
    releases=_releases(settings, engine, process),
    graphs=tuple(
      proposal.Graph(graph.hash_of_library, purpose, graph.operations())
      for purpose, graph in sorted(graphs.items())
    ),
    flags={**_flags(settings), **proposal.uses(graph.hash for graph in graphs.values())},
  )


def _secure(settings: Settings, engine: Engine) -> proposal.SecureAggregation:
  if not settings.by_protocol:
    return proposal.SecureAggregation(settings.secure_aggregation)
  threshold = secure_rounds.threshold(
    len(engine.sites), engine.min_sites, session_server.all_sign(engine.signs)
  )
  return proposal.SecureAggregation(proposal.PROTOCOL, threshold - 1)


def _columns(data: RunData) -> tuple[proposal.Column, ...]:
  fitted = data.preprocessing
  if not fitted:
    return ()
  label = fitted['label']
  inputs = [proposal.Column(column['name'], column['role']) for column in fitted['columns']]
  labels = label.get('columns') or [label['column']]
  return (*inputs, *(proposal.Column(name, 'label') for name in labels))


def _privacy(settings: Settings, data: RunData, sampler: cohorts.CohortSampler) -> proposal.Privacy:
  """What is promised; of local noise for a client that is asked in every round, as a site that
  cannot know the cohorts must count."""
  guarantee = guarantee_lib.build(settings, data.train.num_filled, data.cohort_size, sampler)
  if guarantee is None or not guarantee.noise_multiplier:
    return proposal.Privacy()
  local = settings.is_local
  return proposal.Privacy(
    kind=proposal.LOCAL if local else proposal.CENTRAL,
    noise_multiplier=guarantee.noise_multiplier,
    clip_norm=settings.dp_clip_norm or settings.dp_initial_clip,
    epsilon=guarantee.accountant.epsilon(settings.total_rounds),
    delta=guarantee.accountant.delta,
    sampling='availability' if local else settings.cohort_sampling,
    num_clients=data.train.num_filled,
    discrete=settings.has_exact_noise,
  )


def _releases(
  settings: Settings, engine: Engine, process: split.SplitProcess
) -> tuple[proposal.Release, ...]:
  """What leaves a site in a round, at most: what all of its clients send, uncompressed or not."""
  clients = max(len(site.ids) for site in engine.sites.values())
  # Compressed messages are shorter, but for small tensors, whose heads count.
  numbers = process.bytes_up_per_client // _BYTES_OF_FLOAT + 1_000
  if settings.by_protocol:
    # Whole numbers of up to eight bytes, and shares of keys for every other site.
    most = 8 * numbers + _METRICS_BYTES
    updates = proposal.Release(proposal.MASKED_UPDATES, most)
  else:
    most = 2 * _BYTES_OF_FLOAT * numbers * clients + _METRICS_BYTES
    updates = proposal.Release(proposal.UPDATES, most)
  released = settings.site_metrics == 'release'
  metrics = [proposal.Release(proposal.TRAINING_METRICS, _METRICS_BYTES)] if released else []
  evaluated = not settings.withholds
  sums = [proposal.Release(proposal.EVALUATION_SUMS, _METRICS_BYTES)] if evaluated else []
  return (
    proposal.Release(proposal.COUNTS, _METRICS_BYTES),
    *sums,
    *metrics,
    updates,
  )


def _flags(settings: Settings) -> dict[str, Any]:
  """The flags that differ from their defaults, and can change what a run computes."""
  defaults = {field.name: field.default for field in dataclasses.fields(settings_lib.Settings)}
  return {
    name: value
    for name, value in settings.identity().items()
    if value != defaults.get(name) and isinstance(value, (bool, int, float, str))
  }
