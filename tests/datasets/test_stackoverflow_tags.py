"""Tests of tag prediction on a small database in TFF's format, through TFF's own loader."""

import hashlib
import json

import numpy as np

from fl_research import tasks
from fl_research.datasets import stackoverflow, stackoverflow_tags
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import tff_database


def test_bags_of_words_and_tags(tmp_path, monkeypatch):
  example = {
    'tokens': b'use the python use zebra',
    'title': b'the snake',
    'tags': b'python|rare|java',
    'creation_date': b'',
    'type': b'',
    'score': 1,
  }
  other = {**example, 'tokens': b'zebra', 'title': b'', 'tags': b'rare'}
  users = {'u': [example, other]}
  folder = tmp_path / 'tff'
  tff_database.write(
    folder / 'stackoverflow.sqlite', dict.fromkeys(('train', 'heldout', 'test'), users)
  )
  archives = {
    (stackoverflow, '_WORDS_SHA256', 'stackoverflow.word_count'): 'the 9\nuse 7\npython 5\n',
    (stackoverflow_tags, '_TAGS_SHA256', 'stackoverflow.tag_count'): json.dumps(
      {'java': 3, 'rare': 1, 'python': 8}
    ),
  }
  for (module, constant, name), text in archives.items():
    path = folder / f'{name}.tar.bz2'
    tff_database.write_archive(path, name, text)
    monkeypatch.setattr(module, constant, hashlib.sha256(path.read_bytes()).hexdigest())
  monkeypatch.setattr(stackoverflow_tags, '_NUM_TAGS', 2)

  data = tasks.load('stackoverflow_tags', DatasetOptions(str(tmp_path)))
  assert data.problem is Problem.MULTILABEL
  assert data.num_classes == 2
  own = data.train.examples(0)
  np.testing.assert_allclose(own['x'], [[2 / 5, 2 / 5, 1 / 5], [0, 0, 0]], rtol=1e-6)
  assert own['y'].tolist() == [[1, 1], [0, 0]]  # python, java; rare is not among the two
  assert own['x'].dtype == own['y'].dtype == np.float32
