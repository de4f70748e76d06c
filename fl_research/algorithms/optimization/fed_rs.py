"""FedRS: clients leave the weights of classes that they do not have nearly as they are.

Li, Zhan 2021, "FedRS: Federated Learning with Restricted Softmax for Label Distribution Non-IID
Data". Clients and server do as in FedAvg, but a client descends the cross-entropy of restricted
logits: with f_c(x) those of the model,

    f_c(x) for a class that the client has,  α f_c(x) for one that it has not.

Without examples of a class, a client would do nothing but push that class's weights away from the
features of its own examples, which the others then have to undo; the gradient of these weights is α
times as long here, beside what α makes of the probabilities. α = 1 is FedAvg; with α = 0 the
weights of missing classes stay as they are. What the model answers is not restricted.

Differences from the paper:
1. Neither the paper's text nor its code was at hand. There the last layer has no bias; here the
   logits are scaled with the bias that a model may have.
2. A class of which a client has a single example is one that it has; another implementation takes
   classes of up to two examples for missing.
3. Training metrics are those of the logits as they are.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import calibrated_logits
from fl_research.round.method import Method


class FedRS(calibrated_logits.CalibratedLogits):
  """Li, Zhan 2021 (see the module's docstring).

  Args:
    alpha: α in [0, 1].

  Raises:
    UsageError: the task has no classes.
  """

  name = 'fedrs'

  def __init__(self, alpha: float):
    self._alpha = alpha

  def calibration(self, counts):
    scales = tf.where(counts > 0, 1.0, self._alpha)
    return lambda logits: scales * logits


def build(*, alpha: float) -> Method:
  """The registry's entry point; the argument is that of `FedRS`."""
  return FedRS(alpha)
