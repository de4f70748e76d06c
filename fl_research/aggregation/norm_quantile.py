"""A running estimate of a quantile of the clients' norms, for adaptive bounds."""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import sums as sums_lib


def build(
  initial: float,
  quantile: float,
  learning_rate: float,
  multiplier: float = 1.0,
  increment: float = 0.0,
  sums: sums_lib.Sums = sums_lib.CLEAR,
) -> tff.templates.EstimationProcess:
  """The estimate C of Andrew, Thakkar, McMahan, Ramaswamy 2021, section 2.1, without noise.

  "Differentially Private Learning with Adaptive Clipping": after every round, with b the fraction
  of the clients' norms that are at most C,

      C ← C exp(-η (b - γ)).

  It is what `tff.aggregators.PrivateQuantileEstimationProcess.no_noise` computes, except that
  norms of exactly zero do not count: they are those of clients that were left out. Where no client
  is left C stays as it is, whereas TFF's process divides zero by zero and is NaN ever after.

  Args:
    initial: C before the first round, above 0.
    quantile: γ, in [0, 1].
    learning_rate: η, above 0.
    multiplier, increment: the process reports multiplier * C + increment.
    sums: how the norms below C are counted.

  Returns:
    A process of the state float32 that takes {float32}@CLIENTS.

  Raises:
    ValueError: an argument is outside its domain.
  """
  if not (initial > 0 and 0 <= quantile <= 1 and learning_rate > 0 and multiplier > 0):
    raise ValueError(
      'initial, learning_rate and multiplier must be above 0 and quantile in [0, 1], are '
      f'{initial}, {learning_rate}, {multiplier} and {quantile}'
    )
  return tff.templates.EstimationProcess(
    tff.federated_computation(lambda: tff.federated_value(float(initial), tff.SERVER)),
    _next(quantile, learning_rate, sums),
    _report(multiplier, increment),
  )


def _next(quantile: float, learning_rate: float, sums: sums_lib.Sums) -> tff.Computation:
  @tff.tensorflow.computation(np.float32, np.float32)
  def count(bound, norm):
    counts = norm > 0.0
    below = tf.logical_and(counts, norm <= bound)
    return tf.cast(tf.stack([below, counts]), tf.int32)

  counting = sums.count().create(count.type_signature.result)

  @tff.tensorflow.computation(np.float32, count.type_signature.result)
  def adapt(bound, counts):
    below, clients = tf.unstack(tf.cast(counts, tf.float32))
    step = learning_rate * (tf.math.divide_no_nan(below, clients) - quantile)
    return tf.where(clients > 0.0, bound * tf.exp(-step), bound)

  @tff.federated_computation(
    tff.FederatedType(np.float32, tff.SERVER), tff.FederatedType(np.float32, tff.CLIENTS)
  )
  def next_fn(bound, norms):
    counted = tff.federated_map(count, (tff.federated_broadcast(bound), norms))
    total = counting.next(counting.initialize(), counted).result
    return tff.federated_map(adapt, (bound, total))

  return next_fn


def _report(multiplier: float, increment: float) -> tff.Computation:
  @tff.tensorflow.computation(np.float32)
  def affine(bound):
    return multiplier * bound + increment

  return tff.federated_computation(
    lambda bound: tff.federated_map(affine, bound), tff.FederatedType(np.float32, tff.SERVER)
  )
