import collections
import io
import zipfile

import numpy as np
from PIL import Image
import pytest

from fl_research.datasets import omniglot
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import dataset_checks as checks

NAMES = ('images_background_small1.zip', 'images_background_small2.zip')


def png(ink: np.ndarray) -> bytes:
  """A 105 x 105 image of one bit per pixel, black where there is ink."""
  stream = io.BytesIO()
  Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)).convert('1').save(stream, 'PNG')
  return stream.getvalue()


def drawings(alphabets, drawers=5, characters=2) -> dict[str, bytes]:
  """Images by name: each is a bar whose height tells character and drawer."""
  images = {}
  for alphabet in alphabets:
    for character in range(1, characters + 1):
      for drawer in range(1, drawers + 1):
        ink = np.zeros((105, 105), bool)
        ink[: 15 * character, : 15 * drawer] = True
        name = f'set/{alphabet}/character{character:02d}/0001_{drawer:02d}.png'
        images[name] = png(ink)
  return images


@pytest.fixture
def archives(tmp_path, monkeypatch):
  (tmp_path / 'omniglot').mkdir()
  monkeypatch.setattr(omniglot, '_SHA256', {name: () for name in NAMES})

  def write(first: dict[str, bytes], second: dict[str, bytes], seed=0) -> DatasetOptions:
    for name, images in zip(NAMES, (first, second)):
      with zipfile.ZipFile(tmp_path / 'omniglot' / name, 'w') as stream:
        stream.writestr('set/', '')
        for member, content in images.items():
          stream.writestr(member, content)
    return DatasetOptions(data_dir=str(tmp_path), seed=seed)

  return write


def test_the_published_drawings():
  data = omniglot.load(checks.published('omniglot', NAMES[1]))
  checks.assert_form(data, [28, 28, 1], np.float32, [], np.int32)
  assert (data.problem, data.num_classes) == (Problem.CLASSIFICATION, 242)
  assert (len(data.train), len(data.test_clients)) == (128, 32)
  assert data.train.sizes.sum() + data.test_clients.sizes.sum() == 4_840
  assert not set(data.train.ids) & set(data.test_clients.ids)
  alphabets = [name.split('/')[0] for name in data.test_clients.ids]
  assert list(collections.Counter(alphabets).values()) == [4] * 8
  # Every character is drawn once by each of 16 training and 4 test people.
  assert np.bincount(data.train.pooled()['y']).tolist() == [16] * 242
  assert np.bincount(data.test['y']).tolist() == [4] * 242
  pool = data.train.pooled()['x']
  assert (pool.min(), pool.max()) == (0, 1)
  assert 0.05 < pool.mean() < 0.12


def test_alphabets_in_both_archives_are_taken_once(archives):
  data = omniglot.load(archives(drawings(['A', 'B']), drawings(['B', 'C'])))
  checks.assert_form(data, [28, 28, 1], np.float32, [], np.int32)
  assert data.num_classes == 6
  assert (len(data.train), len(data.test_clients)) == (12, 3)
  assert sorted(name[0] for name in data.test_clients.ids) == ['A', 'B', 'C']
  everything = sorted([*data.train.ids, *data.test_clients.ids])
  assert everything == [f'{a}/{drawer:02d}' for a in 'ABC' for drawer in range(1, 6)]


def test_images_keep_their_owner_label_and_ink(archives):
  data = omniglot.load(archives(drawings(['A']), drawings(['B'])))
  for clients in (data.train, data.test_clients):
    for position, name in enumerate(clients.ids):
      examples = clients.examples(position)
      first_label = 2 * 'AB'.index(name[0])
      assert examples['y'].tolist() == [first_label, first_label + 1]
      for character, image in enumerate(examples['x'], start=1):
        # A bar of 15 * character by 15 * drawer pixels covers 4 by 4 values per 15 pixels.
        expected = np.zeros((28, 28, 1), np.float32)
        expected[: 4 * character, : 4 * int(name[2:])] = 1
        np.testing.assert_array_equal(image, expected)


def test_a_partly_inked_square_is_the_part_that_is_ink():
  ink = np.zeros((105, 105), bool)
  ink[:3, :] = True
  image = omniglot._ink(png(ink))
  np.testing.assert_allclose(image[0], 3 / 3.75, rtol=1e-6)
  np.testing.assert_array_equal(image[1:], 0)


def test_the_seed_decides_who_is_held_out(archives):
  held_out = {
    tuple(omniglot.load(archives(drawings(['A']), drawings(['B']), seed)).test_clients.ids)
    for seed in (0, 0, 1, 2, 3)
  }
  assert 1 < len(held_out) <= 4


@pytest.mark.parametrize(
  'images, part',
  [
    ({}, 'no images'),
    ({'set/A/character01/readme.txt': b'x'}, 'no images'),
    ({'set/A/character01/0001_01.png': b'not a picture'}, '0001_01.png'),
    ({'set/A/character01/0001_01.png': png(np.ones((105, 105)))[:50]}, '0001_01.png'),
    ({'set/A/character01/0001_01.png': png(np.ones((28, 28)))}, '28 x 28 pixels'),
  ],
)
def test_malformed_archives(archives, images, part):
  with checks.one_line_error(NAMES[1], part):
    omniglot.load(archives(drawings(['A']), images))
