"""FedDF: after the mean of the models the server learns what all of them answer together.

Lin, Kong, Stich, Jaggi 2020, "Ensemble Distillation for Robust Model Fusion in Federated Learning",
algorithm 1. The server has examples x of its own (`--server_examples`). Clients train as in FedAvg,
the server takes its step, and from there, with f_k(x) the logits of client k's trained model,

    descends KL(softmax(mean_k f_k(x)) || softmax(f(x)))

over its examples, with Adam, which begins anew in every round. With no pass it is FedAvg.

A client computes the logits itself and sends them beside its update: number of examples × classes.
So it takes sums only, which may be secure ones, or a robust rule for the updates; the server need
not see a model of anybody's.

Differences from the paper:
1. There the server has the models, and computes the logits.
2. The paper's server stops when examples set apart say so, and lowers its rate by a cosine; here it
   makes a number of passes at one rate, over batches of the clients' size.
3. One shape of models, where the paper also has groups of several.
4. The paper's examples are of another source than the clients', or made; here they are drawn from
   the clients' (see `--server_examples`), and their labels not looked at.
"""

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.algorithms.distillation import soft_labels
from fl_research.algorithms.optimization import fed_avg
from fl_research.round import local_training
from fl_research.round.method import Method


class FedDF(fed_avg.FedAvg):
  """Lin et al. 2020, algorithm 1 (see the module's docstring).

  Args:
    passes: over the server's examples, in every round.
    learning_rate: Adam's.
  """

  def __init__(self, passes: int, learning_rate: float):
    self._passes = passes
    self._optimizer = tff.learning.optimizers.build_adam(learning_rate)

  def bind(self, federation):
    soft_labels.check(federation, 'feddf')
    return super().bind(federation)

  def work(self, client, message):
    reply = super().work(client, message)
    known = soft_labels.known_to_all(self.federation)
    return reply._replace(auxiliary=soft_labels.answers(client.model, reply.trained.weights, known))

  def finish(self, server, combined):
    after = super().finish(server, combined)
    if not self._passes:
      return after
    model, known = self.federation.model, soft_labels.known_to_all(self.federation)
    taught = local_training.train_locally(
      model,
      self._optimizer,
      tuple(after.weights),
      soft_labels.labelled(known, tf.nn.softmax(combined.auxiliary)),
      learning_rate_factor=tf.constant(1.0),
      objective=soft_labels.Distillation(model),
      passes=self._passes,
    )
    return after._replace(weights=tuple(taught.weights))


def build(*, passes: int, learning_rate: float) -> Method:
  """The registry's entry point; the arguments are those of `FedDF`."""
  return FedDF(passes, learning_rate)
