"""`experiments.analyze`: its files, its help, and what it refuses in one line."""

import json
import re

import pandas as pd
import pytest

from experiments import analyze, command_line, evaluate, help_pages
from fl_research import analytics
from fl_research.analytics import settings as analysis_settings

FLAGS = ('--analysis=kmeans', '--task=digits', '--num_clients=9')

BAD = {
  '': '--analysis: must be given; accepted are ',
  '--analysis=kmean': '--analysis=kmean: unknown (did you mean kmeans?); accepted are ',
  '--analysis=kmeans': '--task: must be given, or --data_file for your own data',
  '--task=digits --analysis=kmeans --kmeans_clusters=0': '--kmeans_clusters=0: accepted is an int',
  '--task=digits --analysis=kmeans --kmeans_cluster=2': 'did you mean --kmeans_clusters?',
  '--task=digits --analysis=kmeans --kfed_clusters=2': '--kfed_clusters=2: not read by this run (-',
  '--task=digits --analysis=kmeans --algorithm=fedprox': 'experiments.train has --algorithm',
  '--task=digits --analysis=kmeans --runtime=federation': 'accepted is auto or fused or native or',
  '--task=digits --analysis=kmeans --cohort_sampling=oort': '--cohort_sampling=oort: not with --an',
  '--task=digits --analysis=kmeans --dp_noise_multiplier=1': 'not with --analysis=kmeans, which su',
  '--task=digits --analysis=kmeans --secure_sum_bound=1': '--secure_sum_bound=1.0: only read with ',
  '--task=digits --analysis=kmeans --clients_per_round=101': 'accepted is 1 to 100',
  '--task=digits --analysis=kmeans --kmeans_clusters=9999': 'the clients have 1437 examples in',
  '--task=digits --analysis=kfed --total_rounds=2': '--total_rounds=2: not with --analysis=kfed, ',
  '--task=digits --analysis=kfed --secure_aggregation=clear': 'not with --analysis=kfed, which ne',
  '--task=synthetic --analysis=kfed --kfed_clusters=99': '--kfed_clusters=99: the clients send 60',
}


def start(folder, *flags):
  """Runs, or resumes, an analysis; gives the exit code."""
  place = (f'--output_dir={folder.parent}', f'--experiment_name={folder.name}')
  return command_line.run(analyze.main, ['analyze.py', *flags, *place])


@pytest.mark.parametrize('flags', BAD)
def test_refuses_in_one_line_and_writes_nothing(flags, tmp_path, capsys):
  assert start(tmp_path / 'run', *flags.split()) == 2
  out, err = capsys.readouterr()
  err = '\n'.join(line for line in err.splitlines() if not line.startswith('WARNING'))
  assert out == '' and err.count('\n') == 0 and BAD[flags] in err
  assert not (tmp_path / 'run').exists()


def test_a_run_and_its_files(tmp_path, capsys):
  folder = tmp_path / 'run'
  assert start(folder, *FLAGS, '--clients_per_round=4', '--total_rounds=2') == 0
  assert 'train_set/inertia' in capsys.readouterr().out
  assert start(folder, *FLAGS, '--clients_per_round=4', '--total_rounds=2') == 0
  assert 'is finished; nothing to do' in capsys.readouterr().out
  # Longer, as a run of training may be made.
  assert start(folder, *FLAGS, '--clients_per_round=4', '--total_rounds=4') == 0
  assert 'resuming after round 2' in capsys.readouterr().err
  metrics = pd.read_csv(folder / 'metrics.csv')
  assert metrics['round'].tolist() == [0, 1, 2, 3, 4]
  inertia = metrics['train_set/inertia'].tolist()
  assert inertia == sorted(inertia, reverse=True) and inertia[-1] < 3.0
  assert metrics['eval/purity'].iloc[-1] > 0.6
  centres = pd.read_csv(folder / 'kmeans.csv')
  assert centres.shape == (10, 66) and centres['cluster'].tolist() == list(range(10))
  hparams = pd.read_csv(folder / 'hparams.csv').iloc[0]
  assert hparams['analysis'] == 'kmeans' and hparams['kmeans_clusters'] == 10
  assert hparams['clients_per_round'] == 4 and 'algorithm' not in hparams
  manifest = json.loads((folder / 'manifest.json').read_text())
  assert manifest['finished'] and len(manifest['sessions']) == 2
  # Another analysis, or none of the kind, is not resumed.
  assert start(folder, *FLAGS, '--clients_per_round=5', '--total_rounds=4') == 2
  assert '--clients_per_round=5: the run in ' in capsys.readouterr().err


def test_it_has_no_model_to_evaluate(tmp_path, capsys):
  flags = ('--analysis=histogram', '--task=digits', '--num_clients=9')
  assert start(tmp_path / 'run', *flags) == 0
  capsys.readouterr()
  assert command_line.run(evaluate.main, ['evaluate.py', f'--run={tmp_path / "run"}']) == 2
  assert 'has no final model, as it trained none' in capsys.readouterr().err


def helped(capsys, argument):
  assert command_line.run(analyze.main, ['analyze.py', argument]) == 0
  out = capsys.readouterr().out
  assert all(len(line) <= 100 for line in out.splitlines()), argument
  return out


def test_help_is_short_and_teaches(capsys):
  out = helped(capsys, '--help')
  assert len(out.splitlines()) < 60
  assert all(re.search(rf'^  {name}: ', out, re.MULTILINE) for name in analytics.ANALYSES)


def test_help_of_everything_and_of_each(capsys):
  out = helped(capsys, f'--help={help_pages.ALL}')
  flags = [
    'analysis',
    'column',
    *analysis_settings.SHARED,
    *analysis_settings.own_flags(),
    'partition_alpha',
  ]
  assert all(f'\n  --{name}' in out for name in flags)
  for name in [*analytics.ANALYSES, 'kmeans_clusters', 'total_rounds', 'column']:
    assert len(helped(capsys, f'--help={name}').splitlines()) > 2
  assert 'Sculley 2010' in helped(capsys, '--help=kmeans')
  assert command_line.run(analyze.main, ['analyze.py', '--help=kmean']) == 2
  assert 'did you mean kmeans?' in capsys.readouterr().err
