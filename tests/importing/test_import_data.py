"""experiments.import_data, and experiments.train on files whose form is found out."""

import os
import subprocess
import sys

import numpy as np
import pytest

from experiments import command_line, import_data
from fl_research import settings as settings_lib
from fl_research.importing import forms, tally
from fl_research.soundness import validation
from fl_research.sweeps import planning
from fl_research.training import run_data
from tests.importing import made

FORMS = {
  'pictures': (made.pictures, '', 'images', 'cnn'),
  'npz': (made.npz_clients, '', 'npz', 'mlp'),
  'one_npz': (lambda here: made.one_npz(here.parent / 'a.npz'), '', 'npz', 'mlp'),
  'text': (made.texts, '--sequence_length=3', 'text', 'char_lstm'),
  'table': (
    lambda here: made.text_table(here.parent / 't.csv'),
    '--client_column=who --text_column=said --tokens=words', 'text', 'char_lstm',
  ),
  'series': (
    lambda here: made.series(here.parent / 's.csv'),
    '--client_column=subject --label_column=state --window_length=8', 'windows', 'cnn1d',
  ),
  'idx': (made.idx_folder, '', 'idx', 'cnn'),
  'leaf': (made.leaf, '', 'leaf', 'mlp'),
}  # fmt: skip


def _settings(*arguments):
  return settings_lib.complete(settings_lib.from_flags(command_line.read_flags(arguments)))


def _import(*arguments):
  return command_line.run(import_data.main, ['import_data.py', *map(str, arguments)])


@pytest.mark.parametrize('form', FORMS)
def test_a_folder_of_ours_holds_what_the_files_do(tmp_path, capsys, form):
  make, flags, task, model = FORMS[form]
  path, own = make(tmp_path / 'in'), flags.split()
  straight = _settings(f'--data_file={path}', *own, '--experiment_name=x', '--clients_per_round=1')
  assert straight.task == task
  validation.validate(straight)
  data = run_data.load(straight)
  assert run_data.model_name(straight, data.spec) == model
  out = tmp_path / 'out'
  assert _import(f'--data_file={path}', *own, f'--write={out}') == 0
  printed = capsys.readouterr().out
  assert f'--data_file={out} --experiment_name=out' in printed
  assert f'picture: {out}.png' in printed and os.path.getsize(f'{out}.png') > 5000
  settings = _settings(f'--data_file={out}', '--experiment_name=x', '--clients_per_round=1')
  assert settings.task == 'imported'
  validation.validate(settings)
  again = run_data.load(settings)
  assert list(again.train.ids) == list(data.train.ids)
  assert run_data.model_name(settings, again.spec) == model
  for position in range(len(data.train)):
    for key, rows in data.train.examples(position).items():
      np.testing.assert_array_equal(again.train.examples(position)[key], rows)
  np.testing.assert_array_equal(again.test['x'], data.test['x'])
  assert again.problem is data.problem and again.num_classes == data.num_classes


def test_it_says_what_is_there(tmp_path, capsys):
  made.series(tmp_path / 's.csv', ax=lambda _, k: '' if k == 20 else k, note=lambda *_: 'x y')
  flags = ['--client_column=subject', '--label_column=state', '--window_length=8']
  assert _import(f'--data_file={tmp_path / "s.csv"}', *flags) == 0
  lines = capsys.readouterr().out.splitlines()
  text = '\n'.join(lines)
  for words in ('2: column subject', 'a, b', 'binary', 'float32 8 x 3'):
    assert words in text
  (row,) = (line for line in lines if '│ ax ' in line)
  assert 'number' in row and '2' in row
  (row,) = (line for line in lines if '│ note ' in line)
  assert 'ignored' in row
  assert '- 2 rows without a value are gaps' in lines
  assert any('Gini' in line for line in lines)
  assert os.listdir(tmp_path) == ['s.csv']


def test_what_one_client_only_has_is_said(tmp_path, capsys):
  made.pictures(tmp_path)
  for k in range(4):
    made.picture(tmp_path / 'client_2' / 'owl' / f'{k}.png', 99)
  assert _import(f'--data_file={tmp_path}') == 0
  assert '- class owl is in the training examples of client_2 only' in capsys.readouterr().out


def test_inequality_is_that_of_the_passport(tmp_path):
  settings = _settings(f'--data_file={made.pictures(tmp_path)}', '--experiment_name=x')
  from fl_research.importing import images

  source = images.open_source(run_data.options(settings))
  counted = tally.Tally(source)
  tally.go_through(source, counted.add)
  passport = run_data.load(settings).passport
  for name, value in counted.inequality().items():
    assert passport[name] == pytest.approx(value), name


def test_neither_tensorflow_nor_noise(tmp_path):
  made.pictures(tmp_path)
  program = (
    'import sys; from experiments import command_line, import_data\n'
    f'code = command_line.run(import_data.main, ["x", "--data_file={tmp_path}"])\n'
    'print(code, [m for m in ("tensorflow", "jax", "matplotlib") if m in sys.modules])'
  )
  run = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
  assert run.stdout.splitlines()[-1] == '0 []', run.stderr
  assert run.stderr.splitlines() == [f'--data_file={tmp_path}: pictures, read by --task=images']


def test_help_teaches(capsys):
  assert _import('--help') == 0
  text = capsys.readouterr().out
  for flag in ('--write', '--picture', '--folder_levels', '--window_length', '--client_column'):
    assert flag in text
  assert '--algorithm' not in text


def test_the_form_of_a_table_depends_on_what_is_asked(tmp_path):
  path = str(made.series(tmp_path / 's.csv'))
  assert forms.find(path).task == 'tabular'
  assert forms.find(path, windows=True).task == 'windows'
  assert forms.find(path, text_column=True).task == 'text'


def test_a_task_that_is_named_stays(tmp_path):
  path = made.npz_clients(tmp_path)
  assert _settings(f'--data_file={path}', '--task=leaf').task == 'leaf'


def test_sweeps_find_the_form_out_too(tmp_path):
  path = made.npz_clients(tmp_path / 'in')
  measure = planning.usual_measure([{}], {})
  given = {'data_file': str(path)}
  (run,) = planning.plan([{'seed': 1}], given, tmp_path / 'sweep', 'train', measure, False)
  assert run.settings.task == 'npz'
