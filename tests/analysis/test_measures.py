"""One number per run, against curves worked out by hand."""

import numpy as np
import pytest

from fl_research.analysis import measures
from fl_research.analysis.runs import load_runs
from fl_research.registry import UsageError
from tests.analysis.fabricate import write_run

# x, y, target, falls -> where the curve, made monotone and joined by lines, reaches the target.
CURVES = {
  'between two points': ([0, 10, 20], [0.1, 0.5, 0.9], 0.7, False, 15.0),
  'on a point': ([0, 10, 20], [0.1, 0.5, 0.9], 0.5, False, 10.0),
  'at the start': ([0, 10], [0.6, 0.9], 0.5, False, 0.0),
  'never': ([0, 10, 20], [0.1, 0.5, 0.6], 0.7, False, np.nan),
  # Without the running best, the line would go from 0.2 at 10 and cross at 10 + 5/7 * 10.
  'after a dip': ([0, 5, 10, 20], [0.0, 0.5, 0.2, 0.9], 0.7, False, 15.0),
  'a peak counts': ([0, 5, 10], [0.0, 0.8, 0.2], 0.4, False, 2.5),
  'uneven points': ([0, 1, 9], [0.0, 0.4, 0.8], 0.5, False, 3.0),
  'just at the end': ([0, 10], [0.1, 0.5], 0.5, False, 10.0),
  'a loss that falls just so far': ([0, 4], [2.0, 1.5], 1.5, True, 4.0),
  'a loss that falls': ([0, 4, 8], [2.0, 3.0, 1.0], 1.5, True, 6.0),
}


@pytest.mark.parametrize('name', CURVES)
def test_crossing_by_hand(name):
  x, y, target, falls, expected = CURVES[name]
  found = measures.crossing(np.array(x, float), np.array(y), target, falls)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.fixture
def runs(tmp_path):
  """Evaluated every second round; 100 bytes up and 300 down per round; half an hour each."""
  costs = {
    'bytes_up': [None, 100, 100, 100, 100],
    'bytes_down': [None, 300, 300, 300, 300],
    'simulated_hours': [None, 0.5, 1.0, 1.5, 2.0],
  }
  accuracy = {'a': [0.0, None, 0.4, None, 0.8], 'b': [0.1, None, 0.3, None, 0.2]}
  for name, values in accuracy.items():
    write_run(tmp_path / name, {'eval/accuracy': values, **costs}, algorithm=name)
  write_run(tmp_path / 'c', {'eval/accuracy': [None], **{n: [None] for n in costs}}, algorithm='c')
  return load_runs(tmp_path)


def test_rounds_bytes_and_hours_to_target(runs):
  found = measures.rounds_to_target(runs, 'eval/accuracy', 0.5)
  assert found['reached'].tolist() == [True, False, False]
  # From 0.4 at round 2 to 0.8 at round 4: a quarter of the way.
  np.testing.assert_allclose(
    found.loc['a', ['rounds', 'bytes_up', 'bytes_down', 'simulated_hours']].astype(float),
    [2.5, 250, 750, 1.25],
  )
  assert found.loc[['b', 'c'], ['rounds', 'bytes_up', 'simulated_hours']].isna().all(axis=None)
  assert found.loc['b', 'last_evaluated'] == 4


def test_target_of_an_untrained_model_costs_nothing(runs):
  found = measures.rounds_to_target(runs, 'eval/accuracy', 0.0).loc['a']
  assert (found['rounds'], found['bytes_up'], found['simulated_hours']) == (0, 0, 0)


def test_selected_runs_are_measured_alike(runs):
  whole = measures.rounds_to_target(runs, 'eval/accuracy', 0.25)
  part = measures.rounds_to_target(runs.take(['b']), 'eval/accuracy', 0.25)
  np.testing.assert_allclose(part.loc['b', 'rounds'], 1.5)
  assert whole.loc['b', 'rounds'] == part.loc['b', 'rounds']


def test_last_n_mean_by_hand(tmp_path):
  values = [None, 0.1, 0.2, 0.3, 0.4]
  write_run(tmp_path / 'full', {'train/accuracy': values, 'eval/accuracy': [0, None, 1, None, 3]})
  runs = load_runs(tmp_path)
  found = measures.last_n_mean(runs, 'train/accuracy', 3).loc['full']
  np.testing.assert_allclose(found['value'], 0.3)
  assert (found['rounds'], found['measured']) == (3, 3)
  found = measures.last_n_mean(runs, 'eval/accuracy', 3).loc['full']
  assert (found['value'], found['rounds'], found['measured']) == (2.0, 3, 2)
  assert measures.last_n_mean(runs, 'eval/accuracy', 1).loc['full', 'value'] == 3.0


def test_last_n_mean_never_counts_the_untrained_model(tmp_path):
  write_run(tmp_path / 'run', {'eval/accuracy': [0.0, 0.6, 0.8]})
  write_run(tmp_path / 'untrained', {'eval/accuracy': [0.4]})
  found = measures.last_n_mean(load_runs(tmp_path), 'eval/accuracy', 100)
  np.testing.assert_allclose(found.loc['run', 'value'], 0.7)
  assert found.loc['run', 'rounds'] == 2
  assert np.isnan(found.loc['untrained', 'value'])
  assert found.loc['untrained', ['rounds', 'measured']].tolist() == [0, 0]


