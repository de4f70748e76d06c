"""docs/own_data.md is true: its arrays are read as it says, and its commands are accepted."""

import os
import pathlib
import re
import shlex

import numpy as np
import pytest

from experiments import command_line, export, import_data, predict
from fl_research import settings as settings_lib
from fl_research.datasets.federated_data import Problem
from fl_research.soundness import validation
from fl_research.training import run_data
from tests.importing import made

_PAGE = (pathlib.Path(__file__).parent.parent / 'docs' / 'own_data.md').read_text()
_COMMANDS = [
  line for block in re.findall(r'```sh\n(.*?)```', _PAGE, re.DOTALL) for line in block.splitlines()
]
_PYTHON = re.findall(r'```python\n(.*?)```', _PAGE, re.DOTALL)


_FILES = {
  'photos': made.pictures,
  'letters': made.texts,
  'posts.csv': lambda path: path.write_text('user,post\nann,so well said\nann,so it is\n'),
  'walks.csv': lambda path: path.write_text('person,second,activity,ax\nann,1,walk,0.5\n'),
  'leaf/data': made.leaf,
}
"""What the commands name, and how it is made."""


def _settings(command):
  arguments = command_line.read_flags(shlex.split(command)[3:])
  return settings_lib.complete(settings_lib.from_flags(arguments))


@pytest.fixture
def files(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name, make in _FILES.items():
    make(tmp_path / name)
  (tmp_path / 'photos_imported').mkdir()
  (tmp_path / 'photos_imported' / 'data.json').write_text('{}')


@pytest.mark.parametrize('command', [c for c in _COMMANDS if 'experiments.train' in c])
def test_commands_are_accepted(command, files):
  validation.validate(_settings(command))


def test_the_commands_that_import_run(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  made.pictures(tmp_path / 'photos')
  commands = [command for command in _COMMANDS if 'experiments.import_data' in command]
  assert len(commands) >= 2
  for command in commands:
    assert command_line.run(import_data.main, shlex.split(command)[2:]) == 0
  assert {'photos.png', 'photos_imported', 'photos_imported.png'} <= set(os.listdir(tmp_path))


def test_the_commands_that_use_a_run_are_accepted(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  programs = {'experiments.predict': predict.main, 'experiments.export': export.main}
  for module, main in programs.items():
    [command] = [command for command in _COMMANDS if module in command]
    assert command_line.run(main, shlex.split(command)[2:]) == 2
    assert 'results/hospitals: there is no run' in capsys.readouterr().err


def test_the_folder_of_the_example_is_read_as_told(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (code,) = _PYTHON
  exec(compile(code, 'own_data.md', 'exec'), {})
  data = run_data.load(_settings(next(c for c in _COMMANDS if '--data_file=pictures ' in c)))
  assert data.problem is Problem.CLASSIFICATION and data.num_classes == 4
  assert list(data.train.ids) == ['ada', 'bob', 'eve'] and data.cohort_size == 3
  assert data.train.sizes.tolist() == [48, 32, 64]
  assert data.test_clients.sizes.tolist() == [12, 8, 16]


def _y(kind):
  return {
    'binary': np.array([0, 1, 1, 0, 1]),
    'classification': np.array([0, 2, 1, 0, 1]),
    'next_token': np.array([[1, 2, 0]] * 5),
    'regression': np.linspace(0, 3, 5),
    'multilabel': np.eye(5)[:, :3],
  }[kind]


@pytest.mark.parametrize('kind', [p.value for p in Problem if p is not Problem.RECONSTRUCTION])
def test_labels_say_what_is_predicted(kind, tmp_path):
  tokens = kind == 'next_token'
  x = np.ones((5, 3), np.int32 if tokens else np.float32)
  np.savez(tmp_path / 'a.npz', x=x, y=_y(kind))
  model = 'char_lstm' if tokens else 'mlp'
  settings = settings_lib.Settings(task='npz', data_file=str(tmp_path), model=model)
  assert run_data.load(settings).problem.value == kind
