"""Paired comparison: finds a difference that is there, and seldom one that is not."""

import numpy as np
import pytest

from fl_research.analysis.comparison import compare, decide
from fl_research.analysis.measures import Measure, parse_measure
from fl_research.analysis.runs import load_runs
from fl_research.registry import UsageError
from tests.analysis.fabricate import write_run

FINAL = Measure('eval/accuracy', 'final')


def write(folder, values, metric='eval/accuracy', **settings):
  for seed, value in enumerate(values):
    write_run(folder / f's{seed}', {metric: [0.1, value]}, seed=seed, **settings)
  return load_runs(folder)


def test_pairs_see_what_means_do_not(tmp_path):
  """Seeds differ by 0.3, methods by 0.01 on every seed: the pairs tell."""
  generator = np.random.default_rng(0)
  base = generator.uniform(0.5, 0.8, 8)
  a = write(tmp_path / 'a', base + 0.01 + generator.normal(0, 0.002, 8), algorithm='scaffold')
  b = write(tmp_path / 'b', base)
  found = compare(a, b, FINAL)
  assert found.winner == 'a'
  assert 0.005 < found.bootstrap.low < found.difference < found.bootstrap.high < 0.015
  assert found.t.low < found.difference < found.t.high
  assert found.settings == {'algorithm': ('scaffold', 'fedavg')}
  assert found.same_data
  assert compare(b, a, FINAL).winner == 'b'
  np.testing.assert_allclose(compare(b, a, FINAL).difference, -found.difference)


def test_lower_wins_for_losses(tmp_path):
  a = write(tmp_path / 'a', [0.5, 0.6, 0.55, 0.52], 'eval/loss')
  b = write(tmp_path / 'b', [0.7, 0.81, 0.76, 0.71], 'eval/loss')
  assert compare(a, b, parse_measure('eval/loss final')).winner == 'a'


@pytest.mark.parametrize('n', [2, 3, 5, 10, 20])
def test_false_winners_are_as_rare_as_promised(n):
  """Two methods that are the same, on average: at most one comparison in twenty names a winner."""
  generator = np.random.default_rng(n)
  trials = 400
  first, second = generator.normal(0.5, 0.05, (2, trials, n))
  winners = sum(decide(differences)[-1] for differences in first - second)
  # 5 % with three standard errors of 400 trials.
  assert winners / trials < 0.05 + 3 * np.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize('n, at_least', [(5, 0.75), (10, 0.98)])
def test_a_clear_difference_is_found(n, at_least):
  """A difference of twice its spread over pairs."""
  samples = np.random.default_rng(n).normal(0.02, 0.01, (100, n))
  decided = np.array([decide(differences)[-1] for differences in samples])
  assert decided.mean() >= at_least
  assert np.all(samples[decided].mean(axis=1) > 0)


def test_all_pairs_equal(tmp_path):
  a = write(tmp_path / 'a', [0.5, 0.6, 0.7])
  found = compare(a, a, FINAL)
  assert (found.winner, found.difference) == ('', 0)


def test_different_data_are_told(tmp_path):
  a = write(tmp_path / 'a', [0.5, 0.6])
  b = write(tmp_path / 'b', [0.5, 0.6], manifest={'passport': {'partition_sha256': 'other'}})
  assert not compare(a, b, FINAL).same_data


def refused(a, b, message):
  with pytest.raises(UsageError) as raised:
    compare(a, b, FINAL)
  assert message in str(raised.value)
  assert '\n' not in str(raised.value)


def test_one_seed_gives_a_difference_and_no_verdict(tmp_path):
  found = compare(write(tmp_path / 'a', [0.75]), write(tmp_path / 'b', [0.5, 0.6]), FINAL)
  assert found.difference == 0.25 and not found.winner
  assert np.isnan([*found.bootstrap, *found.t]).all()


def test_no_seed_in_both(tmp_path):
  one = write(tmp_path / 'a', [0.5])
  other = write_run(tmp_path / 'b', {'eval/accuracy': [0.1, 0.5]}, seed=1)
  refused(one, load_runs(other), 'A has seeds 0, B has 1; a seed must be in both')


def test_tasks_must_agree(tmp_path):
  a, b = write(tmp_path / 'a', [0.5, 0.6]), write(tmp_path / 'b', [0.5, 0.6], task='mnist')
  refused(a, b, 'different tasks (digits, mnist)')


def test_one_setting_on_each_side(tmp_path):
  write(tmp_path / 'both' / 'a', [0.5, 0.6])
  write(tmp_path / 'both' / 'b', [0.5, 0.6], client_learning_rate=1.0)
  both = load_runs(tmp_path / 'both')
  refused(both, both, 'A holds runs that differ in client_learning_rate (0.1, 1.0); choose one')


def test_a_seed_twice(tmp_path):
  write(tmp_path / 'both' / 'a', [0.5, 0.6])
  write(tmp_path / 'both' / 'b', [0.5, 0.6])
  both = load_runs(tmp_path / 'both')
  refused(both, both, 'A has the seed 0 in a/s0 and b/s0')


def test_unfinished_runs(tmp_path):
  a = write(tmp_path / 'a', [0.5, 0.6], manifest={'finished': False})
  refused(a, a, 'A: the run s0 is unfinished, at round 1')


def test_missing_values(tmp_path):
  a = write(tmp_path / 'a', [0.5, 0.6])
  a.metrics.loc[a.metrics['run'] == 's1', 'eval/accuracy'] = np.nan
  refused(a, a, 'A: the run s1 has no value of "eval/accuracy final"')
