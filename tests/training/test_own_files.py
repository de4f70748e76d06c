"""Runs with a model of one's own, and with a table that has identifiers."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import sys
import types

import numpy as np
import pytest

from experiments import command_line
from experiments import evaluate
from experiments import train
from fl_research import settings as settings_lib
from fl_research import tasks
from fl_research.datasets import splits
from fl_research.datasets.federated_data import FederatedData, InputColumn, Problem
from fl_research.settings import Settings
from fl_research.training import run_data
from tests.training import runs

USERS, FILMS = 40, 80
CODE = """
import tensorflow as tf
L = tf.keras.layers

def build(spec):
  return tf.keras.Sequential([
    tf.keras.Input(spec.input_shape), L.Flatten(), L.Dropout(0.1), L.Dense(8, 'relu', name='base'),
    L.Dense(spec.output_units, 'softmax', name='head'),
  ])
"""


@pytest.fixture(name='ratings')
def _ratings(monkeypatch):
  """A task of people who rate films by two tastes: x is [user, film, age of the rating]."""
  rng = np.random.default_rng(0)
  user = np.repeat(np.arange(USERS), 30)
  film = np.concatenate([rng.permutation(FILMS)[:30] for _ in range(USERS)])
  tastes = [rng.normal(size=(count, 2)) for count in (USERS, FILMS)]
  y = np.sum(tastes[0][user] * tastes[1][film], axis=1) + rng.normal(size=FILMS)[film]
  y = (y / y.std()).astype(np.float32)
  x = np.stack([user + 1, film + 1, rng.normal(size=len(y))], axis=1).astype(np.float32)
  test = np.tile(np.arange(30) >= 24, USERS)
  columns = (
    InputColumn('user', 0, 1, USERS + 1),
    InputColumn('film', 1, 2, FILMS + 1),
    InputColumn('age', 2, 3),
  )
  ids = [f'user_{k}' for k in range(USERS)]
  parts = [
    splits.clients_by_owner({'x': x[rows], 'y': y[rows]}, user[rows], ids) for rows in (~test, test)
  ]
  data = FederatedData(parts[0], parts[1].pooled(), Problem.REGRESSION, 1, parts[1], inputs=columns)
  module = types.ModuleType('ratings')
  monkeypatch.setattr(module, 'load', lambda options: data, raising=False)
  monkeypatch.setitem(sys.modules, 'ratings', module)
  task = tasks.Task('ratings', 'ratings', models=('mlp', 'factorization'))
  monkeypatch.setitem(tasks.TASKS, 'ratings', task)


def _run(folder, *flags):
  place = (f'--output_dir={folder}', '--experiment_name=run')
  return command_line.run(train.main, ['train.py', *place, *flags])


def test_a_table_with_identifiers_is_learnt_by_default(ratings, tmp_path):
  flags = ('--clients_per_round=20', '--total_rounds=60', '--rounds_per_evaluation=60')
  assert _run(tmp_path, '--task=ratings', *flags) == 0
  rows = runs.rows(tmp_path / 'run' / 'metrics.csv')
  assert float(rows[0]['eval/loss']) > 0.8
  assert float(rows[-1]['eval/loss']) < 0.5
  (hparams,) = runs.rows(tmp_path / 'run' / 'hparams.csv')
  found = [hparams[f] for f in ('model', 'server_optimizer', 'server_learning_rate')]
  assert found == ['factorization', 'adagrad', '0.3']
  evaluation = ['evaluate.py', f'--run={tmp_path / "run"}']
  assert command_line.run(evaluate.main, evaluation) == 0


def test_the_data_choose_a_model_only_where_nothing_else_does(ratings):
  chosen = lambda **settings: run_data.load(Settings(task='ratings', **settings)).model
  assert chosen() == 'factorization'
  assert chosen(model='mlp') == 'mlp'
  assert chosen(hyperparameters={'mlp_hidden_units': 3}) == 'mlp'
  assert run_data.load(Settings(task='digits')).model == 'softmax'


def test_a_models_defaults_give_way():
  step = lambda **settings: (
    (s := Settings(task='tabular', model='factorization', **settings)).server_step,
    s.server_rate,
  )
  assert step() == ('adagrad', 0.3)
  assert step(server_learning_rate=0.5) == ('adagrad', 0.5)
  assert step(server_optimizer='sgd') == ('sgd', 1.0)
  assert step(algorithm='fedadam') == ('sgd', 0.01)
  assert step(algorithm='fedavgm') == ('sgd', 1.0)
  assert step(centralized=True) == ('sgd', 1.0)
  assert (
    Settings(task='tabular', model='mlp').server_step == settings_lib.LEFT_OPEN['server_optimizer']
  )


@pytest.fixture(name='model', scope='module')
def _model(tmp_path_factory):
  path = tmp_path_factory.mktemp('model') / 'my_models.py'
  path.write_text(CODE)
  return path


DIGITS = ('--task=digits', '--num_clients=4', '--clients_per_round=2', '--rounds_per_evaluation=2')


def test_a_run_keeps_to_the_file_it_began_with(model, tmp_path, capfd):
  flags = (*DIGITS, f'--model={model}:build')
  assert _run(tmp_path, *flags, '--total_rounds=2', '--freeze=base') == 0
  manifest = runs.manifest(tmp_path / 'run')
  assert len(manifest['sources']['model']) == 64
  with np.load(tmp_path / 'run' / 'model.npz') as arrays:
    assert set(arrays) == {f'{layer}/{w}' for layer in ('base', 'head') for w in ('kernel', 'bias')}
  model.write_text(CODE + '\n# changed\n')
  assert _run(tmp_path, *flags, '--total_rounds=3', '--freeze=base') == command_line.EXIT_USAGE
  assert 'not the file that the run' in capfd.readouterr().err


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (('--model=nowhere.py:build',), '--model=nowhere.py:build: there is no file nowhere.py'),
    (('--model={model}',), 'name the function'),
    (('--model={model}:build', '--initializer=zeros'), '--initializer=zeros: not with a model of'),
    (('--initial_model=nowhere.npz',), '--initial_model=nowhere.npz: there is no such file'),
    (('--freeze=dense_9',), '--freeze=dense_9: the model has no layer "dense_9"; accepted are'),
  ],
)
def test_mistakes_end_in_one_line(flags, message, model, tmp_path, capfd):
  flags = [flag.format(model=model) for flag in flags]
  assert _run(tmp_path, *DIGITS, *flags) == command_line.EXIT_USAGE
  assert message in capfd.readouterr().err
  assert not (tmp_path / 'run').exists()
