"""Learning rates that change from round to round, as factors of the rate that a flag sets.

Rounds are numbered from 0 here: the first round of training has t = 0. With the period T
(`--client_lr_decay_rounds`) and the rate γ (`--client_lr_decay`):

    constant       1
    exponential    γ^(t/T)
    linear_warmup  min(1, (t+1)/T)
    cosine         (1 + cos(π min(t, T)/T)) / 2
"""

from collections.abc import Callable
import math
from typing import Any

SCHEDULES = {
  'constant': 'the same rate in all rounds',
  'exponential': 'times decay^(t / decay_rounds) in round t = 0, 1, …',
  'linear_warmup': 'rising to the full rate over the first decay_rounds rounds',
  'cosine': 'falling to 0 along half a cosine over decay_rounds rounds',
}
"""The schedules by name, in words."""


def build(name: str, decay: float, decay_rounds: int) -> Callable[[Any], Any]:
  """The schedule as a TensorFlow function of the round.

  Args:
    name: one of `SCHEDULES`.
    decay: γ > 0, read by `exponential` only.
    decay_rounds: T ≥ 1.

  Returns:
    int32 [] round, from 0 -> float32 [] factor.
  """
  import tensorflow as tf

  def factor(round_num):
    t = tf.cast(round_num, tf.float32)
    if name == 'exponential':
      return tf.pow(decay, t / decay_rounds)
    if name == 'linear_warmup':
      return tf.minimum(1.0, (t + 1.0) / decay_rounds)
    if name == 'cosine':
      return 0.5 * (1.0 + tf.cos(math.pi * tf.minimum(t, float(decay_rounds)) / decay_rounds))
    return tf.constant(1.0)

  return factor