@pytest.mark.parametrize(
  'text, expected, falls',
  [
    ('train/accuracy last 100', measures.Measure('train/accuracy', 'last', 100), False),
    ('train/accuracy last 1', measures.Measure('train/accuracy', 'last', 1), False),
    ('eval/loss final', measures.Measure('eval/loss', 'final'), True),
    ('eval/accuracy rounds to 0.97', measures.Measure('eval/accuracy', 'rounds to', 0.97), True),
    ('eval/accuracy hours to 0.97', measures.Measure('eval/accuracy', 'hours to', 0.97), True),
    (
      'eval_clients/loss_worst10 last 5',
      measures.Measure('eval_clients/loss_worst10', 'last', 5),
      True,
    ),
    ('eval_clients/accuracy_sd final', measures.Measure('eval_clients/accuracy_sd', 'final'), True),
    ('bytes_up final', measures.Measure('bytes_up', 'final'), True),
  ],
)
def test_measures_as_text(text, expected, falls):
  parsed = measures.parse_measure(text)
  assert parsed == expected
  assert measures.parse_measure(str(parsed)) == parsed
  assert parsed.falls == falls


@pytest.mark.parametrize(
  'text',
  ['', 'eval/accuracy', 'eval/accuracy best', 'last 100', 'eval/accuracy last', 'a/b last x',
   'a/b last 0', 'a/b last -3', 'a/b last 2.5', 'a/b rounds to', 'a/b rounds to nan', 'a/b hours',
   'a/b days to 1'],
)  # fmt: skip
def test_what_is_no_measure(text):
  with pytest.raises(UsageError, match='accepted are "COLUMN last N", "COLUMN final"'):
    measures.parse_measure(text)


def test_measure_of_runs(runs):
  value = lambda text: measures.parse_measure(text).of(runs).to_numpy()
  np.testing.assert_allclose(value('eval/accuracy final'), [0.8, 0.2, np.nan])
  np.testing.assert_allclose(value('eval/accuracy last 4'), [0.6, 0.25, np.nan])
  np.testing.assert_allclose(value('eval/accuracy rounds to 0.5'), [2.5, np.nan, np.nan])
  np.testing.assert_allclose(value('eval/accuracy hours to 0.5'), [1.25, np.nan, np.nan])
  for form in ('final', 'last 2', 'rounds to 0.5'):
    with pytest.raises(UsageError, match=r'eval/f1: no column of metrics\.csv'):
      value(f'eval/f1 {form}')


def test_no_more_rounds_are_looked_at_than_the_runs_have(tmp_path):
  assert [measures.window(rounds) for rounds in (3, 10, 109, 110, 9999)] == [1, 1, 10, 11, 100]
  write_run(tmp_path / 'a', {'eval/accuracy': [0.1, 0.6, 0.2]})
  write_run(tmp_path / 'b', {'eval/accuracy': [0.1, 0.6, 0.2, 0.3]})
  runs = load_runs(tmp_path)
  assert measures.choose_measure('eval/accuracy last 2', runs).number == 2
  with pytest.raises(UsageError, match='the runs have 2 rounds only'):
    measures.choose_measure('eval/accuracy last 3', runs)


def test_a_diverged_run_has_no_result_but_a_target_reached_before(tmp_path):
  curves = {'eval/accuracy': [0.1, 0.6, 0.2]}
  write_run(tmp_path / 'a', curves, manifest={'diverged': True})
  write_run(tmp_path / 'b', curves)
  found = load_runs(tmp_path)
  for text in ('eval/accuracy final', 'eval/accuracy last 2'):
    values = measures.parse_measure(text).of(found)
    assert np.isnan(values['a'])
    assert not np.isnan(values['b'])
  assert measures.parse_measure('eval/accuracy rounds to 0.6').of(found).tolist() == [1.0, 1.0]


def test_runs_of_personal_models_are_measured_by_them(tmp_path):
  own = {'personal/accuracy': [0.1, 0.9], 'eval_clients/accuracy_mean': [0.1, 0.8]}
  write_run(tmp_path / 'own' / 'a', {'eval/accuracy': [0.1, 0.3], **own}, algorithm='fedper')
  usual = lambda: str(measures.choose_measure('', load_runs(tmp_path / '*')))
  assert usual() == 'personal/accuracy last 1'
  # Beside a run that has no such models: what both have, and means the same for both.
  shared = {'eval/accuracy': [0.1, 0.7], 'eval_clients/accuracy_mean': [0.1, 0.6]}
  write_run(tmp_path / 'shared' / 'b', shared)
  assert usual() == 'eval_clients/accuracy_mean last 1'
  write_run(tmp_path / 'central' / 'c', {'eval/accuracy': [0.1, 0.7]})
  assert usual() == 'eval/accuracy last 1'
