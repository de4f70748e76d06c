import numpy as np
from sklearn.utils import class_weight

from fl_research.datasets import class_weights
from fl_research.datasets.federated_data import ContiguousClients, Problem

RNG = np.random.default_rng(0)


def clients(y):
  """Three clients, one of them empty."""
  return ContiguousClients({'x': np.zeros((len(y), 1)), 'y': y}, np.array([0, 7, 7, len(y)]))


def test_classes_are_weighted_as_scikit_learn_has_it():
  y = RNG.choice(4, 60, p=[0.7, 0.2, 0.1, 0.0]).astype(np.int32)
  weights = class_weights.balanced(clients(y), Problem.CLASSIFICATION, 5)
  expected = class_weight.compute_class_weight('balanced', classes=np.arange(3), y=y)
  np.testing.assert_allclose(weights, [*expected, 1, 1], rtol=1e-6)
  np.testing.assert_allclose(weights[y].mean(), 1, rtol=1e-6)


def test_binary():
  y = np.array([0] * 18 + [1] * 2, np.int32)
  weights = class_weights.balanced(clients(y), Problem.BINARY, 2)
  np.testing.assert_allclose(weights, [20 / 36, 20 / 4], rtol=1e-6)
  y = np.zeros(20, np.int32)
  np.testing.assert_array_equal(class_weights.balanced(clients(y), Problem.BINARY, 2), [1, 1])


def test_tags_are_binary_problems_each():
  y = np.zeros((20, 3), np.float32)
  y[:5, 0] = y[:2, 1] = 1
  weights = class_weights.balanced(clients(y), Problem.MULTILABEL, 3)
  expected = [[20 / 30, 20 / 10], [20 / 36, 20 / 4], [1, 1]]
  np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_equal_classes_weigh_exactly_one():
  y = np.tile(np.arange(3), 20).astype(np.int32)
  np.testing.assert_array_equal(
    class_weights.balanced(clients(y), Problem.CLASSIFICATION, 3), np.ones(3)
  )
