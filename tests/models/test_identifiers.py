"""Columns of ids are embedded, and models of data without any are what they were."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import itertools

import numpy as np
import pytest

from fl_research import models
from fl_research.datasets.federated_data import Problem
from fl_research.registry import UsageError
from tests.models import test_architectures

TABLE = test_architectures.table(Problem.REGRESSION, 1)


def test_factorization_is_that_of_the_paper():
  model = models.build('factorization', TABLE, 3)
  weights = test_architectures.moved_weights(model)
  x, _ = test_architectures.batch(TABLE, 4)
  named = model.named_weights(weights)
  assert list(named) == [
    'user_id_weight/embeddings', 'user_id_factors/embeddings', 'film_weight/embeddings',
    'film_factors/embeddings', 'numbers_weight/kernel', 'numbers_factors/kernel', 'bias/bias',
  ]  # fmt: skip
  for row, output in zip(x, model.predict_on_batch((weights, ()), x), strict=True):
    # One-hot, as the paper has it: 5 users, 7 films, 3 numbers.
    features = np.concatenate([np.eye(5)[int(row[0])], np.eye(7)[int(row[2])], row[[1, 3, 4]]])
    parts = [('user_id', 'embeddings'), ('film', 'embeddings'), ('numbers', 'kernel')]
    linear, vectors = (
      np.concatenate([named[f'{part}_{kind}/{weight}'] for part, weight in parts])
      for kind in ('weight', 'factors')
    )
    pairs = itertools.combinations(range(15), 2)
    y = named['bias/bias'][0] + features @ linear[:, 0]
    y += sum(vectors[i] @ vectors[j] * features[i] * features[j] for i, j in pairs)
    np.testing.assert_allclose(output, [y], rtol=1e-5)


@pytest.mark.parametrize('name', ['softmax', 'mlp', '2nn'])
def test_ids_are_no_quantities(name):
  model = models.build(name, TABLE, 0)
  assert model.weight_names[:2] == ('columns_1/user_id/embeddings', 'columns_1/film/embeddings')
  weights = test_architectures.moved_weights(model)
  x, _ = test_architectures.batch(TABLE, 1)
  rows = np.repeat(x, 7, axis=0)
  rows[:, 2] = np.arange(7)
  y = model.predict_on_batch((weights, ()), rows)[:, 0].numpy()
  # Not on a line, as they would be if 6 were six times 1.
  assert np.abs(np.diff(y, 2)).max() > 1e-4


def test_factorization_needs_ids():
  spec = test_architectures.classes(3, 6)
  with pytest.raises(UsageError, match=r'--model=factorization: .*columns of ids'):
    models.build('factorization', spec, 0)
