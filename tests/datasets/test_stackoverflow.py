"""Tests of Stack Overflow on a small database in TFF's format, through TFF's own loader."""

import hashlib

import numpy as np
import pytest

from fl_research import tasks
from fl_research.datasets import stackoverflow
from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.registry import UsageError
from tests.datasets import tff_database

_WORDS = 'the 9\nto 7\nuse 5\npython 2\n'


def _example(tokens: bytes) -> dict:
  other = dict.fromkeys(('creation_date', 'tags', 'title', 'type'), b'?')
  return {'tokens': tokens, 'score': 1, **other}


@pytest.fixture
def options(tmp_path, monkeypatch) -> DatasetOptions:
  train = {'u2': [_example(b'use python'), _example(b'to use the zebra to')], 'u1': []}
  train['u1'] = [_example(b'the the')] * 4
  test = {'v1': [_example(b'python')]}
  tff_database.write(
    tmp_path / 'tff' / 'stackoverflow.sqlite', {'train': train, 'heldout': test, 'test': test}
  )
  path = tmp_path / 'tff' / 'stackoverflow.word_count.tar.bz2'
  tff_database.write_archive(path, 'stackoverflow.word_count', _WORDS)
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  monkeypatch.setattr(stackoverflow, '_WORDS_SHA256', digest)
  return DatasetOptions(str(tmp_path), sequence_length=4)


def test_tokens(options):
  data = tasks.load('stackoverflow', options)
  assert data.problem is Problem.NEXT_TOKEN
  assert data.num_classes == 8  # padding, four words, unknown, begin, end
  own = data.train.examples(1)
  # Words are 1..4, unknown 5, begin 6, end 7; what is cut off has no end.
  assert own['x'].tolist() == [[6, 3, 4, 7], [6, 2, 3, 1]]
  assert own['y'].tolist() == [[3, 4, 7, 0], [2, 3, 1, 5]]
  assert own['x'].dtype == np.int32
  assert data.train.sizes.tolist() == [4, 2]
  assert data.test['x'].tolist() == [[6, 4, 7, 0]]
  assert set(data.sources) == {'stackoverflow.sqlite', 'stackoverflow.word_count.tar.bz2'}


def test_users_are_capped_and_the_vocabulary_cut(options, monkeypatch):
  monkeypatch.setattr(stackoverflow, '_MOST_EXAMPLES', 3)
  monkeypatch.setattr(stackoverflow, '_VOCABULARY_SIZE', 2)
  data = tasks.load('stackoverflow', options)
  assert data.num_classes == 6
  assert data.train.sizes.tolist() == [3, 2]
  assert len(data.train.examples(0)['y']) == 3


def test_archive_without_words(options, tmp_path, monkeypatch):
  path = tmp_path / 'tff' / 'stackoverflow.word_count.tar.bz2'
  tff_database.write_archive(path, 'else', _WORDS)
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  monkeypatch.setattr(stackoverflow, '_WORDS_SHA256', digest)
  with pytest.raises(UsageError, match=r'has no stackoverflow\.word_count'):
    tasks.load('stackoverflow', options)
