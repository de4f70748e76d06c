"""Counts of different words are those of the papers, and near the truth."""

import math

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from fl_research.analytics import columns, distinct
from fl_research.datasets import shakespeare
from fl_research.registry import UsageError
from tests import contexts
from tests.analytics import clients, tables

WORDS = {'analysis': 'distinct', 'column': 'word'}


@pytest.fixture(scope='module')
def people(tmp_path_factory):
  """A table whose column note is of texts, and word of names."""
  path = tables.write(tmp_path_factory.mktemp('table'))
  table = pd.read_csv(path)
  generator = np.random.default_rng(1)
  names = [f'{a}{b}' for a in 'bcdfghklmnprstvw' for b in ('alma', 'éro', 'unti', 'eka', 'oru')]
  table['note'] = [
    f'The {", ".join(generator.choice(names, 6))}! said person {k}' for k in range(len(table))
  ]
  table.to_csv(path, index=False)
  return path


def found(setup):
  with contexts.fused(chunks=3):
    analysis = clients.build(setup)
    state = analysis.step(analysis.initial(), 1, np.arange(len(setup.data.train)))
  [line] = analysis.table(state)
  return line


@pytest.mark.parametrize('flags', [{}, {'secure_aggregation': 'clear', 'secure_sum_bound': 9.0}])
def test_linear_counting_agrees_with_the_paper(flags, people):
  """Of the buckets of a hash that is TensorFlow's, and its only part that is."""
  own = {'columns': 'note:text'}
  setup = tables.setup(
    people, analysis='distinct', column='note', distinct_buckets=64, **own, **flags
  )
  line = found(setup)
  words = sorted({word for own in columns.texts(setup) for word in own})
  salted = [b'0:' + word.encode() for word in words]
  full = len(set(tf.strings.to_hash_bucket_fast(salted, 64).numpy().tolist()))
  assert 0 < full < 64 and line['exact'] == len(words)
  assert line['estimate'] == pytest.approx(64 * math.log(64 / (64 - full)))
  t = line['estimate'] / 64
  assert line['standard_error'] == pytest.approx(math.sqrt(64 * (math.exp(t) - t - 1)))


def test_words_of_texts_and_names_of_cells(people):
  setup = tables.setup(people, analysis='distinct', column='note', columns='note:text')
  table = pd.read_csv(people)
  for client, own in zip(setup.data.train.ids, columns.texts(setup)):
    notes = ' '.join(table['note'][table['who'] == client]).lower()
    for mark in ',!0123456789':
      notes = notes.replace(mark, ' ')
    assert own.tolist() == notes.split()
  setup = tables.setup(people, **WORDS)
  for client, own in zip(setup.data.train.ids, columns.texts(setup)):
    assert own.tolist() == table['word'][table['who'] == client].tolist()


def test_many_buckets_are_near_the_truth(people):
  own = {'analysis': 'distinct', 'column': 'note', 'columns': 'note:text'}
  errors = []
  for seed in range(3):
    line = found(tables.setup(people, **own, distinct_buckets=2048, seed=seed))
    errors.append(line['estimate'] - line['exact'])
  assert len(set(errors)) > 1 and max(map(abs, errors)) < 4 * line['standard_error']


def test_full_and_empty():
  assert distinct.linear_count(np.zeros(8)) == 0.0
  assert distinct.linear_count(np.ones(8)) == math.inf
  assert distinct.linear_error(math.inf, 8) == math.inf


@pytest.mark.parametrize('secure', ['none', 'clear'])
def test_hyperloglog_is_tffs(secure, people):
  line = found(
    tables.setup(people, **WORDS, distinct_sketch='hyperloglog', secure_aggregation=secure)
  )
  assert line['exact'] == 4 and 22 <= line['estimate'] <= 30  # Never less, of 32 registers.
  assert line['standard_error'] == pytest.approx(1.04 / math.sqrt(32) * line['estimate'])


def test_words_of_roles():
  """Characters as the data set has them: labels are the stream without its beginning."""
  codes = {letter: k + 1 for k, letter in enumerate(shakespeare.VOCABULARY)}
  tokens = [codes[letter] for letter in "To be, or not\nto be? 'Tis"] + [shakespeare.END, 0, 0]
  words = columns._spoken(np.array(tokens, np.int32).reshape(4, -1))
  assert words.tolist() == ['to', 'be', 'or', 'not', 'to', 'be', 'tis']


def test_refuses_in_one_line():
  with pytest.raises(UsageError, match=r'--column=words: .* has no columns'):
    clients.build(clients.setup(analysis='distinct', column='words', task='digits'))
  with pytest.raises(UsageError, match='--distinct_sketch=x: accepted is linear or hyperloglog'):
    clients.settings(analysis='distinct', distinct_sketch='x')
