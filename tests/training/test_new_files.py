"""A run's model asked about, and evaluated on, new texts, LEAF's JSON and TFF's files."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.special
import tensorflow as tf

from experiments import command_line, evaluate, predict, train
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.importing import dialect, leaf, text, tff_files, tokens
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError
from fl_research.training import answers, prediction, stored_data
from tests.importing import made


def _stored(source):
  spec = ModelSpec(
    source.spec.x_shape, source.spec.x_dtype, source.spec.y_shape, source.spec.y_dtype,
    source.spec.problem, source.spec.num_classes,
  )  # fmt: skip
  how = json.loads(json.dumps(dict(source.preprocessing)))
  return stored_data.StoredData(spec, tuple(source.found.classes), how)


def _source(module, path, **changes):
  return module.open_source(DatasetOptions('', data_file=str(path), seed=0, **changes))


def _read(stored, path, labels=False):
  return list(prediction.read(stored, str(path), dialect.Given(), labels))


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run on two authors' words."""
  folder = tmp_path_factory.mktemp('run')
  for author in ('ann', 'bob'):
    (folder / 'letters').mkdir(exist_ok=True)
    (folder / 'letters' / f'{author}.txt').write_text('to be or not to be, ' * 8)
  command = ['train.py', f'--data_file={folder}/letters', '--tokens=words', '--sequence_length=5']
  command += ['--model=char_lstm', '--char_lstm_units=8', '--char_lstm_layers=1']
  command += ['--total_rounds=2', '--tensorboard=false']
  assert (
    command_line.run(train.main, [*command, f'--output_dir={folder}', '--experiment_name=r']) == 0
  )
  return folder


def _predict(folder, data_file, *flags):
  command = ['predict.py', f'--run={folder / "r"}', f'--data_file={data_file}']
  return command_line.run(predict.main, [*command, f'--out={folder}/answers.csv', *flags])


def test_what_follows_texts_is_what_the_keras_model_says(run, capfd):
  table = pd.DataFrame({'who': ['x', 'y', 'z'], 'said': ['To be', 'or not to be, or not to', None]})
  table.to_csv(run / 'new.csv', index=False)
  assert _predict(run, run / 'new.csv') == 2
  assert 'has several columns (who, said); leave the texts alone in it' in capfd.readouterr().err
  table[['said']].to_csv(run / 'new.csv', index=False)
  assert _predict(run, run / 'new.csv') == 0
  found = pd.read_csv(run / 'answers.csv')
  assert list(found.columns[:4]) == ['row', 'said', 'predicted', 'probability']
  stored = stored_data.load(run / 'r')
  names = tokens.from_preprocessing(stored.preprocessing).names()
  number = {name: k for k, name in enumerate(names)}
  x = [['<begin>', 'to', 'be'], ['be', ',', 'or', 'not', 'to'], ['<begin>']]
  keras = tf.keras.models.load_model(run / 'r' / 'model.keras')
  for row, own in enumerate(x):
    padded = np.array([[*[number[token] for token in own], *[0] * (5 - len(own))]], np.int32)
    logits = np.asarray(keras(padded)).reshape(5, -1)[len(own) - 1]
    shares = scipy.special.softmax(logits)
    order = np.argsort(-shares)[:3]
    assert found[['predicted', 'predicted_2', 'predicted_3']].iloc[row].tolist() == [
      names[k] for k in order
    ]
    probabilities = found[['probability', 'probability_2', 'probability_3']].iloc[row]
    np.testing.assert_allclose(probabilities, shares[order], rtol=1e-4)


def test_evaluated_on_the_training_files_as_in_training(run):
  assert _predict(run, run / 'letters') == 0
  assert pd.read_csv(run / 'answers.csv')['file'].tolist() == ['ann.txt', 'bob.txt']
  command = ['evaluate.py', f'--run={run / "r"}', f'--data_file={run}/letters/ann.txt']
  assert command_line.run(evaluate.main, command) == 0
  [row] = pd.read_csv(run / 'r' / 'evaluation_ann.csv').to_dict('records')
  source = _source(text, run / 'letters', tokens='words', sequence_length=5)
  parts = [part.examples for part in source.parts() if part.client == 0]
  [new] = _read(_stored(source), run / 'letters' / 'ann.txt', labels=True)
  for key, own in (('x', new.x), ('y', new.y)):
    np.testing.assert_array_equal(own, np.concatenate([part[key] for part in parts]))
  assert row['num_examples'] == len(new.x) and 0 <= row['accuracy'] <= 1


def test_a_client_has_no_answers_of_its_own_on_text(run, capfd):
  assert _predict(run, run / 'letters', '--client=ann') == 2
  assert 'of text only the global model is asked; leave --client out' in capfd.readouterr().err


