"""Runs whose cohorts depend on what clients report."""

import itertools

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research.algorithms.optimization import fed_avg
from fl_research.population import choosers
from fl_research.round import split
from fl_research.round.parts import Parts
from fl_research.training import choosing
from tests import contexts
from tests.algorithms import harness
from tests.training import runs

SOFTMAX = ('--model=softmax', '--num_clients=20', '--clients_per_round=4', '--device_spread=1')
RULES = {
  'power_of_choice': ('--power_of_choice_loss=batch', '--client_batch_size=10'),
  'oort': ('--oort_pacer_rounds=1', '--oort_exploration=0.5', '--over_selection=1.5'),
  'optimal': ('--optimal_candidates=9', '--dropout_probability=0.2'),
}


def start(folder, sampling, *flags):
  return runs.start(folder, *SOFTMAX, f'--cohort_sampling={sampling}', *flags)


def metrics(folder):
  return runs.rows(folder / 'metrics.csv')[1:]


@pytest.mark.parametrize('name', RULES)
def test_a_resumed_run_is_the_uninterrupted_one(name, tmp_path):
  # Without the scores, or the rule's own memory, in the checkpoint, later cohorts would differ.
  assert start(tmp_path / 'whole', name, *RULES[name]) == 0
  assert start(tmp_path / 'run', name, *RULES[name], '--total_rounds=4') == 0
  assert start(tmp_path / 'run', name, *RULES[name]) == 0
  runs.assert_same_results(tmp_path / 'run', tmp_path / 'whole')


def test_with_as_many_candidates_as_are_wanted_they_are_the_plain_samplings(tmp_path):
  for name, plain in (('power_of_choice', 'by_size'), ('optimal', 'uniform')):
    assert start(tmp_path / name, name, f'--{name}_candidates=4') == 0
    assert start(tmp_path / plain, plain) == 0
    of = [metrics(tmp_path / n) for n in (name, plain)]
    for a, b in zip(*of, strict=True):
      assert {c: a[c] for c in b if c.startswith(('train/', 'eval/'))} == {
        c: b[c] for c in b if c.startswith(('train/', 'eval/'))
      }


def test_what_asking_costs_is_counted(tmp_path):
  flags = ('--power_of_choice_candidates=10', '--device_spread=0')
  assert start(tmp_path / 'run', 'power_of_choice', *flags) == 0
  assert start(tmp_path / 'last', 'power_of_choice', *flags, '--power_of_choice_loss=last') == 0
  asked, last = metrics(tmp_path / 'run')[0], metrics(tmp_path / 'last')[0]
  number = lambda row, column: float(row[column])
  model = number(last, 'bytes_down') / 4
  assert number(asked, 'bytes_down') == 10 * model
  assert number(asked, 'bytes_up') == number(last, 'bytes_up') + 40
  assert (number(asked, 'sampling/asked'), number(last, 'sampling/asked')) == (10, 0)
  # Longer by an evaluation and its answer, not by a second download.
  extra = 3600 * (number(asked, 'simulated_hours') - number(last, 'simulated_hours'))
  examples = number(asked, 'cohort_examples') / 4
  assert extra == pytest.approx(0.001 * examples / 3 + 4 / 250_000, rel=0.05)


def test_optimal_sampling_saves_uploads_only(tmp_path):
  flags = ('--optimal_candidates=12', '--total_rounds=20', '--rounds_per_evaluation=20')
  assert start(tmp_path / 'run', 'optimal', *flags) == 0
  table = metrics(tmp_path / 'run')
  sent = np.array([int(row['participants']) for row in table])
  assert {int(row['cohort_size']) for row in table} == {12}
  assert abs(sent.mean() - 4) < 5 * np.sqrt(4 / len(sent)) and len(set(sent)) > 2
  model = float(table[0]['bytes_up_uncompressed']) / sent[0]
  for row, count in zip(table, sent):
    assert float(row['bytes_up']) == count * model + 4 * 12
    assert float(row['bytes_down']) == 12 * model + 4 * 12


def test_the_mean_of_what_is_sent_is_the_mean_of_all():
  """Over all cohorts that can come about, each as likely as it is."""
  with contexts.fused(2):
    sgdm = tff.learning.optimizers.build_sgdm
    process = split.build_process(
      Parts(
        method=fed_avg.build(),
        model=harness.model(),
        client_optimizer=sgdm(harness.RATE),
        server_optimizer=sgdm(1.0),
        population_size=3,
      )
    )
    [cohort] = harness.cohorts(rounds=1)
    state = process.initialize()
    sent = [each.result for each in process.run_work(state, cohort)]
    weights = np.array([float(each['weight']) for each in sent])
    lengths = weights * [
      np.sqrt(sum((np.asarray(t) ** 2).sum() for t in e['message'])) for e in sent
    ]
    probability = choosers.build('optimal', {}).probabilities(lengths, 2)
    assert probability.min() < 0.9 and probability.sum() == pytest.approx(2)
    mean = [np.zeros_like(w, np.float64) for w in process.model_weights(state)]
    for sends in map(np.array, itertools.product([False, True], repeat=3)):
      own = choosing.factors(weights, probability, sends)
      chosen = [each for each, does in zip(sent, sends) if does]
      after = process.model_weights(process.run_apply(state, chosen, own).state)
      likely = np.prod(np.where(sends, probability, 1 - probability))
      mean = [m + likely * w for m, w in zip(mean, after)]
    [expected] = harness.run(harness.plain(), [cohort])
  harness.assert_same([mean], [expected], 1e-6)


def test_power_of_choice_reaches_a_loss_sooner_on_clients_of_one_or_two_digits(tmp_path):
  flags = ('--clients_per_round=2', '--total_rounds=10', '--rounds_per_evaluation=10')
  flags = (*flags, '--client_learning_rate=0.02', '--client_weighting=uniform')
  losses = {}
  for name, more in (('uniform', ()), ('power_of_choice', ('--power_of_choice_candidates=6',))):
    assert start(tmp_path / name, name, *flags, *more) == 0
    losses[name] = float(metrics(tmp_path / name)[-1]['eval/loss'])
  assert losses['power_of_choice'] < losses['uniform']


@pytest.mark.parametrize(
  'flags, message',
  [
    (('optimal', '--algorithm=scaffold'), '--cohort_sampling=optimal: not with --algorithm=scaff'),
    (('optimal', '--algorithm=fedexp'), '--cohort_sampling=optimal: not with --algorithm=fedexp'),
    (('power_of_choice', '--algorithm=ditto'), '--cohort_sampling=power_of_choice: not with --alg'),
    (('power_of_choice', '--algorithm=local'), 'accepted are --power_of_choice_loss=last and --co'),
    (('power_of_choice', '--power_of_choice_candidates=3'), '--power_of_choice_candidates=3: acc'),
    (('oort', '--power_of_choice_loss=last'), '--power_of_choice_loss=last: not read'),
  ],
)
def test_refusals(flags, message, tmp_path, capsys):
  assert start(tmp_path / 'run', *flags) == 2
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert message in error
  assert not (tmp_path / 'run' / 'metrics.csv').exists()
