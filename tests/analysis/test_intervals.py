"""Intervals against scipy's, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from fl_research.analysis import intervals
from fl_research.analysis.runs import load_runs
from fl_research.analysis.summaries import summarise
from tests.analysis.fabricate import write_run


@pytest.mark.parametrize('n', [2, 3, 10])
@pytest.mark.parametrize('confidence', [0.8, 0.95])
def test_t_interval_is_scipys(n, confidence):
  values = np.random.default_rng(n).normal(5, 2, n)
  expected = stats.t.interval(confidence, n - 1, values.mean(), stats.sem(values))
  np.testing.assert_allclose(intervals.t_interval(values, confidence), expected, rtol=1e-12)


@pytest.mark.parametrize('n', [8, 20])
def test_bootstrap_interval_is_scipys_at_the_expanded_level(n):
  values = np.random.default_rng(n).exponential(1, n)
  level = 1 - 2 * intervals.expanded_tail(n, 0.9)
  assert level > 0.9
  expected = stats.bootstrap(
    (values,), np.mean, confidence_level=level, method='percentile', n_resamples=50_000,
    random_state=1,
  ).confidence_interval  # fmt: skip
  np.testing.assert_allclose(intervals.bootstrap_interval(values, 0.9), expected, atol=0.02)


def test_expanded_tail_by_hand():
  # t(4) at 97.5 % is 2.776445; times sqrt(5/4) is 3.104160; its normal tail is 0.000954.
  np.testing.assert_allclose(intervals.expanded_tail(5, 0.95), 0.000954, atol=1e-6)
  np.testing.assert_allclose(intervals.expanded_tail(10**6, 0.95), 0.025, atol=1e-5)


def test_bootstrap_is_fixed_by_its_seed():
  values = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 22.0])
  assert intervals.bootstrap_interval(values, seed=3) == intervals.bootstrap_interval(
    values, seed=3
  )
  assert intervals.bootstrap_interval(values, seed=3) != intervals.bootstrap_interval(
    values, seed=4
  )


@pytest.mark.parametrize('method', intervals.METHODS)
def test_coverage(method):
  """Nine of ten 90 % intervals of ten normal numbers hold the mean."""
  generator = np.random.default_rng(0)
  held = sum(
    not intervals.interval(generator.normal(3, 1, 10), method, 0.9).excludes(3) for _ in range(600)
  )
  assert 0.86 < held / 600 < 0.94


@pytest.mark.parametrize('method', intervals.METHODS)
def test_one_number_has_no_interval(method):
  interval = intervals.interval(np.array([5.0]), method)
  assert np.isnan(interval).all()
  assert not interval.excludes(0)


def test_two_numbers_have_one():
  two = np.array([1.0, 3.0])
  by_t, by_resampling = (intervals.interval(two, method) for method in intervals.METHODS)
  assert by_t == intervals.t_interval(two) != by_resampling
  assert by_resampling == intervals.bootstrap_interval(two, seed=0) == (1.0, 3.0)


def test_the_default_seed_is_0():
  values = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 16.0, 22.0])
  expected = intervals.bootstrap_interval(values, seed=0)
  assert intervals.bootstrap_interval(values) == expected
  assert intervals.interval(values, 'bootstrap') == expected


def test_the_ends_belong_to_an_interval():
  interval = intervals.Interval(1.0, 2.0)
  assert [interval.excludes(value) for value in (0.9, 1.0, 2.0, 2.1)] == [True, False, False, True]


def test_unknown_method():
  with pytest.raises(ValueError, match='normal: unknown; there are t, bootstrap'):
    intervals.interval(np.ones(3), 'normal')


@pytest.mark.parametrize('method', intervals.METHODS)
def test_summarise(tmp_path, method):
  values = {
    ('a', 0): 1.0,
    ('a', 1): 2.0,
    ('a', 2): 6.0,
    ('b', 0): 4.0,
    ('c', 0): 1.0,
    ('c', 1): None,
  }
  for (algorithm, seed), value in values.items():
    write_run(
      tmp_path / f'{algorithm}{seed}', {'eval/loss': [value]}, algorithm=algorithm, seed=seed
    )
  runs = load_runs(tmp_path)
  numbers = runs.metrics.set_index('run')['eval/loss'].set_axis(runs.settings.index)
  table = summarise(runs, numbers, method=method)
  assert table.index.tolist() == ['algorithm=a', 'algorithm=b', 'algorithm=c']
  a = table.loc['algorithm=a']
  np.testing.assert_allclose([a['mean'], a['sd'], a['median']], [3, np.sqrt(7), 2])
  np.testing.assert_allclose(
    [a['low'], a['high']], intervals.interval(np.array([1.0, 2.0, 6.0]), method)
  )
  assert table.loc['algorithm=b', 'mean'] == 4
  assert np.isnan(table.loc['algorithm=b', 'low'])
  assert np.isnan(table.loc['algorithm=c', 'mean'])
  assert table['missing'].tolist() == [0, 0, 1]
