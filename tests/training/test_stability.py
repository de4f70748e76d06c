"""Runs in which training falls apart: said at once, and never ended as if all were well."""

import numpy as np
import pytest

from experiments import command_line, train
from fl_research import settings as settings_lib
from fl_research.training import stability
from tests.training import runs

SETTINGS = settings_lib.Settings(client_learning_rate=0.5)


def test_only_rounds_in_which_every_update_is_lost_count():
  lost = 0
  for finite, expected in (
    ([False, False], 1),
    ([], 1),  # An empty cohort is another matter.
    ([False], 2),
    ([False, True], 0),
    ([False], 1),
  ):
    lost = stability.lost_rounds(lost, np.array(finite, bool))
    assert lost == expected
  assert [bool(stability.reason_to_end(lost, 9)) for lost in (0, 1, 2, 3)] == [False] * 3 + [True]
  assert stability.reason_to_end(3, 9).endswith('since round 7')


@pytest.mark.parametrize(
  'loss, first, complains',
  [
    (2000.0, 2.0, False),
    (2000.1, 2.0, True),
    (np.nan, 2.0, True),
    (np.inf, 2.0, True),
    (5.0, None, False),
    (None, 2.0, False),
    (5.0, np.inf, False),
  ],
)
def test_a_loss_out_of_all_proportion(loss, first, complains):
  line = stability.complaint_of_loss(4, loss, first, SETTINGS)
  if complains:
    assert line.startswith('round 4: the loss is ')
    assert '--client_learning_rate=0.5' in line
  else:
    assert line == ''


def test_lost_updates_are_counted_in_words():
  line = lambda count: stability.complaint_of_updates(4, count, SETTINGS)
  assert line(1).startswith('round 4: the only update was infinite or NaN')
  assert line(2).startswith('round 4: each of the 2 updates was infinite or NaN')


@pytest.fixture(scope='module')
def farms(tmp_path_factory):
  """A label of about 3,000 in its own units, at five clients."""
  rng = np.random.default_rng(0)
  lines = ['farm,rain,yield']
  for farm in range(5):
    for rain in rng.uniform(200, 900, size=20):
      lines.append(f'farm{farm},{rain:.1f},{2000 + 2 * rain + 100 * farm:.0f}')
  path = tmp_path_factory.mktemp('farms') / 'farms.csv'
  path.write_text('\n'.join(lines) + '\n')
  return ('--task=tabular', f'--data_file={path}', '--client_column=farm', '--label_column=yield')


def test_a_run_without_finite_updates_ends_as_diverged(farms, tmp_path, capsys):
  flags = (*farms, '--clients_per_round=5', '--total_rounds=12', '--rounds_per_evaluation=100')
  place = (f'--output_dir={tmp_path}', '--experiment_name=run', '--client_learning_rate=1e3')
  start = lambda: command_line.run(train.main, ['train.py', *flags, *place])
  assert start() == 3
  captured = capsys.readouterr()
  (complaint,) = [line for line in captured.err.splitlines() if 'infinite or NaN' in line]
  begin = int(complaint.split(':')[0].removeprefix('round '))
  assert 'each of the 5 updates' in complaint
  assert 'diverged' in captured.out
  assert 'Warning' not in captured.err
  last = begin + stability.LOST_ROUNDS - 1
  manifest = runs.manifest(tmp_path / 'run')
  assert (manifest['finished'], manifest['diverged'], manifest['rounds']) == (True, True, last)
  assert manifest['stopped'] == f'diverged: no client sent a finite update since round {begin}'
  rows = runs.rows(tmp_path / 'run' / 'metrics.csv')
  assert [row['rejected'] for row in rows[begin:]] == ['5'] * stability.LOST_ROUNDS
  assert rows[-1]['eval/loss']  # The last model is evaluated, though it was not due.
  assert start() == 3
  assert 'has ended (diverged' in capsys.readouterr().out


def test_a_loss_that_explodes_is_told_once_and_changes_nothing(tmp_path, capsys):
  flags = ('--model=softmax', '--client_learning_rate=1e8', '--clients_per_round=6')
  assert runs.start(tmp_path / 'run', *flags) == 0
  lines = [line for line in capsys.readouterr().err.splitlines() if 'the loss is' in line]
  assert len(lines) == 1
  assert lines[0].startswith('round 2: ')  # The first evaluation.
  assert not runs.manifest(tmp_path / 'run')['diverged']
