"""Figures show the numbers, and tell cells apart without colour."""

from matplotlib import colors
import numpy as np
import pytest

from fl_research.analysis import intervals, plots
from fl_research.analysis.measures import Measure
from fl_research.analysis.runs import load_runs
from fl_research.registry import UsageError
from tests.analysis.fabricate import write_run


@pytest.fixture
def runs(tmp_path):
  for algorithm, level in (('fedavg', 0.0), ('scaffold', 0.1)):
    for seed in (0, 1, 2):
      accuracy = [0.1, None, 0.4 + level + seed / 50, None, 0.7 + level + seed / 50]
      clients = [[4, f'c{i}', 'eval', 3, 'accuracy', i / 10 + level] for i in range(9)]
      up = 100 if algorithm == 'fedavg' else 200
      metrics = {'eval/accuracy': accuracy, 'bytes_up': [None, *[up] * 4]}
      write_run(tmp_path / f'{algorithm}{seed}', metrics, clients, algorithm=algorithm, seed=seed)
  return load_runs(tmp_path)


def new_axes():
  return plots.new_figure()[1]


def test_curves_are_means_with_bands(runs):
  axes = plots.plot_curves(runs, 'eval/accuracy', axes=new_axes())
  first, second = axes.get_lines()
  np.testing.assert_allclose(first.get_xydata(), [[0, 0.1], [2, 0.42], [4, 0.72]])
  np.testing.assert_allclose(second.get_ydata(), [0.1, 0.52, 0.82])
  band = axes.collections[0].get_paths()[0].vertices
  low, high = intervals.t_interval(np.array([0.7, 0.72, 0.74]))
  np.testing.assert_allclose([band[:, 1].min() < low + 0.3, band[:, 1].max()], [True, high])
  labels = [text.get_text() for text in axes.get_legend().get_texts()]
  assert labels == ['algorithm=fedavg', 'algorithm=scaffold']


def test_one_seed_has_a_line_and_no_band(runs):
  axes = plots.plot_curves(
    runs.select(seed=0, algorithm='fedavg'), 'eval/accuracy', axes=new_axes()
  )
  assert len(axes.get_lines()) == 1
  assert not any(len(path.vertices) for c in axes.collections for path in c.get_paths())


def test_cells_differ_in_more_than_colour(runs):
  first, second = plots.plot_curves(runs, 'eval/accuracy', axes=new_axes()).get_lines()
  assert first.get_color() != second.get_color()
  assert first.get_linestyle() != second.get_linestyle()
  assert first.get_marker() != second.get_marker()


def test_colours_differ_in_lightness_for_those_who_see_no_hue():
  """Seen by a red-blind reader (Viénot et al. 1999), no two of the first four are alike."""
  simulate = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
  seen = [simulate @ (np.array(colors.to_rgb(color)) ** 2.2) for color in plots.COLORS[:4]]
  distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
  assert min(distances) > 0.1


def test_rounds_to_target_with_censored_runs(runs):
  axes = plots.plot_rounds_to_target(runs, 'eval/accuracy', 0.73, axes=new_axes())
  triangles = [line for line in axes.get_lines() if line.get_marker() == '>']
  # Seeds 0 and 1 of fedavg stay below 0.73; drawn at their last evaluation.
  assert triangles[0].get_xydata().tolist() == [[4, 0], [4, 0]]
  assert not len(triangles[1].get_xydata())
  medians = [line for line in axes.get_lines() if line.get_marker() == 'None']
  # Fedavg has none. From 0.52 to 0.82 in two rounds, seed 1 of scaffold crosses at 2 + 2 * .21/.3.
  assert len(medians) == 1
  np.testing.assert_allclose(medians[0].get_xdata(), 3.4)


def test_clients_as_shares(runs):
  axes = plots.plot_clients(runs, 'accuracy', axes=new_axes())
  x, y = axes.get_lines()[0].get_data()
  assert len(x) == 27
  np.testing.assert_allclose(y[np.searchsorted(x, 0.35) - 1], 12 / 27)
  with pytest.raises(UsageError, match=r'eval/f1: not in clients\.csv'):
    plots.plot_clients(runs, 'f1', axes=new_axes())


def test_tradeoff(runs):
  axes = plots.plot_tradeoff(runs, Measure('eval/accuracy', 'final'), axes=new_axes())
  points = [container.lines[0].get_xydata()[0] for container in axes.containers]
  np.testing.assert_allclose(points, [[400, 0.72], [800, 0.82]])
  assert axes.get_xscale() == 'log'
  assert len(axes.get_lines()[-1].get_xydata()) == 2


@pytest.mark.parametrize(
  'points, falls, front',
  [
    ([(1, 1), (2, 3), (3, 2)], False, [(1, 1), (2, 3)]),
    ([(1, 1), (2, 3), (3, 0)], True, [(1, 1), (3, 0)]),
    ([(1, 1), (1, 2)], False, [(1, 2)]),
    ([(1, np.nan), (2, 1)], False, [(2, 1)]),
  ],
)
def test_front(points, falls, front):
  assert plots._front(points, falls) == front


def test_too_many_cells(tmp_path):
  for number in range(9):
    write_run(tmp_path / str(number), {'eval/loss': [1.0]}, client_learning_rate=number)
  with pytest.raises(UsageError, match='9 cells are too many for one figure, which can show 8'):
    plots.plot_curves(load_runs(tmp_path), 'eval/loss', axes=new_axes())


def test_bands_of_shares_stay_between_0_and_1(tmp_path):
  for seed, accuracy in enumerate((0.2, 0.9)):
    write_run(tmp_path / str(seed), {'eval/accuracy': [0.1, accuracy]}, seed=seed)
  axes = plots.plot_curves(load_runs(tmp_path), 'eval/accuracy', axes=new_axes())
  band = axes.collections[0].get_paths()[0].vertices[:, 1]
  assert band.min() == 0.0 and band.max() == 1.0


@pytest.mark.parametrize('worst', [1e20, np.inf])
def test_a_run_that_diverged_leaves_the_axis_and_not_the_others_flat(tmp_path, worst):
  for rate, end in ((0.1, 0.5), (0.3, 0.4), (9.0, worst)):
    write_run(tmp_path / str(rate), {'eval/loss': [2.3, 1.0, end]}, client_learning_rate=rate)
  axes = plots.plot_curves(load_runs(tmp_path), 'eval/loss', axes=new_axes())
  assert axes.get_ylim()[1] == pytest.approx(2.53)
  assert [text.get_text() for text in axes.texts] == ['1 of 3 runs above the axis']


def test_runs_of_different_heights_are_all_shown(tmp_path):
  for rate, end in ((0.1, 0.5), (0.3, 40.0)):
    write_run(tmp_path / str(rate), {'eval/loss': [2.3, end]}, client_learning_rate=rate)
  axes = plots.plot_curves(load_runs(tmp_path), 'eval/loss', axes=new_axes())
  assert axes.get_ylim()[1] > 40 and not axes.texts
