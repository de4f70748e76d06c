"""What is predicted follows from the labels, and answers come back in their words."""

import numpy as np
import pandas as pd
import pytest

from fl_research.datasets.federated_data import Problem
from fl_research.importing import labels, survey


def _label(table, said=None):
  table = pd.DataFrame(table)
  columns = []
  for name in table:
    columns.append(survey.Column(name))
    columns[-1].add(table[name], 'a.csv', 0)
  label = labels.choose(columns, said or {})
  label.fit(table, np.ones(len(table), bool))
  return label.fitted(), table


CASES = {
  'two texts': ({'a': ['n', 'y', 'n', 'y']}, Problem.BINARY, [0, 1, 0, 1], ('n', 'y')),
  'texts': ({'a': ['c', 'a', 'b'] * 2}, Problem.CLASSIFICATION, [2, 0, 1] * 2, ('a', 'b', 'c')),
  'whole numbers': ({'a': [2, 10, 1]}, Problem.CLASSIFICATION, [1, 2, 0], ('1', '2', '10')),
  'whole floats': ({'a': [2.0, 1.0]}, Problem.BINARY, [1, 0], ('1', '2')),
  'truth': ({'a': [True, False]}, Problem.BINARY, [1, 0], ('False', 'True')),
  'lists': (
    {'a': ['x|y', 'y', 'x|z', 'z|y', None]},
    Problem.MULTILABEL,
    [[1, 1, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [0, 0, 0]],
    ('x', 'y', 'z'),
  ),
  'lists of a type of their own': (
    {'a': [['x', 'y'], ['y'], []]},
    Problem.MULTILABEL,
    [[1, 1], [0, 1], [0, 0]],
    ('x', 'y'),
  ),
  'several tags': (
    {'a': [0, 1], 'b': [True, False]},
    Problem.MULTILABEL,
    [[0, 1], [1, 0]],
    ('a', 'b'),
  ),
  'a number': ({'a': [0.5, 2.5, 3.5]}, Problem.REGRESSION, [0.5, 2.5, 3.5], ()),
  'several numbers': (
    {'a': [0.5, 2.5], 'b': [3, 5]},
    Problem.REGRESSION,
    [[0.5, 3], [2.5, 5]],
    (),
  ),
}  # fmt: skip


@pytest.mark.parametrize('case', CASES)
def test_what_is_predicted(case):
  table, problem, y, names = CASES[case]
  label, table = _label(table)
  assert (label.problem, label.names) == (problem, names)
  assert label.num_classes == (1 if problem is Problem.REGRESSION else len(names))
  found = label.encode(table)
  np.testing.assert_array_equal(found, y)
  assert found.shape == (len(table), *label.y_shape) and found.dtype == label.y_dtype
  again = labels.from_data(label.to_data())
  np.testing.assert_array_equal(again.encode(table), found)
  np.testing.assert_array_equal(
    labels.from_data(label.to_data()).answers(found), label.answers(found)
  )


def test_answers_are_in_the_tables_words():
  label, _ = _label({'found': ['c', 'a', 'b'] * 2})
  assert label.answers(np.array([0, 2]))['found'].tolist() == ['a', 'c']
  label, _ = _label({'signs': ['x|y', 'y', 'x|z', 'z|y']})
  assert label.answers(np.array([[1, 0, 1], [0, 0, 0]]))['signs'].tolist() == ['x|z', '']
  label, _ = _label({'kg': [10.5, 20.5, 15.0]})
  assert label.answers(np.float32([12.5]))['kg'].tolist() == [12.5]


def test_numbers_have_the_unit_of_their_training_rows():
  table = pd.DataFrame({'a': [1000.0, 3000.0, 9000.0], 'b': [1.0, 2.0, 3.5]})
  columns = [survey.Column(name) for name in table]
  for column in columns:
    column.add(table[column.name], 'a.csv', 0)
  label = labels.choose(columns, {})
  label.fit(table, np.array([True, True, False]))
  scale = label.fitted().scale
  np.testing.assert_allclose(scale.mean, [2000, 1.5])
  np.testing.assert_allclose(scale.deviation, [1000, 0.5])
  assert scale.names == ('a', 'b') and scale.mean.dtype == np.float32


def test_flags_make_classes_of_numbers_and_numbers_of_classes():
  stars = {'stars': [1, 2, 3, 4, 5] * 5}
  assert _label(stars)[0].problem is Problem.CLASSIFICATION
  assert _label(stars, {'stars': 'number'})[0].problem is Problem.REGRESSION
  many = {'kind': list(range(30)) * 2}
  assert _label(many)[0].problem is Problem.REGRESSION
  assert _label(many, {'kind': 'category'})[0].num_classes == 30
