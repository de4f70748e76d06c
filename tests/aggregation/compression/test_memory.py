"""Error feedback loses nothing, however cohorts are drawn."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from fl_research import settings as settings_lib
from fl_research.population import cohorts
from fl_research.registry import UsageError
from fl_research.soundness import validation
from fl_research.training import client_states
from tests.aggregation.compression import wire_checks

CLIENTS, PER_ROUND, ROUNDS = 4, 3, 4
SHAPES = ((3, 4), (5,))
MEMORY = [np.zeros(shape, np.float32) for shape in SHAPES]


@pytest.fixture(scope='module')
def round_trip():
  return tf.function(wire_checks.build('top_k:0.25').round_trip, autograph=False)


AVAILABILITY = 'availability'


def drawn(sampling, seed, tmp_path_factory):
  """The cohorts of all rounds."""
  trace = None
  if sampling == AVAILABILITY:
    sampling = 'uniform'
    path = tmp_path_factory.mktemp('trace') / 'trace.csv'
    times = {'client_id': range(CLIENTS), 'first_round': 1, 'last_round': range(2, 2 + CLIENTS)}
    pd.DataFrame(times).to_csv(path, index=False)
    trace = cohorts.AvailabilityTrace(str(path), [str(k) for k in range(CLIENTS)])
  sizes = np.arange(1, CLIENTS + 1)
  sampler = cohorts.CohortSampler(sampling, PER_ROUND, sizes, seed, trace)
  return [sampler.cohort(round_num) for round_num in range(1, ROUNDS + 1)]


def lost(round_trip, rounds, seed):
  """The largest entry of: what was sent, plus the memories, less all updates."""
  rng = np.random.default_rng(seed)
  store = client_states.ClientStates(MEMORY)
  store.clear()
  missing = [np.zeros(shape) for shape in SHAPES]
  for round_num, cohort in enumerate(rounds):
    if not len(cohort):
      continue
    kept = []
    for client, memory in zip(cohort, store.get(cohort)):
      update = tuple(rng.normal(size=shape).astype(np.float32) for shape in SHAPES)
      arrived, memory = round_trip(update, tf.constant([round_num, client], tf.int32), memory)
      kept.append(memory)
      missing = [m + np.asarray(a) - u for m, a, u in zip(missing, arrived, update)]
    store.put(cohort, [np.stack(leaves) for leaves in zip(*kept)])
  for memory in store.get(range(CLIENTS)):
    missing = [m + np.asarray(leaf) for m, leaf in zip(missing, memory)]
  return max(np.abs(m).max() for m in missing)


def refusal(sampling):
  """What the checks say to top_k under this sampling."""
  by_rounds = {'availability': 'rounds', 'availability_trace': 'trace.csv'}
  given = by_rounds if sampling == AVAILABILITY else {'cohort_sampling': sampling}
  try:
    validation.validate(
      settings_lib.Settings(
        task='digits',
        experiment_name='memory',
        compressor='top_k:0.25',
        **given,
      )
    )
  except UsageError as error:
    return str(error)
  return ''


@pytest.mark.parametrize('sampling', [*cohorts.SAMPLINGS, AVAILABILITY])
def test_sent_and_memory_are_all_updates_or_the_sampling_is_refused(
  sampling, round_trip, tmp_path_factory
):
  measure = lambda seed: lost(round_trip, drawn(sampling, seed, tmp_path_factory), seed)
  if refusal(sampling):
    assert f'--cohort_sampling={sampling}: not with --compressor=top_k' in refusal(sampling)
    assert measure(1) > 0.1
    return

  @hypothesis.settings(max_examples=5, deadline=None)
  @hypothesis.given(st.integers(0, 2**31))
  def nothing_is_lost(seed):
    assert measure(seed) < 1e-5

  nothing_is_lost()
