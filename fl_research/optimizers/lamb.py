"""LAMB: Adam whose steps are as long as the weights of their layer.

You, Li, Reddi, Hseu, Kumar, Bhojanapalli, Song, Demmel, Keutzer, Hsieh 2020, "Large Batch
Optimization for Deep Learning: Training BERT in 76 minutes", algorithm 2. For every weight of the
model (a kernel, a bias) by itself, with t the number of the step and both moments 0 at first,

    m = β_1 m + (1 - β_1) g,    v = β_2 v + (1 - β_2) g²
    r = (m / (1 - β_1^t)) / (√(v / (1 - β_2^t)) + ε) + λ w
    w = w - η |w| / |r| r.

So η is the share of its length that a weight moves in a step. Where w or r is 0, r is taken as it
is. λ is `--client_step_weight_decay`, and `--server_step_weight_decay`.

Differences from the paper:
1. The paper leaves open how |w| is bounded (its φ); here it is not, as in optax.
2. Layers are the tensors of the model: biases and scales have lengths of their own.
"""

import tensorflow as tf

from fl_research.optimizers import stateful


class Lamb(stateful.StatefulOptimizer):
  """You et al. 2020, algorithm 2 (see the module's docstring).

  Args:
    learning_rate: η ≥ 0.
    beta_1, beta_2: in [0, 1).
    epsilon: ε > 0.
    weight_decay: λ ≥ 0.
  """

  moments = ('first', 'second')

  def __init__(
    self, learning_rate: float, beta_1: float, beta_2: float, epsilon: float, weight_decay: float
  ):
    super().__init__(learning_rate)
    self._beta_1 = beta_1
    self._beta_2 = beta_2
    self._epsilon = epsilon
    self._weight_decay = weight_decay

  def step(self, count, weights, gradients, moments):
    first = _blend(self._beta_1, moments['first'], gradients)
    second = _blend(self._beta_2, moments['second'], tuple(g * g for g in gradients))
    corrections = (1.0 - tf.pow(self._beta_1, count), 1.0 - tf.pow(self._beta_2, count))
    steps = tuple(
      self._of_a_layer(w, m / corrections[0], v / corrections[1])
      for w, m, v in zip(weights, first, second, strict=True)
    )
    return steps, {'first': first, 'second': second}

  def _of_a_layer(self, weight: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    ratio = first / (tf.sqrt(second) + self._epsilon) + self._weight_decay * weight
    length, own = tf.norm(weight), tf.norm(ratio)
    nothing = tf.logical_or(tf.equal(length, 0.0), tf.equal(own, 0.0))
    return tf.where(nothing, 1.0, tf.math.divide_no_nan(length, own)) * ratio


def _blend(beta, old, new):
  """β old + (1 - β) new."""
  return tuple(beta * o + (1.0 - beta) * n for o, n in zip(old, new, strict=True))


def lamb(
  learning_rate: float, beta_1: float, beta_2: float, epsilon: float, step_weight_decay: float
) -> Lamb:
  """The registry's entry point."""
  return Lamb(learning_rate, beta_1, beta_2, epsilon, step_weight_decay)
