"""The private mean over the integers, with noise that is exact and that no seed gives back.

The estimator is that of `fl_research.aggregation.privacy.dp_mean`, whose sum and noise are floats
there; the least significant bits of such a sum may give away what the noise should hide (Mironov
2012, "On Significance of the Least Significant Bits for Differential Privacy"), and so does a seed
that others know. Here a client clips its update to the norm C, multiplies it by s / C and drops
what follows the point, and the server releases

    Δ̃ = C / (s m) ( Σ_k [s / C · Δ_k min(1, C / ‖Δ_k‖)] + N_Z(0, σ² I) ),    s = σ / z,

N_Z being the discrete Gaussian (Canonne, Kamath, Steinke 2020, "The Discrete Gaussian for
Differential Privacy"), which the server is given with every round: it is drawn from the operating
system's generator, outside the computation, for one use. Dropping digits makes no number larger, so
that a client's integers are no longer than s; their length is computed exactly, and were it larger
the client would send zeros. σ is 2^20 whatever C and z are, so that a client's rounding moves a
coordinate by less than a millionth of the noise.

With adaptive clipping the count of clients below the norm is a further coordinate, ± a for each
client, under the same noise: a = σ / (2 σ_b), and s² = σ² / z² - a², which is theorem 1 of Andrew
et al. 2021.

Why ε is that of the Gaussian mechanism: the Rényi divergence of N_Z(0, σ² I) from itself moved by
integers Δ is at most α ‖Δ‖² / (2 σ²) (Canonne et al., proposition 5), and at whole α it is exactly
that, since Σ_x exp(-x² / (2 σ²)) stays what it is when x moves by an integer. What is known of
subsampled Gaussians at whole orders follows from these numbers alone, and to such orders the
accountant keeps (`Accountant`'s `discrete`).

Differences from the paper:
1. The server draws all noise, once; with secure sums too, where clients could draw parts of it
   (Kairouz, Liu, Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated Learning
   with Secure Aggregation").
2. Rounding is towards zero, not random, and no rotation comes before it: at 20 bits below the noise
   neither would be felt.
"""

import collections
from fractions import Fraction
import math
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import combiner
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.privacy import discrete_gaussian
from fl_research.aggregation.privacy.dp_mean import AdaptiveClipping

_SCALE = discrete_gaussian.LARGEST_SCALE


