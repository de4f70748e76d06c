"""SCAFFOLD against its oracle and against FedSGD."""

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import client_data
from fl_research.aggregation import compression
from fl_research.algorithms.optimization import fed_sgd, scaffold
from fl_research.round import minibatches
from fl_research.training import client_states
from tests import contexts
from tests.algorithms import harness
from tests.oracles import scaffold as oracle

OPTIONS = pytest.mark.parametrize('option', scaffold.OPTIONS)


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _build(option, weighting='uniform', **parts):
  return harness.build(scaffold.build(option=option), client_weighting=weighting, **parts)


def _some_clients(epochs=2):
  """Four rounds, client 0, 1 and 2 missing in turn; everybody in the last."""
  rounds = harness.cohorts(epochs=epochs, rounds=4)
  return [
    [data for data in cohort if int(data['client']) != missing]
    for missing, cohort in enumerate(rounds)
  ]


@OPTIONS
@pytest.mark.parametrize(('server_rate', 'epochs'), [(1.0, 2), (0.5, 2), (1.0, 1.5)])
def test_equals_oracle_when_clients_are_missing(option, server_rate, epochs):
  rounds = _some_clients(epochs)
  process = _build(option, server_optimizer=tff.learning.optimizers.build_sgdm(server_rate))
  start = harness.model().initial_weights[0]
  expected, _ = oracle.run(start, rounds, harness.RATE, option, 3, server_rate)
  harness.assert_same(harness.run(process, rounds), expected)


def test_population_divides_the_servers_variate():
  cohort = harness.cohorts(rounds=1)[0]
  process = _build('II', population_size=30)
  state = process.run_round(process.initialize(), cohort).state
  start = harness.model().initial_weights[0]
  _, expected = oracle.run(start, [cohort], harness.RATE, 'II', 30)
  harness.assert_same([state['server']['method']], [expected])


@OPTIONS
@pytest.mark.parametrize('weighting', ['uniform', 'num_examples'])
def test_one_step_of_all_clients_is_fed_sgd(option, weighting):
  rounds = harness.cohorts(batch_size=client_data.FULL_BATCH)
  sgd = harness.build(
    fed_sgd.build(),
    server_optimizer=tff.learning.optimizers.build_sgdm(harness.RATE),
    client_weighting=weighting,
  )
  ours = harness.run(_build(option, weighting), rounds)
  harness.assert_same(ours, harness.run(sgd, rounds), 1e-6)


@OPTIONS
def test_more_steps_are_corrected(option):
  # What the variates are for: SCAFFOLD's first round is FedAvg's, its second is not.
  rounds = harness.cohorts(epochs=2)
  theirs = harness.run(harness.plain('uniform'), rounds)
  ours = harness.run(_build(option), rounds)
  harness.assert_same(ours[:1], theirs[:1], 0)
  assert max(np.abs(a - b).max() for a, b in zip(ours[1], theirs[1])) > 1e-3


def test_without_population_it_is_not_built():
  with pytest.raises(ValueError, match='population size'):
    _build('I', population_size=None)


def test_sent_are_the_two_changes():
  process = _build('II')
  model_bytes = sum(w.nbytes for w in harness.model().initial_weights[0])
  assert process.bytes_up_per_client == 2 * model_bytes + 4
  assert process.bytes_down_per_client == 2 * model_bytes + 4


@pytest.mark.parametrize(('epochs', 'batches'), [(0.5, 2), (1, 4), (3, 4)])
def test_option_i_reads_the_first_pass(epochs, batches):
  data = harness.cohorts(epochs=epochs)[0][2]
  assert int(minibatches.steps_per_pass(data)) == 4
  assert len(minibatches.first_pass(data)['batches']) == batches


def _kept(result):
  """Variates by client, flat, from a round's result."""
  parts = [np.asarray(part) for part in result[2]['state']['method']]
  flat = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
  return dict(zip(np.asarray(result[2]['client']).tolist(), flat))


def test_variates_of_what_a_structured_update_leaves_out_stay_as_they_are():
  process = _build('II', compressor=compression.build({'random_mask': {'fraction': 0.25}}))
  state, kept = process.initialize(), client_states.build(process)
  for cohort in harness.cohorts(rounds=3):
    stored = enumerate(kept.get(range(3)))
    before = {k: np.concatenate([np.ravel(v) for v in s['method']]) for k, s in stored}
    result = process.run_round(state, cohort, kept)
    state, after = result.state, _kept(result)
    trained = sum(-(-w.size // 4) for w in harness.model().initial_weights[0])
    for client, variate in after.items():
      assert 0 < np.count_nonzero(variate != before[client]) <= trained


def test_its_second_tensor_is_sent_and_counted_as_it_is():
  size = sum(w.size for w in harness.model().initial_weights[0])
  process = _build('II', compressor=compression.build({'quantize': {'bits': 8}}))
  measured = process.run_round(process.initialize(), harness.cohorts(rounds=1)[0]).measured
  column = process.report_columns.index('bytes_up')
  sent = np.asarray(measured['report']['values'])[:, column]
  # Two tensors' ends and a byte per number; 4 bytes per number of the variate; the weight.
  np.testing.assert_array_equal(sent, 2 * 8 + size + 4 * size + 4)
  assert process.bytes_up_per_client == 2 * 4 * size + 4
