"""Inequality between clients, by hand."""

import numpy as np
import pytest

from fl_research.analysis import html_report, measures
from fl_research.analysis.inequality import fairness
from fl_research.analysis.runs import load_runs
from fl_research.gini import gini
from fl_research.registry import UsageError
from tests.analysis.fabricate import write_run


@pytest.mark.parametrize(
  'values, expected',
  [
    ([1, 1, 1, 1], 0.0),
    ([0, 0, 0, 8], 0.75),
    ([1, 2, 3, 4], 0.25),
    ([3], 0.0),
    ([], np.nan),
    ([0, 0], 0.0),
    ([-1, 2], np.nan),
  ],
)
def test_gini_by_hand(values, expected):
  np.testing.assert_allclose(gini(np.array(values, float)), expected, atol=1e-12)


def test_gini_is_its_definition():
  x = np.random.default_rng(0).uniform(0, 1, 50)
  expected = np.abs(x[:, None] - x[None, :]).sum() / (2 * 50**2 * x.mean())
  np.testing.assert_allclose(gini(x), expected, rtol=1e-12)


def test_fairness_by_hand(tmp_path):
  accuracy = [0.1 * i for i in range(1, 11)] + [1.0]
  rows = [[5, f'c{i}', 'eval', 4, 'accuracy', v] for i, v in enumerate(accuracy)]
  rows += [[5, f'c{i}', 'eval', 4, 'loss', i] for i in range(11)]
  rows += [[5, 'empty', 'eval', 0, 'accuracy', '']]
  write_run(tmp_path / 'run', {'eval/accuracy': [0.1]}, clients=rows)
  runs = load_runs(tmp_path)
  found = fairness(runs, 'accuracy').loc['run']
  assert found['clients'] == 11
  # A tenth of 11 clients, rounded up, is two.
  np.testing.assert_allclose(found['worst10'], 0.15)
  np.testing.assert_allclose(found['variance'], np.var(accuracy))
  np.testing.assert_allclose(found['gini'], gini(np.array(accuracy)))
  np.testing.assert_allclose(fairness(runs, 'loss').loc['run', 'worst10'], 9.5)
  with pytest.raises(
    UsageError, match=r'eval/f1: not in clients\.csv; there are eval/accuracy, eval/l'
  ):
    fairness(runs, 'f1')


@pytest.mark.parametrize('column', ['personal/accuracy', 'eval_clients/accuracy_mean'])
def test_a_report_by_a_measure_over_clients_shows_the_clients(column, tmp_path):
  rows = [[1, f'c{i}', 'eval', 4, 'accuracy', 0.1 * i] for i in range(3)]
  write_run(tmp_path / 'run', {column: [0.1, 0.2]}, clients=rows)
  runs = load_runs(tmp_path)
  page = html_report.render(runs, measures.choose_measure(f'{column} final', runs))
  assert 'eval/accuracy over clients' in page
