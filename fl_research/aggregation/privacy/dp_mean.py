"""The clipped and noised mean of DP-FedAvg, with a fixed or an adaptive clipping norm.

McMahan, Ramage, Talwar, Zhang 2018, "Learning Differentially Private Recurrent Language Models",
algorithm 1 with flat clipping and the estimator of fixed denominator f̃_f. With uniform weights
w_k = 1 (the paper caps n_k / ŵ at 1; equal weights are its ŵ → 0), cohort S and m the number of
clients that are expected in it (q W in the paper),

    Δ̃ = 1/m ( Σ_{k ∈ S} Δ_k min(1, C / ‖Δ_k‖) + N(0, (z C)² I) ),

‖·‖ being the norm over all tensors of the update together. One client more or less moves the sum
by at most C, whatever the number of clients that came: m is a constant. A client whose update was
not finite sends zeros and m stays; with an empty cohort Δ̃ is noise alone.

Andrew, Thakkar, McMahan, Ramaswamy 2021, "Differentially Private Learning with Adaptive Clipping",
algorithm 1: C follows the γ-quantile of the norms, by a private count of the clients below it,

    b_k = 1{‖Δ_k‖ ≤ C},    b̃ = ½ + 1/m ( Σ_k (b_k - ½) + N(0, σ_b²) ),    C ← C exp(-η_C (b̃ - γ)).

The count is centred by ½, as the paper's section 2.2 does to halve its sensitivity; for a cohort of
exactly m clients that is the paper's b̃ = 1/m (Σ b_k + N(0, σ_b²)). Update and count together cost
as much privacy as one Gaussian of noise multiplier z when the update is given (theorem 1)

    z_Δ = ( z⁻² - (2 σ_b)⁻² )^(-1/2),    defined for z < 2 σ_b.

With secure sums the server adds the noise to a sum of whose terms it sees none. Terms are sent in
units of C, and so need no other bound than 1; rounding them to 32 bits adds at most √d 2^-32 of C
to what one client can change, d being the number of weights.

All noise is a function of the aggregator's state (a seed and the number of the round), so that a
resumed run, or another runtime, draws the same. It is float32 and pseudo-random: right for
simulation, not for a deployment (Mironov 2012, "On Significance of the Least Significant Bits for
Differential Privacy"), which `fl_research.aggregation.privacy.discrete_mean` is for.

Differences from the paper:
1. Every client weighs the same; the paper caps n_k / ŵ at 1, of which equal weights are ŵ → 0.
2. Clipping is flat, over all tensors together; the paper also clips layer by layer.
3. Under fixed-size sampling m is the cohort's size and the accountant's relation is that of
   replacing a client; the paper draws every client on its own (`--cohort_sampling=poisson`).
"""

import collections
import dataclasses
import math
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import combiner, summed
from fl_research.aggregation import sums as sums_lib


@dataclasses.dataclass(frozen=True)
class AdaptiveClipping:
  """How the clipping norm follows the clients' norms.

  Attributes:
    target_quantile: γ in [0, 1], the share of clients that should not be clipped.
    learning_rate: η_C > 0.
    count_noise: σ_b ≥ 0, standard deviation of the noise on the count of unclipped clients.
  """

  target_quantile: float
  learning_rate: float
  count_noise: float


def update_noise_multiplier(noise_multiplier: float, count_noise: float) -> float:
  """z_Δ, the noise multiplier of the update when a count is released beside it.

  Args:
    noise_multiplier: z ≥ 0 of both together.
    count_noise: σ_b.

  Raises:
    ValueError: z > 0 is not below 2 σ_b: the count alone would use more than the whole budget.
  """
  if noise_multiplier == 0:
    return 0.0
  if noise_multiplier >= 2 * count_noise:
    raise ValueError(
      f'noise multiplier {noise_multiplier} is not below twice the count noise {count_noise}'
    )
  return (noise_multiplier**-2 - (2 * count_noise) ** -2) ** -0.5


