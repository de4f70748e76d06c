"""Evaluation goes through all examples, in their order, whatever their number."""

import numpy as np
import pytest

from fl_research.training import evaluation
from tests import contexts
from tests.algorithms import harness


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _examples(size):
  model = harness.model()
  x, y = model.input_spec
  draw = np.random.default_rng(size)
  return {
    'x': draw.normal(size=(size, *x.shape[1:])).astype(np.float32),
    'y': draw.integers(0, 2, size).astype(y.dtype.as_numpy_dtype),
  }


@pytest.fixture(scope='module')
def evaluator():
  return evaluation.Evaluator(harness.model())


@pytest.mark.parametrize('size', [0, 1, 255, 256, 257, 1024, 1025, 2700])
def test_every_example_once_and_in_order(evaluator, size):
  examples = _examples(size)
  weights = harness.model().initial_weights[0]
  found = evaluator.columns(weights, evaluation.ExampleSet(examples))
  assert {len(column) for column in found.values()} == {size}
  if not size:
    return
  output = harness.model().predict_on_batch((weights, ()), examples['x'], False)
  expected = harness.model().example_metrics(output, examples['y'])
  assert set(found) == set(expected)
  for name, column in expected.items():
    np.testing.assert_allclose(found[name], column, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'size, slices', [(0, 0), (1, 1), (257, 2), (1024, 4), (1025, 3), (9999, 4)]
)
def test_slices_are_few_and_of_whole_steps(size, slices):
  """What a client's own model is made of is computed once a slice."""
  found = evaluation.ExampleSet(_examples(size)).slices
  assert len(found) == slices
  assert all(len(one['y']) % 256 == 0 for one in list(found)[:-1])
  assert [int(one['first_row']) for one in found] == list(
    np.cumsum([0, *(len(o['y']) for o in found)])[:-1]
  )
