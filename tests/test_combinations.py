"""docs/combinations.md says what the checks say, and what it says runs does run."""

import itertools

import numpy as np
import pytest

from fl_research import client_data, combinations, runtime
from fl_research.training import experiment, run_data

_ROUNDS = 2


def _covering(cells):
  """Cells such that every pair of choices that occurs in a cell occurs in one of them."""
  pairs = lambda cell: set(
    itertools.combinations(
      enumerate((cell.algorithm, cell.aggregator, cell.compressor, cell.privacy)), 2
    )
  )
  left = set().union(*(pairs(cell) for cell in cells))
  chosen = []
  # The cells that bring most new pairs first; near the end few do, so the order is renewed seldom.
  while left:
    gains = sorted(cells, key=lambda cell: -len(pairs(cell) & left))
    for cell in gains[:25]:
      if len(pairs(cell) & left) >= len(pairs(gains[0]) & left):
        chosen.append(cell)
        left -= pairs(cell)
  return chosen


def run_two_rounds(combination):
  """Trains two rounds of a combination; asserts that finite weights have moved."""
  settings = combination.settings()
  data = run_data.load(settings)
  model = experiment.build_model(settings, data)
  process = experiment.build_process(settings, model, data)
  state = process.initialize()
  before = process.model_weights(state)
  for round_num in range(1, _ROUNDS + 1):
    clients = [_client(settings, process, data, round_num, k) for k in range(len(data.train))]
    state, measured, *_ = process.next(state, clients)
    assert measured['participants'] == len(clients)
  after = process.model_weights(state)
  assert all(np.all(np.isfinite(w)) for w in after)
  if process.algorithm.shares_update:
    assert any(np.any(a != b) for a, b in zip(after, before))


def _client(settings, process, data, round_num, position):
  examples = client_data.client_data(
    data.train.examples(position),
    batch_size=settings.batch_size,
    epochs=settings.client_epochs_per_round,
    seed=settings.seed,
    round_num=round_num,
    client=position,
    max_examples=settings.max_examples_per_client,
  )
  if not process.keeps_client_state:
    return examples
  return {'data': examples, 'state': process.initial_client_state}


def running():
  """All cells of the table that are not refused."""
  return [cell for cell in combinations.combinations() if not cell.refusal()]


def test_page_is_up_to_date():
  assert combinations.PAGE.read_text() == combinations.page()


def test_unsound_combinations_are_refused_with_the_reason():
  cell = combinations.Combination('fedavg', 'krum', '', 'fixed clip')
  assert 'krum' in cell.refusal()
  cell = combinations.Combination('fedavg', 'mean', 'quantize,rotation', 'none')
  assert 'rotation' in cell.refusal()


@pytest.mark.parametrize('combination', _covering(running()), ids=str)
def test_what_runs_runs(combination):
  with runtime.use_context('fused', client_parallelism=1):
    run_two_rounds(combination)
