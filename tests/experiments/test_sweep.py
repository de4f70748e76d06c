"""Sweeps: which runs, that they end, resume, and what is chosen."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import zipfile

import pandas as pd
import pytest

from experiments import command_line, report, sweep
from fl_research.analysis import load_runs
from fl_research.sweeps import planning
from tests import forked

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAKE = 'tests.experiments.fake_train'
BASE = [
  '--task=digits',
  '--total_rounds=2',
  '--experiment_name=sw',
  '--select=train/accuracy last 2',
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
  monkeypatch.setattr(sweep, 'TRAIN', FAKE)
  return tmp_path


def run(folder, *arguments):
  argv = ['sweep.py', *BASE, f'--output_dir={folder}', '--parallel=2', *arguments]
  return command_line.run(sweep.main, argv)


def summary(folder):
  with open(folder / 'sw' / 'summary.csv', newline='') as file:
    return list(csv.DictReader(file))


def test_grid_of_runs_and_the_best(folder, capsys):
  assert run(folder, '--grid=client_learning_rate=0.1,0.3,1', '--grid=seed=0,1') == 0
  out = capsys.readouterr().out
  names = sorted(path.name for path in (folder / 'sw').iterdir() if path.is_dir())
  cells = [f'client_learning_rate={r},seed={s}' for r in ('0.1', '0.3', '1') for s in (0, 1)]
  assert names == sorted([*cells, 'logs'])
  rows = summary(folder)
  assert [row['run'] for row in rows] == cells
  assert [row['best'] for row in rows] == ['False'] * 2 + ['True'] * 2 + ['False'] * 2
  assert float(rows[2]['value']) == pytest.approx(0.9)
  assert float(rows[2]['cell_mean']) == pytest.approx(0.9005)
  (best,) = [line for line in out.splitlines() if line.startswith('*')]
  assert best.split()[1] == '0.3'
  assert 'Warning' not in out
  machine = json.loads((folder / 'sw' / cells[0] / 'manifest.json').read_text())['machine']
  assert machine['cores'] == max(1, len(os.sched_getaffinity(0)) // 2)


@pytest.mark.parametrize(
  'cells, expected',
  [
    ([{}], 3),
    ([{'total_rounds': '50'}, {'total_rounds': '9'}], 1),
    ([{'total_rounds': '9999'}], 100),
  ],
)
def test_without_a_choice_the_end_of_the_training_loss(cells, expected):
  measure = planning.usual_measure(cells, {'total_rounds': 30})
  assert str(measure) == f'train/loss last {expected}'


def test_finished_runs_are_not_repeated(folder, capsys):
  assert run(folder, '--grid=client_learning_rate=0.1,0.3') == 0
  first = {p: p.stat().st_mtime_ns for p in (folder / 'sw').glob('client*/starts')}
  capsys.readouterr()
  assert run(folder, '--grid=client_learning_rate=0.1,0.3,1') == 0
  out = capsys.readouterr().out
  assert '2 of 3 runs are finished already' in out
  assert {p: p.stat().st_mtime_ns for p in first} == first
  assert len(summary(folder)) == 3


def test_changed_settings_are_refused(folder, capsys):
  assert run(folder, '--grid=client_learning_rate=0.1,0.3') == 0
  assert run(folder, '--grid=client_learning_rate=0.1,0.3', '--clients_per_round=7') == 2
  assert '--clients_per_round=7: the run in' in capsys.readouterr().err


def test_best_at_the_edge_and_one_seed_are_told(folder, capsys):
  assert run(folder, '--grid=client_learning_rate=log10(-3:-1:1)') == 0
  out = capsys.readouterr().out
  assert 'Warning: the best client_learning_rate, 0.1, is the largest that was tried' in out
  assert 'Warning: one seed per cell' in out


def test_grid_is_extended_while_the_best_is_at_its_edge(folder, capsys):
  """0.3 is best: 0.09 and 0.27 go on with 0.01 and 0.03, and 0.81 shows that 0.27 is the best."""
  given = ['--grid=client_learning_rate=0.01,0.03', '--grid=seed=0,1']
  assert run(folder, *given, '--extend_grid=9') == 0
  out = capsys.readouterr().out
  tried = [row['client_learning_rate'] for row in summary(folder) if row['seed'] == '0']
  assert tried == ['0.01', '0.03', '0.09', '0.27', '0.81']
  assert [row['client_learning_rate'] for row in summary(folder) if row['best'] == 'True'] == [
    '0.27'
  ] * 2
  assert 'Extended: --grid=client_learning_rate=0.01,0.03,0.09 --grid=seed=0,1' in out
  assert 'Extended' not in out.rpartition('0.81')[2]


def test_grid_is_extended_to_a_limit_and_not_at_all_unless_told(folder, capsys):
  given = '--grid=client_learning_rate=0.9,0.8,0.7'
  assert run(folder, given) == 0
  assert len(summary(folder)) == 3
  assert run(folder, given, '--extend_grid=1') == 0
  assert [row['client_learning_rate'] for row in summary(folder)] == ['0.6', '0.9', '0.8', '0.7']
  assert 'Warning: the best client_learning_rate, 0.6, is the smallest' in capsys.readouterr().out


def test_extension_that_is_refused_ends_the_sweep_well(folder, capsys):
  """Half an example comes before one and two; fake_train takes no notice: the first is best."""
  given = ['--client_learning_rate=0.3', '--grid=client_batch_size=1,2']
  assert run(folder, *given, '--extend_grid=3') == 0
  out = capsys.readouterr().out
  assert 'The grid cannot be extended further: --client_batch_size=0.5: accepted' in out
  assert len(summary(folder)) == 2


def test_failed_and_diverged_runs_are_passed_over(folder, capsys):
  assert run(folder, '--grid=client_learning_rate=6,9,0.01', '--grid=seed=0,1') == 1
  captured = capsys.readouterr()
  assert 'failed: fake_train.py: something went wrong' in captured.err
  assert '2 of 3 cells lack a value of a run and were passed over' in captured.out
  assert [row['best'] for row in summary(folder)] == ['False'] * 4 + ['True'] * 2


def test_a_diverged_run_is_marked_never_best_and_no_failure(folder, capsys):
  assert run(folder, '--grid=client_learning_rate=0.1,5') == 0
  output = capsys.readouterr().out
  assert 'client_learning_rate=5: diverged' in output
  kept, diverged = summary(folder)
  assert (kept['status'], kept['best']) == ('finished', 'True')
  assert (diverged['status'], diverged['value'], diverged['best']) == ('diverged', '', 'False')


def test_list_and_random(folder, capsys):
  arguments = ['--list=client_learning_rate=0.2 seed=1', '--list=client_learning_rate=0.3']
  assert run(folder, *arguments) == 0
  assert {row['run'] for row in summary(folder)} == {
    'client_learning_rate=0.2,seed=1',
    'client_learning_rate=0.3',
  }
  arguments = ['--random=client_learning_rate=log10(-2:0)', '--samples=3', '--grid=seed=0,1']
  assert run(folder, *arguments) == 0
  first = [row['run'] for row in summary(folder)]
  assert len(set(first)) == 6
  assert run(folder, *arguments) == 0
  assert '6 of 6 runs are finished already' in capsys.readouterr().out


def test_missing_column_stops_the_sweep(folder, capsys):
  assert run(folder, '--grid=client_learning_rate=8,7') == 2
  assert 'train/accuracy: no column of metrics.csv' in capsys.readouterr().err


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_runs_end_with_the_sweep_which_then_continues(folder, number):
  program = (
    'import sys; from experiments import command_line, sweep; '
    f'sweep.TRAIN = {FAKE!r}; command_line.run_main(sweep.main)'
  )
  grid = '--grid=client_learning_rate=0.3,7,0.1,7.0'
  process = subprocess.Popen(
    [sys.executable, '-c', program, *BASE, f'--output_dir={folder}', '--parallel=1', grid],
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  log = folder / 'sw' / 'logs' / 'client_learning_rate=7.log'
  _wait(lambda: log.exists() and log.read_text())
  process.send_signal(number)
  code = process.wait(30)
  _wait(lambda: not pathlib.Path('/proc', log.read_text().strip()).exists())
  assert code == (-number if number == signal.SIGKILL else 128 + number)
  if number != signal.SIGKILL:
    assert [row['status'] for row in summary(folder)][:2] == ['finished', 'waiting']
  assert run(folder, '--grid=client_learning_rate=0.3,0.1') == 0
  assert (folder / 'sw/client_learning_rate=0.1/starts').exists()


def _wait(condition):
  deadline = time.monotonic() + 30
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def test_jobs_are_printed_without_a_cluster(folder, capsys, monkeypatch):
  monkeypatch.setenv('PATH', str(folder))
  assert run(folder, '--grid=seed=0,1', '--launch=slurm') == 0
  captured = capsys.readouterr()
  lines = captured.out.splitlines()
  assert len(lines) == 2
  assert lines[1].startswith('sbatch --job-name=seed=1 --cpus-per-task=1')
  assert '--seed=1' in lines[1] and '--wrap=' in lines[1]
  assert 'sbatch was not found' in captured.err
  assert not (folder / 'sw').exists()


def test_jobs_are_submitted_to_slurm(folder, capfd, monkeypatch):
  sbatch = folder / 'bin' / 'sbatch'
  sbatch.parent.mkdir()
  sbatch.write_text('#!/bin/sh\necho "Submitted $1"\n')
  sbatch.chmod(0o755)
  monkeypatch.setenv('PATH', f'{sbatch.parent}:{os.environ["PATH"]}')
  assert run(folder, '--grid=seed=0,1', '--launch=slurm') == 0
  expected = 'Submitted --job-name=seed=0\nSubmitted --job-name=seed=1\n'
  assert capfd.readouterr().out == expected


def test_help(capsys):
  assert command_line.run(sweep.main, ['sweep.py', '--help=all']) == 0
  out = capsys.readouterr().out
  assert '--allow_test_target' in out and '--client_learning_rate' in out


@pytest.fixture(scope='module')
def real_sweep(tmp_path_factory):
  """The folder of four runs that one process has made, two threads to each kernel."""
  folder = tmp_path_factory.mktemp('real')
  arguments = ['--num_clients=20', '--clients_per_round=2', '--clients_csv', '--tensorboard=false']
  grid = ['--grid=algorithm=fedavg,scaffold', '--grid=seed=3,4', '--parallel=1']
  assert run(folder, '--total_rounds=3', *arguments, *grid) == 0
  return folder


def test_sweep_and_report_of_real_runs(real_sweep, tmp_path):
  rows = summary(real_sweep)
  runs = load_runs(real_sweep)
  assert [(row['status'], row['rounds']) for row in rows] == [('finished', '3')] * 4
  last = runs.metrics[runs.metrics['round'] > 1]
  for row in rows:
    assert float(row['value']) == last['train/accuracy'][last['run'] == row['run']].mean()
  assert runs.facts['finished'].tolist() == [True] * 4
  assert set(runs.clients['phase']) == {'train', 'eval'}
  page = tmp_path / 'page.html'
  argv = ['report.py', str(real_sweep), f'--out={page}', '--measure=eval/accuracy final']
  assert command_line.run(report.main, argv) == 0
  assert page.read_text().count('<svg') == 6


@pytest.mark.parametrize('name', ['algorithm=fedavg,seed=4', 'algorithm=scaffold,seed=3'])
def test_runs_that_share_a_process_are_those_of_processes_of_their_own(real_sweep, tmp_path, name):
  shared = real_sweep / 'sw' / name
  manifest = json.loads((shared / 'manifest.json').read_text())
  assert manifest['runtime']['kernel_threads'] == 2
  _, *flags = manifest['sessions'][0]['command']
  flags = [flag for flag in flags if not flag.startswith('--output_dir')]
  process = forked.Program(forked.run_main, 'experiments.train', *flags, f'--output_dir={tmp_path}')
  assert process.wait(300) == 0
  files = sorted(path.relative_to(shared) for path in shared.rglob('*') if path.is_file())
  assert len(files) >= 12
  assert files == sorted(p.relative_to(tmp_path / name) for p in tmp_path.rglob('*') if p.is_file())
  for file in files:
    assert _lasting(shared / file) == _lasting(tmp_path / name / file), file


def _lasting(path):
  """What a file of a run has but for times, and for the folder and the program that it names."""
  if path.name == 'manifest.json':
    manifest = json.loads(path.read_text().replace(str(path.parents[1]), ''))
    del manifest['sessions'][0]['started']
    del manifest['sessions'][0]['command']
    return manifest
  if path.name == 'hparams.csv':
    return path.read_text().replace(str(path.parents[1]), '')
  if path.name == 'metrics.csv':
    return pd.read_csv(path, dtype=str).drop(columns='seconds').to_csv()
  if path.suffix == '.keras':
    archive = zipfile.ZipFile(path)
    return {n: archive.read(n) for n in archive.namelist() if n != 'metadata.json'}
  return path.read_bytes()


# What is given beside BASE and --output_dir, and what the line must say.
MISTAKES = {
  '': '--grid, --list or --random: at least one must be given',
  '--grid=': '--grid=: accepted is FLAG=VALUES, as in seed=0,1,2',
  '--grid=seed': '--grid=seed: accepted is FLAG=VALUES',
  '--grid=seed=': '--grid=seed=: accepted is FLAG=VALUES',
  '--grid=seed=0,,1': '--grid=seed=0,,1: has an empty value',
  '--grid=seed=0,1,0': '--grid=seed=0,1,0: names a value twice',
  '--grid=client_learning_rate=log10(-2:0)': 'log10(-2:0): accepted is log10(first:last:step)',
  '--grid=client_learning_rate=log10(-2:0:x)': '-2:0:x is not numbers with colons between',
  '--grid=client_learning_rate=log10(-2:0:0)': 'with a step of 0, 0 is never reached',
  '--grid=client_learning_rate=log10(0:-2:1)': 'with a step of 1, -2 is never reached',
  '--grid=client_learning_rate=log10(-2:0:0.5': 'is neither a list nor SCALE(...)',
  '--grid=client_learning_rate=ln(-2:0:1)': 'ln is no scale; accepted are log10, linear, integer',
  '--grid=client_learning_rate=log10(0:999:1)': '0:999:1 is out of range',
  '--grid=seed=linear(0:1e9:1)': 'has 1000000001 values; at most 100000',
  '--grid=seed=linear(0:999:1) --grid=total_rounds=linear(2:999:1)': 'makes 998000 runs',
  '--grid=client_learning_rat=1': 'there is no flag --client_learning_rat; did you mean client_l',
  '--grid=experiment_name=a,b': 'every run gets its own --experiment_name from the sweep',
  '--grid=seed=0,1 --grid=seed=2': '--grid=seed=...: seed is swept twice',
  '--grid=seed=0,x': '--seed=x: accepted is an integer',
  '--grid=client_learning_rate=-1': '--client_learning_rate=-1.0: accepted is a number from 0 on',
  '--grid=algorithm=fedavg,fedavgg': '--algorithm=fedavgg: unknown (did you mean fedavg?)',
  '--list=seed': '--list=seed: accepted is FLAG=VALUES',
  '--list=seed=1;seed=2': '--list=seed=1 seed=2: names seed twice',
  '--list=seed=1 --random=seed=1,2': '--list and --random: at most one of them',
  '--random=client_learning_rate=log10(0:-2)': '0 is above -2',
  '--random=client_learning_rate=log10(0:1:2)': 'accepted is log10(low:high)',
  '--random=seed=1,2 --samples=0': '--samples=0: accepted is an integer of at least 1',
  '--random=seed=1,2 --sweep_seed=-1': '--sweep_seed=-1: accepted is',
  '--grid=seed=0 --parallel=-1': '--parallel=-1: accepted is an integer of at least 0',
  '--grid=seed=0 --extend_grid=-1': '--extend_grid=-1: accepted is an integer of at least 0',
  '--list=seed=1 --extend_grid=1': '--extend_grid=1: there is no --grid that could be extended',
  '--grid=seed=0 --extend_grid=1 --launch=print': '--extend_grid=1: needs results to go by',
  '--grid=seed=0 --launch=k8s': '--launch=k8s: accepted are local, print, slurm, ray',
  '--grid=seed=0 --experiment_name=': '--experiment_name: must be given',
  '--grid=seed=0 --select=train/accuracy': "'train/accuracy': is not a measure",
  '--grid=seed=0 --select=train/loss;last;3': 'the runs have --total_rounds=2 only',
  # The choice never looks at the test set.
  '--grid=seed=0 --select=eval/accuracy;last;2': 'would choose by other than training or held-out',
  '--grid=seed=0 --select=eval/accuracy;final --allow_test_target': 'would choose by other than',
  '--grid=seed=0 --select=eval_clients/accuracy_mean;final': 'would choose by other than',
  '--grid=seed=0 --select=triggered/accuracy;final': 'would choose by other than training',
  '--grid=seed=0 --select=eval/loss;rounds;to;1': 'chooses by the test set; --allow_test_target',
  '--grid=seed=0 --target_metric=eval/loss --target_value=1': 'ends runs by the test set',
  '--grid=seed=0 --select=held_out/loss;final': 'needs --held_out_clients_fraction above 0',
}


@pytest.mark.parametrize('given', MISTAKES)
def test_mistakes_are_one_line_and_nothing_is_run(folder, capsys, given):
  arguments = [argument.replace(';', ' ') for argument in given.split(' ') if argument]
  assert run(folder, *arguments) == 2
  error = capsys.readouterr().err
  assert MISTAKES[given] in error
  assert error.count('\n') == 1
  assert not list(folder.iterdir())


@pytest.mark.parametrize(
  'select',
  ['eval/accuracy rounds to 0.9', 'held_out/loss final', 'held_out_clients/loss_mean last 1'],
)
def test_what_may_choose(folder, capsys, select):
  arguments = [f'--select={select}', '--held_out_clients_fraction=0.1', '--allow_test_target']
  assert run(folder, '--grid=seed=0', '--launch=print', *arguments) == 0
  assert '--held_out_clients_fraction=0.1' in capsys.readouterr().out
