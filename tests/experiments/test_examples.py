"""Every flag file of experiments/ is one that `experiments.train` accepts."""

import dataclasses
import pathlib

from absl import flags
import pytest

from experiments import command_line
from fl_research import tasks
from fl_research.soundness import validation

_FOLDER = pathlib.Path(__file__).parent.parent.parent / 'experiments'
_FILES = sorted(_FOLDER.rglob('*.flags'))


def _settings(path):
  values = flags.FlagValues()
  command_line.define_settings_flags(values)
  command_line.parse(values, ['train.py', f'--flagfile={path}'])
  return command_line.to_settings(values)


@pytest.mark.parametrize('path', _FILES, ids=lambda path: path.stem)
def test_is_accepted(path):
  settings = _settings(path)
  if settings.runtime == 'federation':  # Where the sites are is said by whoever starts it.
    settings = dataclasses.replace(settings, federation='direct:a=unix:/a.sock')
  validation.validate(settings)
  assert settings.experiment_name == path.stem
  assert settings.task in tasks.NAMES and settings.total_rounds >= 20


def test_there_is_one_for_every_kind_of_data():
  assert {_settings(path).task for path in _FILES} >= {
    'digits', 'mnist', 'shakespeare', 'uci_har', 'heart_disease', 'movielens', 'spoken_digits',
    'omniglot', 'tabular', 'npz', 'images', 'text', 'windows', 'idx', 'leaf', 'tff_files',
    'imported',
  }  # fmt: skip
