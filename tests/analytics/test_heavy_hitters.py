"""The sketch gives the words of all clients and their exact counts, or says how many it lacks."""

import collections

import numpy as np
import pandas as pd
import pytest

from fl_research.analytics import columns
from tests import contexts
from tests.analytics import clients, tables

WORDS = {'analysis': 'heavy_hitters', 'column': 'word', 'heavy_hitters_capacity': 10}


@pytest.fixture(scope='module')
def people(tmp_path_factory):
  return tables.write(tmp_path_factory.mktemp('table'))


def found(setup):
  with contexts.fused(chunks=3):
    analysis = clients.build(setup)
    state = analysis.step(analysis.initial(), 1, np.arange(len(setup.data.train)))
  return analysis.measures(state), analysis.table(state)


def test_gives_every_word_its_count_and_its_clients(people):
  row, rows = found(tables.setup(people, **WORDS))
  table = pd.read_csv(people)
  assert [(line['word'], line['count']) for line in rows] == [
    (word, count) for word, count in collections.Counter(table['word']).most_common()
  ]
  owners = table.groupby('word')['who'].nunique()
  assert all(line['clients'] == owners[line['word']] for line in rows)
  assert row == {
    'heavy_hitters/words': 4,
    'heavy_hitters/not_decoded': 0,
    'heavy_hitters/recall': 1.0,
  }


def test_secure_sums_few_clients_and_long_words(people):
  """Words are cut, and those of fewer than five clients left out."""
  flags = {
    **WORDS,
    'secure_aggregation': 'clear',
    'heavy_hitters_max_bytes': 3,
    'heavy_hitters_min_clients': 5,
  }
  row, rows = found(tables.setup(people, **flags))
  table = pd.read_csv(people)
  owners = table.groupby(table['word'].str[:3])['who'].nunique()
  assert {line['word'] for line in rows} == set(owners.index[owners >= 5])
  assert row['heavy_hitters/recall'] == len(rows) / 4


def test_the_most_frequent_and_the_recall():
  words = [b'b', b'a', b'c', b'a', b'b']
  assert columns.most_frequent(words) == [b'a', b'b', b'c']
  assert columns.recall([b'a', b'b'], [b'b', b'x']) == 0.5
  assert np.isnan(columns.recall([], []))
