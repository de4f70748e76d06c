"""Folders of runs as tables: what is read is what was written."""

import subprocess
import sys
import time

import numpy as np
import pytest

from fl_research.analysis import measures
from fl_research.analysis import runs as runs_lib
from fl_research.registry import UsageError
from tests import slow_machines
from tests.analysis.fabricate import write_run


@pytest.fixture
def folder(tmp_path):
  """Four runs: two learning rates, two seeds, one in a folder of its own."""
  for rate in (0.1, 1.0):
    for seed in (0, 1):
      write_run(
        tmp_path / 'results' / ('deep/er' if seed else '') / f'r{rate}s{seed}',
        {'eval/accuracy': [0.1, None, 0.3 + seed], 'rejected_clients': ['', 'a b', '']},
        client_learning_rate=rate,
        seed=seed,
      )
  (tmp_path / 'results' / 'r0.1s0' / 'checkpoints').mkdir()
  (tmp_path / 'results' / 'notes').mkdir()
  return tmp_path / 'results'


@pytest.mark.parametrize('pattern', ['', '/', '/**', '/*', '/**/'])
def test_all_runs_are_found(folder, pattern):
  runs = runs_lib.load_runs(f'{folder}{pattern}')
  assert list(runs.settings.index) == ['deep/er/r0.1s1', 'deep/er/r1.0s1', 'r0.1s0', 'r1.0s0']
  assert runs.varying() == ['client_learning_rate']


def test_pattern_chooses(folder):
  assert list(runs_lib.load_runs(f'{folder}/r0*').settings.index) == ['r0.1s0']
  assert len(runs_lib.load_runs([f'{folder}/r0*', f'{folder}/deep', f'{folder}/**'])) == 4


def test_values_are_read_exactly(folder):
  value = 0.1 + 0.2
  write_run(folder / 'exact', {'eval/loss': [value, 1e-310, float('inf')]})
  table = runs_lib.load_runs(folder / 'exact').metrics
  assert table['eval/loss'].tolist() == [value, 1e-310, np.inf]


def test_wide_long_and_types(folder):
  runs = runs_lib.load_runs(folder)
  wide = runs.wide()
  assert len(wide) == 12
  assert set(wide.loc[wide['run'] == 'r1.0s0', 'client_learning_rate']) == {1.0}
  long = runs.long()
  assert len(long) == 8
  assert long.columns.tolist() == ['run', 'round', 'metric', 'value']
  assert long[(long['run'] == 'deep/er/r1.0s1') & (long['round'] == 2)]['value'].item() == 1.3
  assert runs.metrics['rejected_clients'].tolist()[1] == 'a b'


def test_counts_are_whole_numbers_and_may_be_missing(tmp_path):
  counts = {'participants': [None, 3, 2], 'bytes_up': [None, 10**12 + 1, 7], 'seconds': [1, 2, 3]}
  write_run(tmp_path / 'new', {**counts, 'rejected': [None, 0, 1]})
  write_run(tmp_path / 'old', {**counts, 'dropped': [None, 0, 1], 'dropped_clients': ['', '', 'c']})
  runs = runs_lib.load_runs(tmp_path)
  table = runs.metrics
  for name in ('participants', 'bytes_up', 'rejected'):
    assert table[name].dtype == 'Int64'
    assert table[name].isna().tolist() == [True, False, False] * 2
  assert table['bytes_up'][1] == 10**12 + 1
  assert table['seconds'].dtype == np.float64
  assert table['rejected_clients'].tolist()[-1] == 'c'
  long = runs.long(['rejected', 'seconds'])
  assert long['value'].dtype == np.float64 and len(long) == 10
  assert measures.last_n_mean(runs, 'participants', 2)['value'].tolist() == [2.5, 2.5]
  assert measures.final(runs, 'bytes_up').tolist() == [7, 7]


def test_runs_with_different_columns_and_flags(folder):
  write_run(folder / 'other', {'train/loss': [None, 2.0]}, fedprox_mu=0.5)
  runs = runs_lib.load_runs(folder)
  other = runs.metrics[runs.metrics['run'] == 'other']
  assert other['train/loss'].tolist()[1] == 2.0
  assert other['eval/accuracy'].isna().all()
  assert runs.varying() == ['client_learning_rate', 'fedprox_mu']
  assert runs.label(['fedprox_mu'])['r0.1s0'] == 'fedprox_mu=-'
  assert runs.metrics['run'].tolist() == sorted(runs.metrics['run'])


def test_line_breaks_in_quotes(folder):
  write_run(folder / 'quoted', {'eval/accuracy': [0.5, 0.6], 'rejected_clients': ['a\nb', 'c']})
  runs = runs_lib.load_runs(folder)
  mine = runs.metrics[runs.metrics['run'] == 'quoted']
  assert mine['eval/accuracy'].tolist() == [0.5, 0.6]
  assert mine['rejected_clients'].tolist() == ['a\nb', 'c']
  assert len(runs.metrics) == 14


@pytest.mark.parametrize('value', [0.1, '0.1', '1e-1', np.float64(0.1)])
def test_select(folder, value):
  chosen = runs_lib.load_runs(folder).select(client_learning_rate=value)
  assert sorted(chosen.settings['seed']) == [0, 1]
  assert set(chosen.metrics['run']) == set(chosen.settings.index)
  text = runs_lib.load_runs(f'{folder}:client_learning_rate={value},seed=1')
  assert list(text.settings['client_learning_rate']) == [0.1]


