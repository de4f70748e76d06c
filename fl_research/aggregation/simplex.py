"""Weights that add up to one and make a quadratic form smallest, as rules that mix clients need.

They are found in float64 by moving weight from the client for whom less would help most to the one
for whom more would, as far as that helps (the sequential minimal optimisation of support vector
machines), until no pair is left whose slopes differ by 1e-10.
"""

import tensorflow as tf

_TOLERANCE = 1e-10
_MOST_MOVES = 10_000


def minimise(form: tf.Tensor, start: tf.Tensor, low: tf.Tensor, high: tf.Tensor) -> tf.Tensor:
  """The λ that minimises λᵀ G λ, low ≤ λ ≤ high, with the sum of `start`: float64 [n].

  Args:
    form: G, symmetric and positive semidefinite, float64 [n, n].
    start: a λ that is allowed, float64 [n].
    low, high: float64 [n].
  """
  infinity = tf.constant(float('inf'), tf.float64)

  def pair(mixture):
    """For whom more would help most, for whom less would, and by how much they differ."""
    slope = tf.linalg.matvec(form, mixture)
    up = tf.argmin(tf.where(mixture < high, slope, infinity))
    down = tf.argmax(tf.where(mixture > low, slope, -infinity))
    return up, down, tf.gather(slope, down) - tf.gather(slope, up)

  def move(moves, mixture, up, down, gain):
    at = lambda vector, place: tf.gather(vector, place)
    row = form[up] - form[down]
    curvature = at(row, up) - at(row, down)
    room = tf.minimum(at(high, up) - at(mixture, up), at(mixture, down) - at(low, down))
    step = tf.where(curvature > 0.0, tf.minimum(room, gain / tf.maximum(curvature, 1e-300)), room)
    change = tf.one_hot(up, tf.size(mixture), dtype=tf.float64)
    change -= tf.one_hot(down, tf.size(mixture), dtype=tf.float64)
    mixture = tf.clip_by_value(mixture + step * change, low, high)
    return moves + 1, mixture, *pair(mixture)

  _, mixture, *_ = tf.while_loop(
    lambda moves, mixture, up, down, gain: tf.logical_and(gain > _TOLERANCE, moves < _MOST_MOVES),
    move,
    (tf.constant(0), start, *pair(start)),
    parallel_iterations=1,
  )
  return mixture
