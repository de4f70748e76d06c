"""FedPer, FedRep, LG-FedAvg, FedBABU and Ditto against their oracles, FedAvg and local training."""

import numpy as np
import pytest

from fl_research import registry
from fl_research.aggregation import compression
from fl_research.algorithms.optimization import fed_avg
from fl_research.algorithms.personal import (
  ditto,
  fed_babu,
  fed_per,
  fed_rep,
  lg_fed_avg,
  local,
  private_layers,
)
from tests import contexts
from tests.algorithms import harness
from tests.oracles import ditto as ditto_oracle
from tests.oracles import two_layers as oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _network():
  return harness.model(name='mlp', hidden_units=5, hidden_layers=1)


def _some_clients(epochs=2):
  """Three rounds, clients 0 and 1 missing in the first two."""
  return [
    [data for data in cohort if int(data['client']) != missing]
    for missing, cohort in enumerate(harness.cohorts(epochs=epochs))
  ]


def _method_states(kept):
  return {k: state['method'] for k, state in kept.items()}


def test_fed_per_equals_oracle():
  rounds = _some_clients()
  process = harness.build(fed_per.build(private_layers='last'), model=_network())
  history, kept = harness.run_with_clients(process, rounds)
  start = _network().initial_weights[0]
  expected, heads = oracle.run('fedper', start, rounds, harness.RATE)
  harness.assert_same(history, expected)
  states = _method_states(kept)
  harness.assert_same([states[k] for k in range(3)], [heads[k] for k in range(3)])


def test_fed_rep_equals_oracle():
  rounds = _some_clients(epochs=1)
  method = fed_rep.build(private_layers='dense_2', head_epochs=3)
  process = harness.build(method, model=_network(), client_weighting='uniform')
  history, kept = harness.run_with_clients(process, rounds)
  start = _network().initial_weights[0]
  expected, heads = oracle.run('fedrep', start, rounds, harness.RATE, head_epochs=3)
  harness.assert_same(history, expected)
  states = _method_states(kept)
  harness.assert_same([states[k] for k in range(3)], [heads[k] for k in range(3)])