def test_torn_last_row_is_left_out_and_told(folder):
  path = folder / 'r0.1s0' / 'metrics.csv'
  path.write_text(path.read_text() + '3,0.9')
  runs = runs_lib.load_runs(folder)
  assert runs.facts.loc['r0.1s0', 'last_round'] == 2
  assert runs.notes == (f'{path}: its last row is torn and was left out',)


def test_clients_at_their_last_round(tmp_path):
  rows = [
    [0, 'a', 'eval', 5, 'accuracy', 0.1],
    [3, 'a', 'eval', 5, 'accuracy', 0.7],
    [3, '007', 'eval', 2, 'accuracy', ''],
    [4, 'a', 'train', 9, 'accuracy', 0.9],
  ]
  write_run(tmp_path / 'run', {'eval/accuracy': [0.1]}, clients=rows)
  table = runs_lib.load_runs(tmp_path).clients
  assert table[['client_id', 'phase', 'round']].to_numpy().tolist() == [
    ['a', 'eval', 3],
    ['007', 'eval', 3],
    ['a', 'train', 4],
  ]
  assert np.isnan(table['value'][1])


# What is done to a good folder, and what the line must say.
DAMAGE = {
  'nothing there': (lambda f: f / 'missing', 'missing: there is no such folder'),
  'empty folder': (
    lambda f: _made(f / 'empty'),
    'empty: there are no runs; a run is a folder with',
  ),
  'no hparams': (lambda f: _gone(f / 'r0.1s0/hparams.csv'), 'hparams.csv: missing'),
  'half of hparams': (lambda f: _cut(f / 'r0.1s0/hparams.csv', 40), 'hparams.csv: is not one row'),
  'empty metrics': (lambda f: _cut(f / 'r0.1s0/metrics.csv', 0), 'metrics.csv: has no row yet'),
  'header only': (lambda f: _cut(f / 'r0.1s0/metrics.csv', 36), 'metrics.csv: has no row yet'),
  'half a row': (
    lambda f: _replaced(f / 'r0.1s0/metrics.csv', '1,,a b', '1'),
    'r0.1s0/metrics.csv: row 2 has 1 values for 3 columns (half-written?)',
  ),
  'a word': (
    lambda f: _replaced(f / 'r0.1s0/metrics.csv', '2,0.3', '2,high'),
    "r0.1s0/metrics.csv: row 3, column 2: invalid value 'high'",
  ),
  'no round': (
    lambda f: _replaced(f / 'r0.1s0/metrics.csv', 'round', 'step'),
    'metrics.csv: has no column round',
  ),
  'rounds fall': (
    lambda f: _replaced(f / 'r0.1s0/metrics.csv', '2,0.3', '1,0.3'),
    'r0.1s0/metrics.csv: its rounds are not whole numbers that rise',
  ),
  'manifest torn': (lambda f: _cut(f / 'r0.1s0/manifest.json', 9), 'manifest.json: cannot be read'),
  'no such setting': (lambda f: f'{f}:learning_rate=1', 'learning_rate: none of the runs has such'),
  'no such value': (
    lambda f: f'{f}:client_learning_rate=7',
    '=7: no run has this; there are 0.1, 1',
  ),
  'no such pair': (
    lambda f: f'{f}/deep:client_learning_rate=1,seed=1,algorithm=',
    'algorithm=: no run has this',
  ),
}


def _made(path):
  path.mkdir()
  return path


def _gone(path):
  path.unlink()
  return path.parents[1]


def _cut(path, size):
  path.write_bytes(path.read_bytes()[:size])
  return path.parents[1]


def _replaced(path, old, new):
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  return path.parents[1]


@pytest.mark.parametrize('damage', DAMAGE)
def test_what_cannot_be_understood_is_named(folder, damage):
  change, message = DAMAGE[damage]
  with pytest.raises(UsageError) as raised:
    runs_lib.load_runs(change(folder))
  assert message in str(raised.value)
  assert '\n' not in str(raised.value)


def test_unknown_column_names_the_nearest(folder):
  with pytest.raises(
    UsageError, match=r'eval/acuracy: no column .* \(did you mean eval/accuracy\?'
  ):
    runs_lib.load_runs(folder).long(['eval/acuracy'])


def test_tasks_are_not_mixed(folder):
  write_run(folder / 'mnist', {'eval/accuracy': [0.1]}, task='mnist')
  with pytest.raises(UsageError, match=r'different tasks \(digits, mnist\)'):
    print(runs_lib.load_runs(folder).task)


def test_no_clients_csv(folder):
  with pytest.raises(UsageError, match=r'no run has a clients\.csv; train with --clients_csv'):
    print(runs_lib.load_runs(folder).clients)


def test_clients_csv_without_a_column(folder):
  (folder / 'r0.1s0' / 'clients.csv').write_text('round,client_id,phase,metric,value\n0,a,b,c,1\n')
  with pytest.raises(UsageError, match=r'clients\.csv: has no column num_examples'):
    print(runs_lib.load_runs(folder).clients)


def test_a_thousand_runs_in_seconds(tmp_path):
  """A tenth of what is promised, with room for a slow machine."""
  metrics = {f'eval/metric_{i}': [0.5 + i] * 50 for i in range(20)}
  for number in range(1000):
    write_run(tmp_path / f'run{number}', metrics, seed=number)
  begin = time.process_time()
  runs = runs_lib.load_runs(tmp_path)
  assert time.process_time() - begin < slow_machines.seconds(6)
  assert runs.metrics.shape == (50_000, 22)


def test_tensorflow_is_not_imported():
  program = 'import sys, fl_research.analysis.html_report; print("tensorflow" in sys.modules)'
  result = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, check=True, timeout=60
  )
  assert result.stdout.strip() == 'False'
