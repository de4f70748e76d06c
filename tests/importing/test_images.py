"""Pictures in folders: which level is what, sizes, colours, and whose they are."""

import numpy as np
from PIL import Image
import pytest

from fl_research.datasets.federated_data import DatasetOptions, FederatedData, PooledData, Problem
from fl_research.importing import folder_levels, images
from tests.datasets import dataset_checks as checks
from tests.importing import made


def options(folder, **changes):
  return DatasetOptions(data_dir='', data_file=str(folder), **changes)


@pytest.mark.parametrize('tree', ['{client}/{kind}', '{kind}/{client}', 'all/{client}/{kind}'])
def test_clients_and_classes_are_told_apart(tmp_path, tree):
  data = images.load(options(made.pictures(tmp_path, tree)))
  assert isinstance(data, FederatedData)
  checks.assert_form(data, [6, 8, 3], np.float32, [], np.int32)
  assert list(data.train.ids) == ['client_1', 'client_2', 'client_10']
  assert data.train.sizes.tolist() == [8, 8, 8] and data.test_clients.sizes.tolist() == [2, 2, 2]
  assert data.problem is Problem.BINARY and data.class_names == ('cat', 'dog')
  examples = data.train.examples(1)
  levels = np.where(examples['y'] == 1, 204, 51) / 255
  np.testing.assert_allclose(examples['x'][:, 0, 0, 0], levels, rtol=1e-6)
  assert not examples['x'][..., 1:].any()


def test_the_seed_draws_the_test_part(tmp_path):
  made.pictures(tmp_path)
  first, again = (images.load(options(tmp_path)).test['y'] for _ in range(2))
  others = [images.load(options(tmp_path, seed=seed)).test['y'] for seed in range(1, 6)]
  assert first.tolist() == again.tolist()
  assert any(other.tolist() != first.tolist() for other in others)


def test_train_and_test_folders(tmp_path):
  made.pictures(tmp_path, 'train/{client}/{kind}')
  made.picture(tmp_path / 'test' / 'client_2' / 'dog' / 'x.png', 204)
  data = images.load(options(tmp_path))
  assert data.train.sizes.tolist() == [10, 10, 10]
  assert list(data.test_clients.ids) == ['client_2'] and data.test['y'].tolist() == [1]


def test_without_clients_they_are_pooled(tmp_path):
  data = images.load(options(made.pictures(tmp_path, '{kind}')))
  assert isinstance(data, PooledData)
  assert len(data.train['y']) == 24 and len(data.test['y']) == 6


def test_the_flag_says_what_levels_are(tmp_path):
  for outer in 'ab':
    for inner in 'pqr':
      made.picture(tmp_path / outer / inner / 'x.png', 9)
      made.picture(tmp_path / outer / inner / 'y.png', 9)
  with checks.one_line_error('cannot tell', '--folder_levels=client/class', 'a (2) / p (3)'):
    images.load(options(tmp_path))
  data = images.load(options(tmp_path, folder_levels='class/client'))
  assert list(data.train.ids) == ['p', 'q', 'r'] and data.class_names == ('a', 'b')
  data = images.load(options(tmp_path, folder_levels='client/class'))
  assert list(data.train.ids) == ['a', 'b'] and data.class_names == ('p', 'q', 'r')


@pytest.mark.parametrize(
  'names, roles',
  [
    ([{'train', 'test'}, {'x', 'y'}], ('split', 'class')),
    ([{'1', '0', '2'}, {'x', 'y', 'z'}], ('class', 'client')),
    ([{'x', 'y'}, {str(k) for k in range(10)}], ('client', 'class')),
    ([{'hospital_a', 'hospital_b'}, {'x', 'y', 'z'}], ('client', 'class')),
    ([{'cat', 'dog'}, {'user1', 'user2'}, {'Train', 'Val'}], ('class', 'client', 'split')),
    ([{'only'}, {'x', 'y'}], ('ignore', 'class')),
  ],
)
def test_levels_by_their_names(names, roles):
  assert folder_levels.guess(names, 'here').roles == roles


def test_what_is_to_be_said_is_an_example_that_works(tmp_path):
  for client in 'ab':
    for kind in 'pqr':
      for k in range(2):
        made.picture(tmp_path / 'all' / client / kind / 'train' / f'{k}.png', 9)
  with checks.one_line_error('--folder_levels=ignore/client/class/split or in'):
    images.load(options(tmp_path))
  data = images.load(options(tmp_path, folder_levels='ignore/client/class/split'))
  assert list(data.train.ids) == ['a', 'b']


def test_sizes_and_colours(tmp_path):
  made.pictures(tmp_path)
  made.picture(tmp_path / 'client_1' / 'cat' / 'large.jpg', 255, (80, 60), 'L')
  source = images.open_source(options(tmp_path))
  assert source.spec.x_shape == (6, 8, 3)
  notes = ' '.join(source.found.notes)
  assert '1 of 31 pictures have another size' in notes and '1 of 31 pictures are grey' in notes
  assert images.open_source(options(tmp_path, image_size=5)).spec.x_shape == (5, 5, 3)
  grey = images.load(options(tmp_path, image_colour='grey'))
  assert grey.train.examples(0)['x'].shape[1:] == (6, 8, 1)
  large = tmp_path / 'large'
  for kind in 'ab':
    for k in range(2):
      made.picture(large / kind / f'{k}.png', 1, (400, 200))
  assert images.open_source(options(large)).spec.x_shape == (32, 64, 3)


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path):
  for kind, level in (('a', 0), ('b', 32768)):
    for k in range(2):
      (tmp_path / kind).mkdir(exist_ok=True)
      array = np.full((4, 4), level, np.uint16)
      Image.fromarray(array).save(tmp_path / kind / f'{k}.png')
  data = images.load(options(tmp_path))
  levels = {label: x.max() for label, x in zip(data.train['y'], data.train['x'])}
  assert levels[0] == 0 and levels[1] == pytest.approx(0.5, abs=1e-3)


def test_the_checksum_follows_every_file(tmp_path):
  made.pictures(tmp_path)
  first = dict(images.load(options(tmp_path)).sources)
  assert dict(images.load(options(tmp_path)).sources) == first
  made.picture(tmp_path / 'client_2' / 'dog' / 'client_2_0.png', 203)
  assert dict(images.load(options(tmp_path)).sources) != first


def test_other_files_are_named_and_hidden_ones_not(tmp_path):
  made.pictures(tmp_path)
  (tmp_path / 'client_1' / 'cat' / '.DS_Store').write_text('x')
  (tmp_path / 'client_1' / 'cat' / 'labels.csv').write_text('x')
  (note,) = (n for n in images.open_source(options(tmp_path)).found.notes if 'left out' in n)
  assert note == '1 files that are no pictures are left out: client_1/cat/labels.csv'