class DiscreteMean(combiner.Combiner):
  """The differentially private mean over the integers (see the module's docstring).

  What `dp_mean.PrivateMean` says of methods and of the server's step holds here too. Measurements
  are the same, and so are the arguments but for the seed, which there is none of.

  Raises:
    ValueError: an argument is outside its domain.
  """

  kind = combiner.PRIVATE

  def __init__(
    self,
    clip_norm: float,
    noise_multiplier: float,
    expected_participants: float,
    adaptive: Optional[AdaptiveClipping] = None,
    sums: sums_lib.Sums = sums_lib.CLEAR,
  ):
    if not 0 < clip_norm < math.inf or not expected_participants > 0:
      raise ValueError('clip_norm must be positive and finite, expected_participants above 0')
    if noise_multiplier < discrete_gaussian.SMALLEST_MULTIPLIER:
      raise ValueError(f'noise_multiplier must be at least {discrete_gaussian.SMALLEST_MULTIPLIER}')
    self.expected_participants = self._expected = float(expected_participants)
    self._clip_norm = clip_norm
    self._adaptive = adaptive
    self._sums = sums
    # Exact, as floats are fractions: s² + a² ≤ σ² / z².
    self._count_unit = 0
    if adaptive:
      self._count_unit = math.floor(Fraction(_SCALE) / (2 * Fraction(adaptive.count_noise)))
    most = math.floor((_SCALE / Fraction(noise_multiplier)) ** 2) - self._count_unit**2
    if most < 1 or (adaptive and not self._count_unit):
      raise ValueError(f'no budget is left beside a count noise of {adaptive}')
    self._unit = math.isqrt(most)

  def draw(self, update_type):
    specs = tf.nest.flatten(tff.types.type_to_tf_tensor_specs(update_type))
    shapes = [tuple(spec.shape) for spec in specs]
    noise_type = tff.to_type([tff.TensorType(np.int64, shape) for shape in [*shapes, ()]])
    return combiner.Draw(noise_type, lambda: _noise([*shapes, ()]))

  def create(self, update_type):
    if not tff.types.is_structure_of_floats(update_type):
      raise TypeError(f'only floats can be clipped and noised, found {update_type}')
    initial = tff.tensorflow.computation(
      lambda: collections.OrderedDict(clip_norm=tf.constant(self._clip_norm, tf.float32))
    )
    state_type = initial.type_signature.result
    contribute = tff.tensorflow.computation(self._contribution, [update_type, np.float32])
    total_type = contribute.type_signature.result
    summing = self._sums.whole_sum(max(self._unit, self._count_unit)).create(total_type)
    get_norm = tff.tensorflow.computation(lambda state: state['clip_norm'], state_type)
    noise_type = self.draw(update_type).type

    @tff.tensorflow.computation(state_type, total_type, noise_type)
    def release(state, total, noise):
      return self._release(state, total, noise, tff.types.type_to_tf_tensor_specs(update_type))

    def next_round(state, arrived, noise):
      clip_norm = tff.federated_broadcast(tff.federated_map(get_norm, state))
      whole = tff.federated_map(contribute, (arrived['update'], clip_norm))
      total = summing.next(summing.initialize(), whole).result
      released = tff.federated_map(release, (state, total, noise))
      return tff.templates.MeasuredProcessOutput(*released)

    initialize = tff.federated_computation(lambda: tff.federated_eval(initial, tff.SERVER))
    return combiner.Combining(initialize, next_round)

  def _contribution(self, update: Any, clip_norm: tf.Tensor) -> collections.OrderedDict:
    """What one client adds to the sum: integers no longer than s, and ± a."""
    tensors = [tf.cast(t, tf.float64) for t in tf.nest.flatten(update)]
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(t**2) for t in tensors]))
    clip_norm = tf.cast(clip_norm, tf.float64)
    factor = self._unit / tf.maximum(norm, clip_norm)
    finite = tf.math.is_finite(norm)
    whole = [tf.cast(tf.where(finite, t * factor, 0.0), tf.int64) for t in tensors]
    length = tf.add_n([tf.reduce_sum(t**2) for t in whole])
    whole = [tf.where(length <= self._unit**2, t, 0) for t in whole]
    below = tf.cast(norm <= clip_norm, tf.int64)
    return collections.OrderedDict(
      update=whole,
      count=self._count_unit * (2 * below - 1),
      unclipped=below,
      clients=tf.constant(1, tf.int64),
    )

  def _release(self, state: Any, total: Any, noise: Any, specs: Any):
    """From the sums over clients and the noise to the next state, the mean, and measurements."""
    clip_norm = tf.cast(state['clip_norm'], tf.float64)
    unit = clip_norm / (self._unit * self._expected)
    *of_update, of_count = tf.nest.flatten(noise)
    mean = [
      tf.cast(tf.cast(whole + drawn, tf.float64) * unit, spec.dtype)
      for whole, drawn, spec in zip(total['update'], of_update, tf.nest.flatten(specs))
    ]
    measurements = collections.OrderedDict(
      clip_norm=state['clip_norm'],
      clipped_fraction=tf.cast(
        tf.math.divide_no_nan(
          tf.cast(total['clients'] - total['unclipped'], tf.float64),
          tf.cast(total['clients'], tf.float64),
        ),
        tf.float32,
      ),
      noise_stddev=tf.cast(_SCALE * unit, tf.float32),
    )
    norm = tf.cast(self._next_clip_norm(clip_norm, total['count'] + of_count), tf.float32)
    mean = tf.nest.pack_sequence_as(specs, mean)
    return collections.OrderedDict(clip_norm=norm), mean, measurements

  def _next_clip_norm(self, clip_norm: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    adaptive = self._adaptive
    if adaptive is None:
      return clip_norm
    centred = tf.cast(count, tf.float64) / (2 * self._count_unit)
    unclipped = 0.5 + centred / self._expected
    step = adaptive.learning_rate * (unclipped - adaptive.target_quantile)
    return clip_norm * tf.exp(-step)


def _noise(shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
  """One round's noise for integers of these shapes."""
  sizes = [math.prod(shape) for shape in shapes]
  drawn = discrete_gaussian.sample(sum(sizes), _SCALE)
  parts = np.split(drawn, np.cumsum(sizes)[:-1])
  return [part.reshape(shape) for part, shape in zip(parts, shapes)]
