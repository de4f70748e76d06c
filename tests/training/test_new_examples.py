"""New examples of every form are what a run's own were: read from what the run keeps alone."""

import numpy as np
import pytest

from fl_research.importing import dialect
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.training import prediction, run_data, stored_data
from tests.importing import made


def _stored(folder, **settings):
  """What a run on these data keeps, written and read."""
  data = run_data.load(Settings(experiment_name='x', clients_per_round=1, **settings))
  stored_data.save(folder, data)
  return data, stored_data.load(folder)


def _read(stored, path):
  parts = list(prediction.read(stored, str(path), dialect.Given()))
  return np.concatenate([part.x for part in parts]), parts[0].told


def test_pictures(tmp_path):
  path = made.pictures(tmp_path / 'in')
  data, stored = _stored(tmp_path, task='images', data_file=str(path), image_colour='grey')
  made.picture(tmp_path / 'new' / 'deep' / 'a.png', 51, (30, 20))
  made.picture(tmp_path / 'new' / 'b.jpg', 204)
  x, told = _read(stored, tmp_path / 'new')
  assert x.shape == (2, *data.spec.input_shape) and x.dtype == data.spec.x_dtype
  assert told['file'].tolist() == ['b.jpg', 'deep/a.png']
  one, _ = _read(stored, path / 'client_1' / 'dog' / 'client_1_0.png')
  own = data.train.examples(0)
  np.testing.assert_array_equal(one[0], own['x'][own['y'] == 1][0])
  with pytest.raises(UsageError, match=r'no \.png or \.jpg file'):
    _read(stored, _empty(tmp_path))


def _empty(folder):
  (folder / 'empty').mkdir()
  return folder / 'empty'


def test_windows(tmp_path):
  path = made.series(tmp_path / 's.csv')
  columns = {'client_column': 'subject', 'label_column': 'state', 'time_column': 'second'}
  data, stored = _stored(tmp_path, task='windows', data_file=str(path), window_length=8, **columns)
  x, told = _read(stored, path)
  assert told['subject'].tolist() == ['s1'] * 9 + ['s2'] * 9
  assert told['row'].tolist()[:3] == [1, 5, 9] and told['row'].tolist()[9] == 41
  np.testing.assert_array_equal(x[:6], data.train.examples(0)['x'])
  np.testing.assert_array_equal(x[7:9], data.test_clients.examples(0)['x'])
  bare = tmp_path / 'bare.csv'
  bare.write_text('second,ax\n1,2\n')
  with pytest.raises(UsageError, match='has no column ay, which the run was trained with'):
    _read(stored, bare)


@pytest.mark.parametrize('channels', [[3], []])
@pytest.mark.parametrize('one_file', [True, False])
@pytest.mark.parametrize('levels', [True, False])
def test_arrays(tmp_path, levels, one_file, channels):
  x = (
    made.generator()
    .integers(0, 256, (10, 6, 6, *channels))
    .astype(np.uint8 if levels else np.float32)
  )
  path = made.npz_clients(tmp_path / 'in', x=x)
  if one_file:
    path = made.one_npz(tmp_path / 'all.npz', 10, x=x)
  data, stored = _stored(tmp_path, task='npz', data_file=str(path))
  np.savez(tmp_path / 'new.npz', x=x)
  found, _ = _read(stored, tmp_path / 'new.npz')
  assert (found.max() <= 1) == levels
  assert set(data.train.pooled()['x'].ravel().tolist()) <= set(found.ravel().tolist())
