"""docs/own_model.md is true: its file builds a model, and its commands are accepted."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import pathlib
import re
import shlex

import numpy as np
import pytest

from experiments import command_line
from experiments import train
from fl_research import models
from fl_research import settings as settings_lib
from fl_research.datasets.federated_data import InputColumn, Problem
from fl_research.models import ModelSpec
from fl_research.soundness import validation

_ROOT = pathlib.Path(__file__).parent.parent
_PAGE = (_ROOT / 'docs' / 'own_model.md').read_text()
_COMMANDS = [shlex.split(block)[3:] for block in re.findall(r'```sh\n(.*?)```', _PAGE, re.DOTALL)]
_EXAMPLES = str(_ROOT / 'experiments' / 'examples' / 'my_models.py')
_FLOAT, _INT = np.dtype(np.float32), np.dtype(np.int32)
_FILMS = (InputColumn('user', 0, 1, vocabulary=5), InputColumn('film', 1, 2, vocabulary=9))


@pytest.mark.parametrize('command', _COMMANDS, ids=lambda command: command[-1])
def test_commands_are_accepted(command):
  validation.validate(settings_lib.from_flags(command_line.read_flags(command)))


def test_the_page_runs(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (code,) = re.findall(r'```python\n(.*?)```', _PAGE, re.DOTALL)
  pathlib.Path('my_models.py').write_text(code)
  few = ['--num_clients=4', '--total_rounds=1']
  for command in (_COMMANDS[0], _COMMANDS[2]):
    assert command_line.run(train.main, ['train.py', *command, *few]) == 0
  with np.load('results/mine/model.npz') as before, np.load('results/head_only/model.npz') as after:
    moved = {name: bool(np.any(before[name] != after[name])) for name in before.files}
  assert moved == {
    'base/kernel': False, 'base/bias': False, 'head/kernel': True, 'head/bias': True,
  }  # fmt: skip


@pytest.mark.parametrize(
  ('function', 'spec'),
  [
    ('cnn', ModelSpec((28, 28, 1), _FLOAT, (), _INT, Problem.CLASSIFICATION, 10)),
    ('lstm', ModelSpec((128, 9), _FLOAT, (), _INT, Problem.CLASSIFICATION, 6)),
    ('recommender', ModelSpec((2,), _INT, (), _FLOAT, Problem.REGRESSION, 1, inputs=_FILMS)),
  ],
)
def test_the_example_file_builds(function, spec):
  assert models.build(f'{_EXAMPLES}:{function}', spec, 0).num_parameters > 0