class NoisyMean(tff.aggregators.UnweightedAggregationFactory):
  """The differentially private mean as a TFF factory (see the module's docstring).

  For updates of type T, all float, its process has

      initialize: ( -> S@SERVER)
      next:       (<S@SERVER, {T}@CLIENTS> -> <S@SERVER, T@SERVER, M@SERVER>)

  S = <clip_norm=float32, round_num=int32, seed=int32[2]>. M, all float32: `clip_norm`, the C of
  this round; `clipped_fraction`, the share of the clients that came whose norm was above it (exact,
  hence outside the guarantee); `noise_stddev`, the standard deviation of each coordinate's noise.

  Args:
    clip_norm: C > 0; the first one when it adapts. Infinity only without noise.
    noise_multiplier: z ≥ 0.
    expected_participants: m > 0.
    seed: int32 [2], the run's seed for this purpose.
    adaptive: how C adapts; it stays when None.
    sums: how sums over clients are taken.

  Raises:
    ValueError: an argument is outside its domain.
  """

  def __init__(
    self,
    clip_norm: float,
    noise_multiplier: float,
    expected_participants: float,
    seed: np.ndarray,
    adaptive: Optional[AdaptiveClipping] = None,
    sums: sums_lib.Sums = sums_lib.CLEAR,
  ):
    must_be_finite = noise_multiplier > 0 or sums.are_secure
    if not clip_norm > 0 or (math.isinf(clip_norm) and must_be_finite):
      raise ValueError(
        f'clip_norm is {clip_norm}; with noise or secure sums it must be positive and finite'
      )
    if not noise_multiplier >= 0 or not expected_participants > 0:
      raise ValueError('noise_multiplier must be at least 0 and expected_participants above 0')
    self.expected_participants = float(expected_participants)
    self._clip_norm = clip_norm
    self._seed = np.asarray(seed, np.int32)
    self._adaptive = adaptive
    self._sums = sums
    self._multiplier = (
      update_noise_multiplier(noise_multiplier, adaptive.count_noise)
      if adaptive
      else noise_multiplier
    )

  def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
    """An aggregation process for float tensors.

    Raises:
      TypeError: the type holds something else.
    """
    if not tff.types.is_structure_of_floats(value_type):
      raise TypeError(f'only floats can be clipped and noised, found {value_type}')
    initial = tff.tensorflow.computation(self._initial_state)
    state_type = initial.type_signature.result
    clip = tff.tensorflow.computation(self._contribution, [value_type, np.float32])
    summing = self._sums.unit_sum().create(clip.type_signature.result)
    get_norm = tff.tensorflow.computation(lambda state: state['clip_norm'], state_type)
    release = tff.tensorflow.computation(self._release, [state_type, clip.type_signature.result])

    @tff.federated_computation
    def initialize():
      return tff.federated_eval(initial, tff.SERVER)

    @tff.federated_computation(
      initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS)
    )
    def next_round(state, value):
      clip_norm = tff.federated_broadcast(tff.federated_map(get_norm, state))
      clipped = tff.federated_map(clip, (value, clip_norm))
      total = summing.next(summing.initialize(), clipped).result
      return tff.templates.MeasuredProcessOutput(*tff.federated_map(release, (state, total)))

    return tff.templates.AggregationProcess(initialize, next_round)

  def _initial_state(self):
    return collections.OrderedDict(
      clip_norm=tf.constant(self._clip_norm, tf.float32),
      round_num=tf.constant(0),
      seed=tf.constant(self._seed),
    )

  def _contribution(self, update: Any, clip_norm: tf.Tensor) -> collections.OrderedDict:
    """What one client adds to the sum: for a secure one its update in units of the norm."""
    clipped = clip_by_norm(update, clip_norm)
    if self._sums.are_secure:
      clipped['update'] = tf.nest.map_structure(lambda t: t / clip_norm, clipped['update'])
    return clipped

  def _release(self, state: Any, total: Any):
    """From the sum over clients to the next state, the noisy mean, and measurements."""
    clip_norm = state['clip_norm']
    unit = clip_norm if self._sums.are_secure else tf.constant(1.0)
    stddev = tf.constant(0.0)
    if self._multiplier:
      stddev = self._multiplier * clip_norm / self.expected_participants
    tensors = tf.nest.flatten(total['update'])
    seed = fold_in(state['seed'], state['round_num'])
    noisy = [
      tensor * tf.cast(unit, tensor.dtype) / self.expected_participants
      + tf.cast(stddev, tensor.dtype) * normal(tensor.shape, fold_in(seed, i), tensor.dtype)
      for i, tensor in enumerate(tensors)
    ]
    measurements = collections.OrderedDict(
      clip_norm=clip_norm,
      clipped_fraction=tf.math.divide_no_nan(
        total['clients'] - total['unclipped'], total['clients']
      ),
      noise_stddev=stddev,
    )
    new_state = collections.OrderedDict(
      clip_norm=self._next_clip_norm(state, total, fold_in(seed, len(tensors))),
      round_num=state['round_num'] + 1,
      seed=state['seed'],
    )
    return new_state, tf.nest.pack_sequence_as(total['update'], noisy), measurements

  def _next_clip_norm(self, state: Any, total: Any, seed: tf.Tensor) -> tf.Tensor:
    adaptive = self._adaptive
    if adaptive is None:
      return state['clip_norm']
    noise = adaptive.count_noise * normal((), seed, tf.float32)
    centred = total['unclipped'] - 0.5 * total['clients'] + noise
    unclipped = 0.5 + centred / self.expected_participants
    step = adaptive.learning_rate * (unclipped - adaptive.target_quantile)
    return state['clip_norm'] * tf.exp(-step)