def test_the_likeliest_tokens_at_each_texts_end():
  outputs = np.log(np.array([[[0.1, 0.2, 0.7], [1, 1, 1]], [[1, 1, 1], [0.5, 0.3, 0.2]]]))
  found = answers.next_tokens(['a', 'b', 'c'], outputs, np.array([0, 1]))
  assert found['predicted'].tolist() == ['c', 'a'] and found['predicted_3'].tolist() == ['a', 'c']
  np.testing.assert_allclose(found['probability'], [0.7, 0.5])
  np.testing.assert_allclose(found['probability_2'], [0.2, 0.3])


def test_lines_of_leaf(tmp_path):
  made.leaf(tmp_path, {'R': {'x': ['to be', 'o be '], 'y': [' ', 'o']}})
  source = _source(leaf, tmp_path)
  stored = _stored(source)
  path = tmp_path / 'train' / 'all_data_0.json'
  [whole] = _read(stored, path, labels=True)[:1]
  examples = np.concatenate([part.examples['x'] for part in source.parts()])
  np.testing.assert_array_equal(whole.x, examples[:1])
  made.leaf(tmp_path / 'new', {'S': {'x': ['be', 'do not be'], 'y': ['x', 'y']}})
  [part] = _read(stored, tmp_path / 'new')
  assert part.told['client'].tolist() == ['S', 'S'] and part.places.tolist() == [4, 4]
  names = tokens.from_preprocessing(stored.preprocessing).names()
  assert [names[k] for k in part.x[0]] == ['<padding>'] * 3 + ['b', 'e']
  (tmp_path / 'prompts.csv').write_text('line\nto b\n')
  [part] = _read(stored, tmp_path / 'prompts.csv')
  assert [names[k] for k in part.x[0]] == ['<padding>', 't', 'o', ' ', 'b']
  with pytest.raises(UsageError, match=r'was trained on LEAF.s lines with the next character'):
    _read(stored, tmp_path / 'prompts.csv', labels=True)


def test_snippets_of_tff(tmp_path):
  path = made.hdf5(tmp_path / 'train.h5', {'R': {'snippets': [b'to be', b'or not', b'be']}})
  stored = _stored(_source(tff_files, path, sequence_length=8))
  assert stored.preprocessing['column'] == 'snippets'
  [part] = _read(stored, path)
  assert part.told.columns.tolist() == ['row', 'client', 'snippets']
  assert part.places.tolist() == [5, 6, 2]
  bare = made.hdf5(tmp_path / 'bare.h5', {'R': {'words': [b'to be']}})
  with pytest.raises(UsageError, match='client R has no snippets, which the run was trained on'):
    _read(stored, bare)


def test_pictures_of_leaf_and_tff(tmp_path):
  levels = np.arange(784).reshape(1, 784) % 256
  rows = {'u': {'x': np.repeat(levels, 5, axis=0).tolist(), 'y': [0, 1, 2, 0, 1]}}
  made.leaf(tmp_path, rows)
  source = _source(leaf, tmp_path)
  [part] = _read(_stored(source), tmp_path, labels=True)
  assert part.told['client'].tolist() == ['u'] * 5 and part.y.tolist() == [0, 1, 2, 0, 1]
  expected = np.concatenate([part.examples['x'] for part in source.parts()])
  np.testing.assert_array_equal(part.x, expected)
  client = {'pixels': np.repeat(levels.reshape(1, 28, 28), 5, axis=0), 'label': np.arange(5)}
  path = made.hdf5(tmp_path / 'd.h5', {'a': client, 'b': client})
  stored = _stored(_source(tff_files, path))
  first, second = _read(stored, path, labels=True)
  np.testing.assert_array_equal(first.x, expected)
  assert second.told['row'].tolist() == [6, 7, 8, 9, 10] and second.y.tolist() == [0, 1, 2, 3, 4]


def test_new_users_need_no_labels(tmp_path):
  stored = _stored(_source(leaf, made.leaf(tmp_path)))
  assert stored.spec.problem is Problem.CLASSIFICATION
  new = {'users': ['n'], 'num_samples': [1], 'user_data': {'n': {'x': [[1, 2, 3]]}}}
  (tmp_path / 'new.json').write_text(json.dumps(new))
  [part] = _read(stored, tmp_path / 'new.json')
  assert part.x.tolist() == [[1, 2, 3]] and part.told['client'].tolist() == ['n']
  with pytest.raises(UsageError, match='user n has no y'):
    _read(stored, tmp_path / 'new.json', labels=True)
  new['user_data']['n']['x'] = [[1, 2]]
  (tmp_path / 'new.json').write_text(json.dumps(new))
  with pytest.raises(UsageError, match=r'x has examples of shape \[2\]; the model takes \[3\]'):
    _read(stored, tmp_path / 'new.json')
  with pytest.raises(UsageError, match=r'expected is LEAF.s JSON, .* or a .npz file'):
    (tmp_path / 'a.csv').write_text('a,b\n1,2\n')
    _read(stored, tmp_path / 'a.csv')
