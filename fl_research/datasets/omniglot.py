"""Omniglot: which character is drawn? A client is one person drawing one alphabet.

Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic program
induction" (Science, 2015), the two smaller background sets: 8 alphabets, 242 characters, 20 drawers
each. Greek and Latin are in both archives and are taken once: 4,840 images, 160 clients.

An example is one drawing: x float32 [28, 28, 1], y int32 [] in 0..241 (alphabet, then character).
The published images are 105 x 105 with one bit per pixel; each of the 28 x 28 values is the part of
its square (3.75 pixels wide) that is ink, from 0 = blank to 1 = all ink.

Split: a drawer draws every character of the alphabet once, so holding out some of a drawer's images
would leave characters that this drawer never trains on. Drawers are held out instead: a fifth of
each alphabet's drawers (4 of 20), drawn from the seed, are the test clients; 128 clients train.
"""

from collections.abc import Iterator
import io
import re
import zipfile

import numpy as np
from PIL import Image

from fl_research import random_streams
from fl_research.datasets import files
from fl_research.datasets.federated_data import (
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.datasets.splits import clients_by_owner, held_out_rows
from fl_research.registry import UsageError

_FOLDER = 'omniglot'
_URL = 'https://github.com/brendenlake/omniglot/raw/master/python/'
_SHA256 = {
  'images_background_small1.zip': (
    'f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4'
  ),
  'images_background_small2.zip': (
    '3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f'
  ),
}
_IMAGE = re.compile(
  r'[^/]+/(?P<alphabet>[^/]+)/(?P<character>character\d+)/\d+_(?P<drawer>\d+)\.png'
)
_PUBLISHED_SIDE, _SIDE = 105, 28


def load(options: DatasetOptions) -> FederatedData:
  """Reads the drawings by drawer; reads `options.data_dir` and `options.seed`.

  Raises:
    UsageError: a file is missing, damaged, or not in the published format.
  """
  drawings: dict[tuple[str, str, str], np.ndarray] = {}
  sources = {}
  for name, sha256 in _SHA256.items():
    path = files.fetch(options.data_dir, _FOLDER, name, _URL + name, sha256)
    drawings.update(_read(path))
    sources[name] = files.sha256_of(path)
  keys = sorted(drawings)
  classes, y = _numbered([(alphabet, character) for alphabet, character, _ in keys])
  people, owner = _numbered([(alphabet, drawer) for alphabet, _, drawer in keys])
  arrays = {'x': np.stack([drawings[key] for key in keys]), 'y': y.astype(np.int32)}
  test_people = held_out_rows(
    np.array([alphabet for alphabet, _ in people]),
    random_streams.generator(options.seed, 'omniglot split'),
  )
  ids = ['/'.join(person) for person in people]
  train, test = (
    clients_by_owner({key: array[rows] for key, array in arrays.items()}, owner[rows], ids)
    for rows in (~test_people[owner], test_people[owner])
  )
  return FederatedData(
    train=train,
    test=test.pooled(),
    problem=Problem.CLASSIFICATION,
    num_classes=len(classes),
    test_clients=test,
    sources=sources,
  )


def _read(path) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
  """Yields ((alphabet, character, drawer), float32 [28, 28, 1]) for every image of an archive."""
  found = False
  with files.reading(path), zipfile.ZipFile(path) as archive:
    for member in archive.namelist():
      if match := _IMAGE.fullmatch(member):
        found = True
        drawing = (match['alphabet'], match['character'], match['drawer'])
        with files.reading(f'{path}: {member}'):
          ink = _ink(archive.read(member))
        yield drawing, ink
  if not found:
    raise UsageError(f'{path}: no images alphabet/character00/0000_00.png in it')


def _ink(png: bytes) -> np.ndarray:
  image = np.asarray(Image.open(io.BytesIO(png)).convert('1'))
  if image.shape != (_PUBLISHED_SIDE, _PUBLISHED_SIDE):
    raise OSError(f'{image.shape[1]} x {image.shape[0]} pixels instead of 105 x 105')
  small = _SHARES @ ~image @ _SHARES.T
  return small[:, :, np.newaxis].astype(np.float32)


def _shares() -> np.ndarray:
  """float64 [28, 105]: how much each published pixel adds to the mean over a new one's width."""
  width = _PUBLISHED_SIDE / _SIDE
  first = np.arange(_SIDE)[:, np.newaxis] * width
  pixel = np.arange(_PUBLISHED_SIDE)
  overlap = np.minimum(first + width, pixel + 1) - np.maximum(first, pixel)
  return np.maximum(overlap, 0) / width


_SHARES = _shares()


def _numbered(names: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], np.ndarray]:
  """The distinct names in order, and the number of each."""
  distinct = sorted(set(names))
  number = {name: position for position, name in enumerate(distinct)}
  return distinct, np.array([number[name] for name in names])
