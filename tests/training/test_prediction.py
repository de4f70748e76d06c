"""A run's model asked about new rows: by command, by Keras, and for one client."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from experiments import command_line, evaluate, export, predict, train
from fl_research import settings as settings_lib
from fl_research.datasets import pixels
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.importing import dialect, images
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError
from fl_research.training import assembly, prediction, stored_data, summary, terminal
from tests.importing import made


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Runs on three hospitals' rows: `numbers`, and `classes` with models of their own."""
  folder = tmp_path_factory.mktemp('runs')
  draws = np.random.default_rng(2)
  rows = 45
  table = pd.DataFrame(
    {
      'hospital': np.repeat(['north', 'south', 'west'], rows // 3),
      'age': draws.integers(20, 90, rows),
      'ward': draws.choice(['a', 'b'], rows),
      'sick': draws.choice(['no', 'yes', 'unclear'], rows),
      'days': draws.normal(300, 40, rows).round(1),
    }
  )
  table.to_csv(folder / 'table.csv', index=False)
  runs = {
    'numbers': ['--label_column=days', '--columns=sick:ignore'],
    'classes': ['--label_column=sick', '--columns=days:ignore', '--algorithm=fedper'],
  }
  for name, flags in runs.items():
    command = ['train.py', '--task=tabular', f'--data_file={folder}/table.csv', *flags]
    command += ['--client_column=hospital', '--total_rounds=2', '--tensorboard=false']
    command += [f'--experiment_name={name}', f'--output_dir={folder}']
    assert command_line.run(train.main, command) == 0
  return folder


def _predict(folder, run, data_file, *flags):
  out = folder / 'answers.csv'
  out.unlink(missing_ok=True)
  command = [
    'predict.py',
    f'--run={folder / run}',
    f'--data_file={data_file}',
    f'--out={out}',
    *flags,
  ]
  assert command_line.run(predict.main, [*command, *flags]) == 0
  return pd.read_csv(out)


def test_numbers_are_in_their_own_units_and_those_of_the_keras_model(folder):
  table = pd.read_csv(folder / 'table.csv').drop(columns='days').sample(frac=1, random_state=1)
  table.to_csv(folder / 'new.csv', index=False, sep=';')
  found = _predict(folder, 'numbers', folder / 'new.csv')
  assert list(found) == ['row', *table.columns, 'predicted']
  assert found['predicted'].between(150, 450).all()
  stored = stored_data.load(folder / 'numbers')
  parts = prediction.read(stored, str(folder / 'new.csv'), prediction.dialect.Given())
  keras = tf.keras.models.load_model(folder / 'numbers' / 'model.keras')
  expected = np.concatenate([keras(part.x) for part in parts])[:, 0]
  np.testing.assert_allclose(found['predicted'], expected, rtol=1e-5)


def test_classes_have_names_and_a_client_its_own_answers(folder):
  of_all = _predict(folder, 'classes', folder / 'table.csv')
  own = _predict(folder, 'classes', folder / 'table.csv', '--client=south')
  shares = [f'probability_{name}' for name in ('no', 'unclear', 'yes')]
  for table in (of_all, own):
    np.testing.assert_allclose(table[shares].sum(axis=1), 1, atol=1e-5)
    largest = table[shares].idxmax(axis=1).str.removeprefix('probability_')
    assert table['predicted'].tolist() == largest.tolist()
  assert abs(of_all[shares] - own[shares]).to_numpy().max() > 1e-3


def test_the_exported_model_gives_the_same(folder):
  out = folder / 'exported'
  command = ['export.py', f'--run={folder / "numbers"}', f'--out={out}']
  assert command_line.run(export.main, command) == 0
  table = pd.read_csv(folder / 'table.csv')
  answer = tf.saved_model.load(str(out)).signatures['serving_default']
  found = answer(age=tf.constant(table['age'], tf.float64), ward=tf.constant(table['ward']))
  expected = _predict(folder, 'numbers', folder / 'table.csv')['predicted']
  np.testing.assert_allclose(found['predicted'], expected, rtol=1e-5)


def test_evaluated_on_a_file(folder, capfd):
  table = pd.read_csv(folder / 'table.csv')
  table.to_csv(folder / 'other.csv', index=False, sep='\t')
  command = ['evaluate.py', f'--data_file={folder}/other.csv']
  assert command_line.run(evaluate.main, [*command, f'--run={folder / "numbers"}']) == 0
  [row] = pd.read_csv(folder / 'numbers' / 'evaluation_other.csv').to_dict('records')
  errors = _predict(folder, 'numbers', folder / 'table.csv')['predicted'] - table['days']
  assert row['num_examples'] == len(table)
  np.testing.assert_allclose(row['rmse'], np.sqrt(np.mean(errors**2)), rtol=1e-5)
  own = [*command, f'--run={folder / "classes"}', '--client=south']
  assert command_line.run(evaluate.main, own) == 0
  [row] = pd.read_csv(folder / 'classes' / 'evaluation_other.csv').to_dict('records')
  answers = _predict(folder, 'classes', folder / 'table.csv', '--client=south')
  np.testing.assert_allclose(row['accuracy'], np.mean(answers['predicted'] == table['sick']))
  recalls = pd.read_csv(folder / 'classes' / 'evaluation_other_classes.csv')
  assert recalls['num_examples'].sum() == len(table)
  capfd.readouterr()
  table.drop(columns='days').to_csv(folder / 'other.csv', index=False)
  assert command_line.run(evaluate.main, [*command, f'--run={folder / "numbers"}']) == 2
  assert 'days' in capfd.readouterr().err


@pytest.mark.parametrize(
  ('run', 'content', 'flags', 'line'),
  [
    ('numbers', 'age\n3\n', (), 'new.csv: there is no column ward'),
    ('numbers', 'age,ward\nold,a\n', (), "column age: row 1 holds 'old', no number"),
    ('numbers', 'age,ward\n', (), 'new.csv: has no rows'),
    ('nowhere', 'age,ward\n3,a\n', (), 'there is no run'),
    ('classes', 'age,ward\n3,a\n', ('--client=nord',), 'none of the 3 clients'),
    ('numbers', 'age,ward\n3,a\n', ('--client=north',), 'all clients use the global model'),
    ('numbers', 'age,ward\n3,a\n', ('--out=no/such/folder/x.csv',), 'the folder must be there'),
    ('numbers', 'age,ward\n3,a\n', ('--data_file=nowhere.csv',), 'nowhere.csv: no such file'),
    ('numbers', 'age,ward\n3,a\n', ('--data_file=tests',), 'tests: is a folder; name one file'),
    ('numbers', 'age,ward\n3,a\n', ('--data_file=a.csv', '--out=a.csv'), 'is the --data_file'),
  ],
)
def test_what_does_not_fit_is_one_line(folder, capfd, run, content, flags, line):
  (folder / 'new.csv').write_text(content)
  command = ['predict.py', f'--run={folder / run}', f'--data_file={folder}/new.csv']
  command += [f'--out={folder}/out.csv', *flags]
  assert command_line.run(predict.main, command) == 2
  said = [each for each in capfd.readouterr().err.splitlines() if each.startswith('predict.py')]
  assert len(said) == 1 and line in said[0]
  assert not (folder / 'out.csv').exists()


def _stored(shape, preprocessing):
  spec = ModelSpec(shape, np.dtype(np.float32), (), np.dtype(np.int32), Problem.BINARY, 2)
  return stored_data.StoredData(spec, ('cat', 'dog'), preprocessing)


def test_pictures_in_folders(tmp_path):
  folder = str(made.pictures(tmp_path))
  source = images.open_source(DatasetOptions('', data_file=folder, seed=0))
  stored = _stored(source.spec.x_shape, source.preprocessing)
  [part] = prediction.read(stored, folder, dialect.Given(), labels=True)
  assert part.told['file'][0] == 'client_1/cat/client_1_0.png'
  is_dog = part.told['file'].str.contains('dog')
  np.testing.assert_array_equal(part.y, is_dog)
  np.testing.assert_allclose(part.x[..., 0].mean(axis=(1, 2)), np.where(is_dog, 0.8, 0.2))
  [one] = prediction.read(stored, f'{folder}/client_1/dog/client_1_0.png', dialect.Given())
  assert one.told['file'].tolist() == ['client_1_0.png'] and one.x.max() == np.float32(0.8)


def test_pictures_in_arrays(tmp_path):
  stored = _stored((8, 8, 1), pixels.preprocessing((8, 8, 1)))
  levels = np.full((3, 8, 8), 51, np.uint8)
  path = str(tmp_path / 'new.npz')
  for x in (levels, levels[..., None], np.float32(0.2) * np.ones((3, 8, 8))):
    np.savez(path, x=x)
    [part] = prediction.read(stored, path, dialect.Given())
    assert part.x.shape == (3, 8, 8, 1) and np.unique(part.x) == np.float32(0.2)
  np.savez(path, x=levels.astype(np.float32))
  with pytest.raises(UsageError, match='x goes from 51 to 51; expected are whole numbers'):
    list(prediction.read(stored, path, dialect.Given()))


@pytest.mark.parametrize(
  ('settings', 'said'),
  [
    ({}, ''),
    ({'algorithm': 'ditto'}, ''),
    ({'algorithm': 'fedper'}, 'which lacks what clients keep to themselves; name one'),
    ({'algorithm': 'fedper', 'centralized': True}, ''),
    ({'algorithm': 'local'}, None),
    ({'local_only': True}, None),
  ],
)
def test_a_model_that_nobody_trained_does_not_answer(settings, said, capsys):
  given = settings_lib.from_flags({'task': 'digits', **settings})
  if said is None:
    with pytest.raises(UsageError, match='there is no global one; name one'):
      assembly.check_global_model(given, ['a/kernel', 'a/bias'], 'name one')
  else:
    assembly.check_global_model(given, ['a/kernel', 'a/bias'], 'name one')
    line = capsys.readouterr().err
    assert said in line and bool(said) == bool(line)


def test_figures_of_any_size():
  shown = [terminal.figure(value) for value in (0.0, 0.51234567, 2.5e-7, -3.25e9, 1234.5)]
  assert shown == ['0.0000', '0.5123', '2.5e-07', '-3.25e+09', '1234.5000']


@pytest.mark.parametrize(
  ('row', 'begins'),
  [
    ({'round': 3, 'eval/r2': 0.3}, ''),
    ({'round': 3, 'eval/r2': None}, ''),
    ({'round': 3, 'eval/loss': 0.3}, ''),
    ({'round': 3, 'eval/r2': -0.1}, 'eval/r2 is -0.1000: always answering the mean'),
    ({'round': 3, 'eval/r2': -0.1, 'personal/r2': 0.4}, ''),
    ({'num_examples': 9, 'r2': -2.0}, 'r2 is -2.0000'),
  ],
)
def test_numbers_worse_than_the_mean_are_said(row, begins):
  line = summary.worse_than_the_mean(row)
  assert line.startswith(begins) and bool(line) == bool(begins)
