"""docs/own_data.md is true: its arrays are read as it says, and its commands are accepted."""

import pathlib
import re
import shlex

import numpy as np
import pytest

from experiments import command_line
from fl_research import settings as settings_lib
from fl_research.datasets.federated_data import Problem
from fl_research.soundness import validation
from fl_research.training import run_data

_PAGE = (pathlib.Path(__file__).parent.parent / 'docs' / 'own_data.md').read_text()
_COMMANDS = [
  line for block in re.findall(r'```sh\n(.*?)```', _PAGE, re.DOTALL) for line in block.splitlines()
]
_PYTHON = re.findall(r'```python\n(.*?)```', _PAGE, re.DOTALL)


def _settings(command):
  return settings_lib.from_flags(command_line.read_flags(shlex.split(command)[3:]))


@pytest.mark.parametrize('command', _COMMANDS)
def test_commands_are_accepted(command):
  validation.validate(_settings(command))


def test_the_folder_of_the_example_is_read_as_told(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (code,) = _PYTHON
  exec(compile(code, 'own_data.md', 'exec'), {})
  data = run_data.load(_settings(_COMMANDS[-1]))
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
