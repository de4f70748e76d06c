"""Learning rates that change from round to round, as factors of the rate that a flag sets.

Rounds are numbered from 0 here: the first round of training has t = 0. With the period T
(`--client_lr_decay_rounds`) and the rate γ (`--client_lr_decay`):

    constant       1
    exponential    γ^(t/T)
    linear_warmup  min(1, (t+1)/T)
    cosine         (1 + cos(π min(t, T)/T)) / 2
"""

from collections.abc import Callable, Mapping
from typing import Any

from fl_research import registry

_MODULE = 'fl_research.optimizers.schedule_factors'

SCHEDULES: Mapping[str, registry.Entry] = {
  'constant': registry.Entry(_MODULE, 'the same rate in all rounds'),
  'exponential': registry.Entry(_MODULE, 'times decay^(t / decay_rounds) in round t = 0, 1, …'),
  'linear_warmup': registry.Entry(
    _MODULE, 'rising to the full rate over the first decay_rounds rounds'
  ),
  'cosine': registry.Entry(_MODULE, 'falling to 0 along half a cosine over decay_rounds rounds'),
}
"""Every schedule: the name users type, its module.

The module has a function of that name, `(t, decay, decay_rounds)`, which returns the factor of the
rate in round t, float32 [], and is TensorFlow.
"""


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

  factor = getattr(SCHEDULES[name].load(), name)
  return lambda round_num: factor(tf.cast(round_num, tf.float32), decay, decay_rounds)
