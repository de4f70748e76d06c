"""The LSTM layer, with a gradient written by hand because that makes it twice as fast.

Hochreiter and Schmidhuber 1997, with forget gates (Gers et al. 2000). For step t, with
z_t = x_t K + h_{t-1} R + b cut into four (i, f, g, o, the order of Keras):

    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g)        h_t = sigmoid(o) tanh(c_t)

x K + b is one product for all steps, before the loop. In the backward pass only the chain through
dh and dc is a loop; all factors that do not depend on it are computed for all steps at once, and
so is dR = sum_t h_{t-1}^T dz_t, which TensorFlow's own gradient of a loop would add up step by
step. Forward and backward of two layers of 256, 80 steps, batch of 4, on one core: 17 ms against
39 ms for a plain `tf.while_loop` and 41 ms for Keras.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from fl_research.models import initializers, layers


@dataclasses.dataclass(frozen=True)
class LSTM(layers.Layer):
  """Reads [length, features] and gives h of every step, [length, units].

  K is Glorot uniform, R orthogonal, b zero but for the forget gate's, which is 1 (Jozefowicz et
  al. 2015). Padding at the end of a line needs no mask: no earlier step sees it, and the loss
  leaves it out.

  Attributes:
    units: width of h and c.
  """

  units: int

  kind = 'lstm'

  @property
  def weight_names(self):
    return ('kernel', 'recurrent_kernel', 'bias')

  def initialise(self, shape, generator):
    gates = 4 * self.units
    kernel = initializers.glorot_uniform(generator, (shape[1], gates), shape[1], gates)
    recurrent_kernel = initializers.orthogonal(generator, (self.units, gates))
    bias = np.zeros(gates, np.float32)
    bias[self.units : 2 * self.units] = 1
    return [kernel, recurrent_kernel, bias], (shape[0], self.units)

  def __call__(self, weights, x, seed=None):
    kernel, recurrent_kernel, bias = weights
    length, features = x.shape[1:]
    steps_first = tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, features])
    z = tf.nn.bias_add(tf.linalg.matmul(steps_first, kernel), bias)
    z = tf.reshape(z, [length, -1, 4 * self.units])
    return tf.transpose(_recurrence(z, tf.convert_to_tensor(recurrent_kernel)), [1, 0, 2])

  def keras(self, weights, x, name):
    layer = tf.keras.layers.LSTM(self.units, return_sequences=True, name=name)
    y = layer(x)
    layer.set_weights([np.asarray(weight) for weight in weights])
    return y


@tf.custom_gradient
def _recurrence(z: tf.Tensor, recurrent_kernel: tf.Tensor) -> tf.Tensor:
  """h of every step, [length, n, units], from x K + b, [length, n, 4 units], and R."""
  gates, c, h = _forward(z, recurrent_kernel)

  def gradient(dh):
    dz = _backward(dh, gates, c, recurrent_kernel)
    dr = tf.linalg.matmul(_flat(_before(h)), _flat(dz), transpose_a=True)
    return dz, dr

  return h, gradient


def _forward(z: tf.Tensor, recurrent_kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Gates after their functions, c and h, of every step."""
  length, units = z.shape[0], recurrent_kernel.shape[0]

  def step(t, h, c, all_gates, all_c, all_h):
    i, f, g, o = tf.split(z[t] + tf.linalg.matmul(h, recurrent_kernel), 4, axis=1)
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    c = f * c + i * g
    h = o * tf.tanh(c)
    gates = tf.concat([i, f, g, o], axis=1)
    return t + 1, h, c, all_gates.write(t, gates), all_c.write(t, c), all_h.write(t, h)

  outputs = [_steps(length, 4 * units), _steps(length, units), _steps(length, units)]
  _, _, _, *outputs = _loop(length, units, step, tf.shape(z)[1], outputs)
  all_gates, all_c, all_h = (array.stack() for array in outputs)
  return all_gates, all_c, all_h


def _backward(
  upstream: tf.Tensor, gates: tf.Tensor, c: tf.Tensor, recurrent_kernel: tf.Tensor
) -> tf.Tensor:
  """dz of every step: what the loss's derivative by h implies for z."""
  length, units = gates.shape[0], recurrent_kernel.shape[0]
  i, f, g, o = tf.split(gates, 4, axis=2)
  tanh_c = tf.tanh(c)
  # dz = [dc, dc, dc, dh] * by_gate, and dh adds dh * h_by_c to dc.
  by_gate = tf.concat(
    [g * i * (1 - i), _before(c) * f * (1 - f), i * (1 - g * g), tanh_c * o * (1 - o)], axis=2
  )
  h_by_c = o * (1 - tanh_c * tanh_c)
  transposed = tf.transpose(recurrent_kernel)

  def step(s, dh, dc, all_dz):
    t = length - 1 - s
    dh += upstream[t]
    dc += dh * h_by_c[t]
    dz = tf.concat([dc, dc, dc, dh], axis=1) * by_gate[t]
    return s + 1, tf.linalg.matmul(dz, transposed), dc * f[t], all_dz.write(t, dz)

  _, _, _, all_dz = _loop(length, units, step, tf.shape(c)[1], [_steps(length, 4 * units)])
  return all_dz.stack()


def _loop(length: int, units: int, step: Any, batch: tf.Tensor, arrays: list[Any]) -> Any:
  """Runs `step` over (t, h-like, c-like, *arrays), the second and third starting at zero."""
  zeros = tf.zeros([batch, units])
  state = tf.TensorShape([None, units])
  return tf.while_loop(
    lambda t, *_: t < length,
    step,
    (0, zeros, zeros, *arrays),
    shape_invariants=(tf.TensorShape([]), state, state, *[tf.TensorShape(None)] * len(arrays)),
    parallel_iterations=1,
  )


def _steps(length: int, width: int) -> tf.TensorArray:
  """Room for one [n, width] per step."""
  return tf.TensorArray(tf.float32, length, element_shape=[None, width])


def _before(steps: tf.Tensor) -> tf.Tensor:
  """The values one step earlier, zero before the first."""
  return tf.concat([tf.zeros_like(steps[:1]), steps[:-1]], axis=0)


def _flat(steps: tf.Tensor) -> tf.Tensor:
  """[length, n, width] as [length n, width]."""
  return tf.reshape(steps, [-1, steps.shape[2]])