class PrivateMean(summed.Summed):
  """The differentially private mean as a combiner; the arguments are those of `NoisyMean`.

  Its guarantee would be void if anything else of the clients reached the server's step. A round
  therefore refuses methods that send more than their update, or more than once, and tells the
  server's step the number of clients that were to be expected instead of the true one. It also
  steps when nobody took part: that nobody did is private too, and the noise is still there.
  """

  kind = combiner.PRIVATE

  def __init__(
    self,
    clip_norm: float,
    noise_multiplier: float,
    expected_participants: float,
    seed: np.ndarray,
    adaptive: Optional[AdaptiveClipping] = None,
    sums: sums_lib.Sums = sums_lib.CLEAR,
  ):
    super().__init__(
      NoisyMean(clip_norm, noise_multiplier, expected_participants, seed, adaptive, sums)
    )
    self.expected_participants = float(expected_participants)


def clip_by_norm(update: Any, clip_norm: tf.Tensor) -> collections.OrderedDict:
  """One client's contribution: <update scaled to at most the norm, unclipped=b_k, clients=1>."""
  squares = [tf.reduce_sum(tf.cast(t, tf.float32) ** 2) for t in tf.nest.flatten(update)]
  norm = tf.sqrt(tf.add_n(squares))
  # A norm that overflows is infinite, and its update is scaled to zero.
  scale = tf.where(norm <= clip_norm, 1.0, clip_norm / norm)
  return collections.OrderedDict(
    update=tf.nest.map_structure(lambda t: t * tf.cast(scale, t.dtype), update),
    unclipped=tf.cast(norm <= clip_norm, tf.float32),
    clients=tf.constant(1.0),
  )


def fold_in(seed: tf.Tensor, number: Any) -> tf.Tensor:
  """A seed of its own for a number."""
  return tf.random.experimental.stateless_fold_in(seed, number)


def normal(shape: Any, seed: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
  """Standard normal numbers, the same for the same seed on every processor; XLA has others."""
  return tf.random.stateless_normal(shape, seed, dtype=dtype)