def test_steps_of_fed_rep_are_those_of_both_parts():
  method = fed_rep.build(private_layers='dense_2', head_epochs=3)
  process, cohort = harness.build(method, model=_network()), _some_clients(epochs=2)[0]
  report = process.run_round(
    process.initialize(), cohort, harness.client_states.build(process)
  ).measured
  values = np.asarray(report['report']['values'])[:, process.report_columns.index('num_steps')]
  passes = [-(-int(data['num_examples']) // data['batches'].shape[1]) for data in cohort]
  order = np.argsort(np.asarray(report['report']['client']))
  assert values[order].tolist() == [(3 + 2) * steps for steps in passes]


def test_lg_fed_avg_equals_oracle():
  rounds = _some_clients()
  process = harness.build(lg_fed_avg.build(private_layers='all_but_last'), model=_network())
  history, kept = harness.run_with_clients(process, rounds)
  expected, own = oracle.lg_fed_avg(_network().initial_weights[0], rounds, harness.RATE)
  harness.assert_same(history, expected)
  states = _method_states(kept)
  harness.assert_same([states[k] for k in range(3)], [own[k] for k in range(3)])


def test_fed_babu_equals_oracle():
  rounds = _some_clients()
  process = harness.build(fed_babu.build(private_layers='last'), model=_network())
  expected = oracle.fed_babu(_network().initial_weights[0], rounds, harness.RATE)
  harness.assert_same(harness.run(process, rounds), expected)
  assert not process.keeps_client_state


def test_fed_babu_needs_a_body():
  with pytest.raises(registry.UsageError, match='--fedbabu_private_layers=last: all layers of'):
    harness.build(fed_babu.build(private_layers='last'))


def test_only_shared_layers_cross_the_wire():
  process = harness.build(fed_per.build(private_layers='last'), model=_network())
  names = _network().weight_names
  assert [n.split('/')[0] for n in names] == ['dense_1', 'dense_1', 'dense_2', 'dense_2']
  body = sum(w.nbytes for w in _network().initial_weights[0][:2])
  assert process.bytes_up_per_client == body + 4
  assert process.bytes_down_per_client == body + 4


def test_evaluation_joins_the_global_body_and_the_own_head():
  process = harness.build(fed_per.build(private_layers='last'), model=_network())
  weights = [np.full(w.shape, i) for i, w in enumerate(_network().initial_weights[0])]
  joined = process.method.joined(weights[:2], ['kernel', 'bias'])
  assert joined[2:] == ('kernel', 'bias')
  assert not process.method.global_model  # A body with the initial head is no model to show.
  harness.assert_same([joined[:2]], [weights[:2]], 0)


def test_fed_per_without_private_layers_is_fed_avg():
  rounds = harness.cohorts(epochs=2)
  ours = harness.run(harness.build(fed_per.build(private_layers='none'), model=_network()), rounds)
  theirs = harness.run(harness.build(fed_avg.build(), model=_network()), rounds)
  harness.assert_same(ours, theirs, 0)


def test_fed_per_of_all_layers_is_local_training():
  rounds = _some_clients()
  _, kept = harness.run_with_clients(harness.build(fed_per.build(private_layers='last')), rounds)
  _, alone = harness.run_with_clients(harness.build(local.build()), rounds)
  for k in range(3):
    harness.assert_same([kept[k]['method']], [alone[k]['method']], 0)


@pytest.mark.parametrize('value', ['dense_3', 'dense_1,', 'dense', 'dense_1/kernel', ''])
def test_layers_that_do_not_exist_are_refused(value):
  with pytest.raises(registry.UsageError) as error:
    harness.build(fed_rep.build(private_layers=value, head_epochs=1), model=_network())
  line = str(error.value)
  assert line.startswith(f'--fedrep_private_layers={value}: ')
  assert line.endswith(
    'accepted are last, all_but_last, normalization, none, or some of dense_1, dense_2'
  )


def test_a_block_is_named_by_the_beginning_of_its_layers():
  names = ('block_1/conv/kernel', 'block_1/norm/scale', 'block_10/conv/kernel', 'dense/kernel')
  assert private_layers.is_private('f', 'block_1', names) == (True, True, False, False)
  assert private_layers.is_private('f', 'block_1/norm,dense', names) == (False, True, False, True)
  assert private_layers.is_private('f', 'last', names) == (False, False, False, True)
  assert private_layers.is_private('f', 'all_but_last', names) == (True, True, True, False)


@pytest.mark.parametrize('regularization', [0.1, 2.0])
def test_ditto_equals_oracle(regularization):
  rounds = _some_clients()
  process = harness.build(ditto.build(regularization=regularization, personal_epochs=0))
  history, kept = harness.run_with_clients(process, rounds)
  start = harness.model().initial_weights[0]
  expected, personal = ditto_oracle.run(start, rounds, harness.RATE, regularization)
  harness.assert_same(history, expected)
  states = _method_states(kept)
  harness.assert_same([states[k] for k in range(3)], [personal[k] for k in range(3)])


@pytest.mark.parametrize('regularization', [0.0, 1.0])
@pytest.mark.parametrize('personal_epochs', [0, 3])
def test_global_model_of_ditto_is_fed_avg(regularization, personal_epochs):
  rounds = harness.cohorts(epochs=2)
  method = ditto.build(regularization=regularization, personal_epochs=personal_epochs)
  theirs = harness.run(harness.plain(), rounds)
  harness.assert_same(harness.run(harness.build(method), rounds), theirs, 0)


def test_untied_ditto_is_local_training():
  rounds = _some_clients()
  process = harness.build(ditto.build(regularization=0.0, personal_epochs=0))
  _, kept = harness.run_with_clients(process, rounds)
  _, alone = harness.run_with_clients(harness.build(local.build()), rounds)
  for k in range(3):
    harness.assert_same([kept[k]['method']], [alone[k]['method']], 0)


def test_personal_epochs_of_ditto_read_the_batches_again():
  once = harness.cohorts(epochs=1, rounds=1)
  twice = [[dict(d, batches=np.concatenate([d['batches']] * 2)) for d in once[0]]]
  asked = harness.build(ditto.build(regularization=0.5, personal_epochs=2))
  given = harness.build(ditto.build(regularization=0.5, personal_epochs=0))
  _, first = harness.run_with_clients(asked, once)
  _, second = harness.run_with_clients(given, twice)
  for k in range(3):
    harness.assert_same([first[k]['method']], [second[k]['method']], 0)


def test_structured_updates_leave_the_personal_model_of_ditto_alone():
  rounds = harness.cohorts(rounds=1)
  method = ditto.build(regularization=0.5, personal_epochs=0)
  masked = compression.build({'random_mask': {'fraction': 0.25}})
  history, kept = harness.run_with_clients(harness.build(method, compressor=masked), rounds)
  plain_history, plain = harness.run_with_clients(harness.build(method), rounds)
  for k in range(3):
    harness.assert_same([kept[k]['method']], [plain[k]['method']], 0)
  assert any(np.any(a != b) for a, b in zip(history[0], plain_history[0]))
