"""Which cell is best, and what is said about it."""

import numpy as np
import pytest

from fl_research.analysis.measures import parse_measure
from fl_research.sweeps import selection

HIGH = parse_measure('train/accuracy last 10')
LOW = parse_measure('train/loss last 10')


def cells(rates, seeds=2):
  return [{'lr': rate, 'seed': str(seed)} for rate in rates for seed in range(seeds)]


def test_mean_over_seeds_decides():
  """The single best run (0.9) is not of the best cell."""
  values = [0.9, 0.1, 0.6, 0.7, 0.5, 0.5]
  choice = selection.choose(cells(['0.1', '1', '10']), values, HIGH)
  np.testing.assert_allclose(choice.cells['mean'], [0.5, 0.65, 0.5])
  np.testing.assert_allclose(choice.cells['sd'], [np.sqrt(0.32), np.sqrt(0.005), 0])
  assert choice.best == 1
  assert choice.cells['best'].tolist() == [False, True, False]
  assert choice.warnings == ()


def test_lower_is_better_for_losses():
  choice = selection.choose(cells(['0.1', '1', '10'], 1), [2.0, 1.0, 3.0], LOW)
  assert choice.best == 1
  assert choice.warnings == (
    'one seed per cell: nothing is known of the spread; sweep seed=0,1,2 as well',
  )


@pytest.mark.parametrize('best, side', [(0, 'smallest'), (2, 'largest')])
def test_edge(best, side):
  # As numbers: 9 is smaller than 10, whatever letters say.
  values = np.repeat(np.where(np.arange(3) == best, 0.9, 0.5), 2)
  (warning,) = selection.choose(cells(['9', '10', '100']), values, HIGH).warnings
  assert f'is the {side} that was tried' in warning


def test_incomplete_cells_cannot_win():
  choice = selection.choose(cells(['1', '2', '3']), [0.99, np.nan, 0.5, 0.6, 0.4, 0.4], HIGH)
  assert choice.best == 1
  assert choice.warnings == ('1 of 3 cells lack a value of a run and were passed over',)


def test_no_cell_is_complete():
  choice = selection.choose(cells(['1', '2']), [np.nan] * 4, HIGH)
  assert choice.best == -1
  assert not choice.cells['best'].any()
  assert choice.warnings == ('no cell has a value from all its runs',)


def test_words_have_no_edge():
  runs = [{'algorithm': a, 'seed': s} for a in ('fedavg', 'scaffold') for s in '01']
  assert selection.choose(runs, [1, 1, 2, 2], parse_measure('held_out/loss final')).warnings == ()


def test_algorithms_are_not_told_apart_by_training_metrics():
  runs = [{'algorithm': a, 'seed': s} for a in ('fedavg', 'scaffold') for s in '01']
  (warning,) = selection.choose(runs, [1, 1, 2, 2], HIGH).warnings
  assert 'train/accuracy is of models while clients train them' in warning
  assert '--select="held_out/accuracy ..." with --held_out_clients_fraction=0.2' in warning
  assert selection.choose(runs[:2], [1, 2], HIGH).warnings == ()
