"""FedLC: clients with few examples of a class ask for less of a margin from the others for it.

Zhang, Li, Li, Xu, Wu, Ding, Wu 2022, "Federated Learning with Label Distribution Skew via Logits
Calibration". Clients and server do as in FedAvg, but a client descends the cross-entropy
of calibrated logits: with n_c its number of examples of class c,

    f_c(x) - τ n_c^(-1/4)    in place of    f_c(x).

While it trains, a rare class has to win by more, so that the frequent ones do not push it away; a
class that the client does not have at all is all but left out. What the model answers is not
calibrated. τ = 0 is FedAvg.

Differences from the paper:
1. Neither the paper's text nor its code was at hand. As others have it, its loss leaves out the
   true class in the sum below the fraction, which makes of it a margin without a lower bound; here
   it is the cross-entropy, over all classes.
2. A class that is missing, for which the formula has no value, is taken to have 1e-4 examples,
   which makes 10 of n_c^(-1/4); with 100, as others have it, a client of one class would have no
   gradient that float32 could tell from 0.
3. Training metrics are those of the logits as they are.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import calibrated_logits
from fl_research.round.method import Method

_OF_A_MISSING_CLASS = 1e-4


class FedLC(calibrated_logits.CalibratedLogits):
  """Zhang et al. 2022 (see the module's docstring).

  Args:
    tau: τ ≥ 0.

  Raises:
    UsageError: the task has no classes.
  """

  name = 'fedlc'

  def __init__(self, tau: float):
    self._tau = tau

  def calibration(self, counts):
    margins = self._tau * tf.pow(tf.maximum(counts, _OF_A_MISSING_CLASS), -0.25)
    return lambda logits: logits - margins


def build(*, tau: float) -> Method:
  """The registry's entry point; the argument is that of `FedLC`."""
  return FedLC(tau)
