"""The models that clients have of their own: what is evaluated on whose examples."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import re

import numpy as np
import pytest

from experiments import command_line, evaluate
from fl_research import algorithms, runtime
from fl_research.training import personal_evaluation, run_data, terminal
from tests.training import runs


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


def test_personal_models_are_the_headline_and_few_of_them_see_all_examples(tmp_path, capsys):
  """Ditto: own models by examples, the global model beside them, `eval/` over a fixed draw."""
  folders = {most: tmp_path / f'most_{most}' for most in (100, 2)}
  for most, folder in folders.items():
    flags = (
      '--model=softmax',
      '--algorithm=ditto',
      '--total_rounds=2',
      f'--max_evaluation_models={most}',
    )
    assert runs.start(folder, *flags) == 0
  printed = capsys.readouterr().out
  assert 'personal/accuracy' in printed and 'global/accuracy' in printed
  assert 'eval/accuracy' not in printed
  plain = tmp_path / 'plain'
  assert runs.start(plain, '--model=softmax', '--total_rounds=2') == 0
  row, few, fed_avg = (runs.rows(f / 'metrics.csv')[-1] for f in (*folders.values(), plain))
  for name in ('loss', 'accuracy', 'loss_mean', 'accuracy_p10'):
    suffix = '_clients' if '_' in name else ''
    assert row[f'global{suffix}/{name}'] == fed_avg[f'eval{suffix}/{name}'], name
  own = [
    (float(line['value']), int(line['num_examples']))
    for line in runs.rows(folders[100] / 'clients.csv')
    if (line['round'], line['phase'], line['metric']) == ('2', 'eval', 'accuracy')
  ]
  weighted = sum(value * count for value, count in own) / sum(count for _, count in own)
  np.testing.assert_allclose(float(row['personal/accuracy']), weighted, rtol=1e-6)
  differs = {name for name in row if row[name] != few[name]}
  assert differs == {'eval/loss', 'eval/accuracy', 'seconds'}
  assert runs.manifest(folders[2])['flags']['max_evaluation_models'] == 2


def test_evaluated_again_each_number_says_whose_model_it_is(tmp_path, capsys):
  folder = tmp_path / 'run'
  flags = ('--model=softmax', '--algorithm=ditto', '--total_rounds=1')
  assert runs.start(folder, *flags) == 0
  capsys.readouterr()
  assert command_line.run(evaluate.main, ['evaluate.py', f'--run={folder}']) == 0
  shown = re.findall(r'^│ (\S+) ', capsys.readouterr().out, re.MULTILINE)
  for phase in ('personal', 'eval', 'eval_clients', 'global', 'global_clients'):
    first = next(name for name in shown if name.startswith(f'{phase}/'))
    assert first == f'{phase}/…'
  again = runs.rows(folder / 'evaluation_classes.csv')
  assert again == runs.rows(folder / 'classes.csv') and len(again) == 10


def test_the_population_is_indexed_once_and_few_models_see_everything(tmp_path):
  flags = ('--algorithm=fedper', '--num_clients=1000', '--partition=iid')
  settings = runs.settings(tmp_path / 'run', *flags)
  data = run_data.load(settings)
  method = algorithms.build('fedper', {'private_layers': 'last'})
  plan = personal_evaluation.plan(settings, method, data)
  again = personal_evaluation.plan(settings, method, data)
  np.testing.assert_array_equal(plan.drawn, again.drawn)
  assert len(set(plan.drawn)) == 100 and plan.drawn.max() < 1000
  assert [data.train.ids[plan.positions[i]] for i in plan.tested.ids] == list(plan.tested.ids)


def test_the_bar_shows_how_good_own_models_are():
  bar = terminal.ProgressBar(total_rounds=4, first_round=0, primary='accuracy')
  figures = lambda: bar._progress.tasks[0].fields['figures']
  names = {'train': 0.1, 'eval': 0.2, 'personal': 0.3}
  for count, expected in ((1, 'training'), (2, 'test'), (3, 'own models, own test')):
    shown = list(names.items())[:count]
    columns = {f'{phase}/{n}': value for phase, value in shown for n in ('loss', 'accuracy')}
    bar.row({'round': count, **columns})
    assert figures().startswith(f'{expected} loss 0.{count}')
  bar.row({'round': 4, 'train/loss': 0.5, 'train/accuracy': 0.5})
  assert figures().startswith('own models, own test loss 0.3')


def test_without_own_test_examples_that_is_said(tmp_path, capsys):
  flags = ('--model=softmax', '--algorithm=fedper', '--total_rounds=1')
  assert runs.start(tmp_path / 'run', *flags, '--max_evaluation_clients=0') == 0
  assert '--own_test_fraction' in capsys.readouterr().err
  assert 'personal/loss' not in runs.rows(tmp_path / 'run' / 'metrics.csv')[0]
