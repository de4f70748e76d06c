"""Local differential privacy: every client clips its update and adds noise before it is sent.

Kasiviswanathan, Lee, Nissim, Raskhodnikova, Smith 2011, "What Can We Learn Privately?", section 2:
what a client sends is (ε, δ)-private for whatever data it may have; nobody need be trusted with
them, the server included. For federated updates: Wei et al. 2020, "Federated Learning with
Differential Privacy: Algorithms and Performance Analysis" (NbAFL, algorithm 1, its noise on the
way up); Truex, Liu, Chow, Gursoy, Wei 2020, "LDP-Fed: Federated Learning with Local Differential
Privacy". With the norm C over all tensors of an update together, z, and noise of its own for every
client and round, client k sends

    M(Δ_k) = Δ_k min(1, C / ‖Δ_k‖) + N(0, (z C)² I).

Compression, robust rules and secure sums see M(Δ_k) alone; of them ε does not depend. An update
that is not finite counts as zeros, and noise is sent all the same: that it was not is private too.
What attackers send instead of an update is neither clipped nor noised.

The loss of one client. Local privacy is about any two updates that the same client might have, so
one is *replaced* by another, and clipped updates are at most 2 C apart: a round is a Gaussian
mechanism of multiplier z / 2. (Where data are added or removed, as in central privacy with Poisson
sampling, the distance would be C. A local guarantee cannot be of that kind: who takes part is
known.) Rounds of one client compose; those in which it was not asked cost it nothing, and none is
amplified by sampling. ε of a run is the largest over clients: that of whoever was drawn most often.

The mean of m updates has noise of standard deviation z C / √m, √m times that of central privacy
with the same z. z ≥ 0, C > 0. With z = 0 it is clipping alone, and with C = ∞ besides the plain
mean.

This noise is float32 and a function of (seed, round, client): for simulation. Sites that keep their
data draw their own (`fl_research.federation.site_noise`).

Differences from the paper:
1. Noise is scaled for z, and ε follows from the rounds that were made; NbAFL finds the noise that a
   given ε needs, by a bound that is looser than Rényi divergences, and LDP-Fed perturbs coordinates
   one by one with another mechanism.
2. The unit is a client with all its data; in NbAFL it is one example of a client, which lets the
   noise be as small as 1 / (number of examples) of this.
3. NbAFL clips and noises a client's weights; here it is its update, which is smaller.
4. NbAFL adds noise on the way down too, to hide from others what the server knows; here the model
   is a function of what was noised.
"""

from collections.abc import Sequence
import math

import tensorflow as tf

from fl_research.aggregation.privacy import dp_mean

# Sets these draws apart from all others that are made from the client's seed of the round.
_PURPOSE = 0x6C64


class LocalNoise:
  """What a client does to its update before anything leaves it (see the module's docstring).

  Args:
    clip_norm: C > 0; infinite only without noise.
    noise_multiplier: z ≥ 0.

  Raises:
    ValueError: an argument is outside its domain.
  """

  def __init__(self, clip_norm: float, noise_multiplier: float):
    if not clip_norm > 0 or (math.isinf(clip_norm) and noise_multiplier):
      raise ValueError(f'clip_norm is {clip_norm}; it must be positive, and finite with noise')
    if not noise_multiplier >= 0:
      raise ValueError(f'noise_multiplier is {noise_multiplier}, must be at least 0')
    self._clip_norm = clip_norm
    self._stddev = noise_multiplier * clip_norm if noise_multiplier else 0.0

  def apply(self, update: Sequence[tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """The update, clipped and noised.

    Args:
      update: float tensors of known shapes.
      seed: int32 [2], the round's and client's own.
    """
    if not update:
      return ()
    finite = tf.math.is_finite(
      tf.add_n([tf.reduce_sum(tf.cast(t, tf.float32) ** 2) for t in update])
    )
    update = [tf.where(finite, tensor, tf.zeros_like(tensor)) for tensor in update]
    clipped = dp_mean.clip_by_norm(update, tf.constant(self._clip_norm, tf.float32))['update']
    if not self._stddev:
      return tuple(clipped)
    own = dp_mean.fold_in(seed, _PURPOSE)
    return tuple(
      tensor
      + tf.cast(self._stddev, tensor.dtype)
      * dp_mean.normal(tensor.shape, dp_mean.fold_in(own, place), tensor.dtype)
      for place, tensor in enumerate(clipped)
    )
