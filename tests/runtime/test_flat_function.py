"""Functions of flat tensors."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research.runtime import flat_function


def test_gives_what_the_function_gives_with_what_it_captures():
  captured = tf.constant([2.0, 3.0])
  scalar, vector = tf.TensorSpec([]), tf.TensorSpec([None])
  compiled = flat_function.FlatFunction(lambda x, y: [x * captured, y + x], [scalar, vector])
  for size in (1, 4):
    scaled, moved = compiled(tf.constant(2.0), tf.ones([size]))
    np.testing.assert_array_equal(scaled, [4.0, 6.0])
    np.testing.assert_array_equal(moved, np.full(size, 3.0))


def test_an_operation_that_fails_raises_its_error():
  def divide(x):
    return [x // 0]

  compiled = flat_function.FlatFunction(divide, [tf.TensorSpec([], tf.int32)])
  with pytest.raises(tf.errors.OpError, match='ivision by zero'):
    compiled(tf.constant(1))
