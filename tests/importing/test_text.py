"""Text by author: tokens, whose the test texts are, and where the vocabulary comes from."""

import numpy as np
import pytest

from fl_research.datasets.federated_data import DatasetOptions, Problem
from fl_research.importing import text, tokens
from tests.datasets import dataset_checks as checks
from tests.importing import made


def options(path, **changes):
  return DatasetOptions(data_dir='', data_file=str(path), **changes)


def test_a_text_is_predicted_token_by_token():
  tokenizer = tokens.Tokenizer(options('', sequence_length=4))
  vocabulary = tokenizer.vocabulary(tokens.count(['abba', 'a'], tokenizer))
  assert vocabulary.tokens == ['a', 'b'] and vocabulary.num_tokens == 6
  examples = vocabulary.examples('abcab')  # c is unknown (3), begin is 4, end 5
  assert examples['x'].tolist() == [[4, 1, 2, 3], [1, 2, 0, 0]]
  assert examples['y'].tolist() == [[1, 2, 3, 1], [2, 5, 0, 0]]
  assert len(vocabulary.examples('abc')['x']) == tokenizer.examples_of('abc') == 1


def test_words_and_signs():
  tokenizer = tokens.Tokenizer(options('', tokens='words', vocabulary_size=2))
  assert tokenizer.cut("Well, it's so.") == ['well', ',', 'it', "'", 's', 'so', '.']
  assert tokenizer.vocabulary(tokens.count(['b a a b c'], tokenizer)).tokens == ['a', 'b']


def test_the_last_texts_are_for_testing_and_give_no_words(tmp_path):
  data = text.load(options(made.texts(tmp_path), sequence_length=3))
  checks.assert_form(data, [3], np.int32, [3], np.int32)
  assert data.problem is Problem.NEXT_TOKEN
  assert list(data.train.ids) == ['ann', 'bob']
  # Ann's five texts make two examples each but the last, of six letters, three; bob's one 14.
  assert data.train.sizes.tolist() == [8, 11] and data.test_clients.sizes.tolist() == [3, 3]
  assert data.preprocessing['vocabulary'] == ['b', 'a', 'c']
  assert data.num_classes == 7 and 4 in data.test['x']
  stream = np.concatenate([data.train.examples(1)['y'], data.test_clients.examples(1)['y']])
  # b is 1, a is 2, and the end of the text is 6.
  assert stream.ravel().tolist() == [1, 2] * 20 + [6, 0]


def test_a_table_of_texts(tmp_path):
  path = made.text_table(tmp_path / 'said.csv')
  given = {'client_column': 'who', 'text_column': 'said', 'tokens': 'words'}
  data = text.load(options(path, **given))
  assert list(data.train.ids) == ['ann', 'bob'] and data.train.sizes.tolist() == [5, 5]
  assert (
    data.preprocessing['vocabulary'][0] == 'well' and data.train.examples(0)['x'].shape[1] == 20
  )
  foreign = tmp_path / 'foreign.csv'
  body = path.read_text().replace(', ', '# ').replace(',', ';').replace('#', ',')
  foreign.write_bytes(body.replace('ann', 'Änne').encode('latin-1'))
  assert list(text.load(options(foreign, **given)).train.ids) == ['Änne', 'bob']
  import pandas as pd

  packed = tmp_path / 'said.parquet'
  pd.read_csv(path).to_parquet(packed)
  again = text.load(options(packed, **given))
  np.testing.assert_array_equal(again.train.pooled()['x'], data.train.pooled()['x'])


@pytest.mark.parametrize('name', ['a', 'deep/a'])
def test_a_file_or_a_folder_each(tmp_path, name):
  for author in ('x', 'y'):
    path = tmp_path / (f'{author}.txt' if name == 'a' else f'{author}/1.txt')
    path.parent.mkdir(exist_ok=True)
    path.write_text('some words' * 20)
  assert list(text.load(options(tmp_path)).train.ids) == ['x', 'y']
