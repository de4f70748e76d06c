"""What arrays look like is said where they do not say it themselves."""

import numpy as np
import pytest

from fl_research.datasets.federated_data import DatasetOptions, PooledData, Problem
from fl_research.importing import doubts, npz_files
from fl_research.registry import UsageError
from tests.importing import made

_DRAWS = np.random.default_rng(0)
_ROWS = 60
_PICTURES = _DRAWS.random((_ROWS, 3, 8, 8)).astype(np.float32)
_CLASSES = np.arange(_ROWS, dtype=np.int32) % 3

DOUBTS = {
  'levels to 255': (
    _PICTURES[:, 0] * 255,
    _CLASSES,
    Problem.CLASSIFICATION,
    'x goes from .* to 25',
  ),
  'colours first': (_PICTURES, _CLASSES, Problem.CLASSIFICATION, 'np.moveaxis'),
  'one-hot': (_PICTURES[:, 0], np.eye(3)[_CLASSES], Problem.MULTILABEL, 'y.argmax'),
  'classes as fractions': (_PICTURES[:, 0], np.float32(_CLASSES), Problem.REGRESSION, 'astype'),
}


@pytest.mark.parametrize('case', DOUBTS)
def test_a_doubt(case):
  x, y, problem, line = DOUBTS[case]
  found = list(doubts.of({'x': x, 'y': y}, problem))
  assert len(found) == 1
  with pytest.raises(ValueError, match=line):
    raise ValueError(found[0])


@pytest.mark.parametrize(
  ('x', 'y', 'problem'),
  [
    (np.moveaxis(_PICTURES, 1, -1), _CLASSES, Problem.CLASSIFICATION),
    (_DRAWS.normal(size=(_ROWS, 3, 20, 5)), _CLASSES, Problem.CLASSIFICATION),
    (_PICTURES[:, 0], _DRAWS.integers(0, 2, (_ROWS, 3)), Problem.MULTILABEL),
    (_PICTURES[:, 0], 0.5 * _CLASSES, Problem.REGRESSION),
    (_PICTURES[:, 0], np.arange(_ROWS, dtype=np.float32), Problem.REGRESSION),
    (np.full((_ROWS, 8), 80), np.full((_ROWS, 8), 80), Problem.NEXT_TOKEN),
  ],
)
def test_no_doubt(x, y, problem):
  assert not list(doubts.of({'x': x, 'y': y}, problem))


def test_quantities_are_no_classes(tmp_path):
  y = np.array([0, 300_000, 250_000, 180_000, 90_000] * 4)
  for path in (made.one_npz(tmp_path / 'one.npz', y=y), made.npz_clients(tmp_path / 'n', y=y[:10])):
    with pytest.raises(UsageError, match=r'y goes up to 300000 in .* rows, which are no classes'):
      npz_files.open_source(DatasetOptions('', data_file=str(path), seed=0))


def test_rows_of_nobody(tmp_path, capsys):
  path = tmp_path / 'one.npz'
  np.savez(path, x=_PICTURES, y=_CLASSES)
  data = npz_files.load(DatasetOptions('', data_file=str(path), seed=0))
  assert isinstance(data, PooledData)
  assert len(data.train['y']) == 48 and len(data.test['y']) == 12
  assert 'np.moveaxis' in capsys.readouterr().err
  np.savez(path, x=_PICTURES, y=_CLASSES, who=_CLASSES)
  with pytest.raises(UsageError, match='--client_column=who'):
    npz_files.load(DatasetOptions('', data_file=str(path), seed=0))
