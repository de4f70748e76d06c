"""FedNTD: clients keep to what the global model says of the classes that an example is not of.

Lee, Jeong, Shin, Bae, Yun 2022, "Preservation of the Global Knowledge by Not-True Distillation in
Federated Learning". Clients and server do as in FedAvg, but the loss of an example of
class y is

    cross-entropy + β KL(q^g ‖ q),    q_c = exp(z_c / τ) / Σ_{c' ≠ y} exp(z_{c'} / τ),  c ≠ y,

z being the logits of the client's model and q^g the same of the global model, which stays as it was
sent. So a client may learn how likely y is, and forgets what others have taught about the rest.
β = 0 is FedAvg.

Differences from the paper:
1. The authors' code multiplies the divergence by τ², which is 1 by default in both.
2. The global model answers with nothing dropped; the paper has no dropout.
3. Training metrics are without the divergence.
"""

import tensorflow as tf

from fl_research.models import objectives
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss
from fl_research.round.structures import subtract

_NEVER = -1e9


def not_true(logits: tf.Tensor, labels: tf.Tensor, tau: float) -> tf.Tensor:
  """log q: float32 [n, classes], without meaning for the true class, where q is 0."""
  true = tf.one_hot(labels, logits.shape[-1], on_value=True, off_value=False, dtype=tf.bool)
  return tf.nn.log_softmax(tf.where(true, _NEVER, logits / tau))


class FedNTD(Method):
  """Lee et al. 2022 (see the module's docstring).

  Args:
    beta: β ≥ 0.
    tau: τ > 0.

  Raises:
    UsageError: the task has no classes.
  """

  def __init__(self, beta: float, tau: float):
    self._beta = beta
    self._tau = tau

  def bind(self, federation):
    federation.require_classes('fedntd', 'distils answers about')
    return super().bind(federation)

  def work(self, client, message):
    model, weights = client.model, tuple(message)

    def distilled(output, batch):
      theirs = model.predict_on_batch((weights, ()), batch.x, training=False)
      told = not_true(theirs, batch.y, self._tau)
      lost = tf.exp(told) * (told - not_true(output, batch.y, self._tau))
      own = objectives.objective(model.example_metrics(output, batch.y))
      return own + self._beta * tf.reduce_sum(lost, axis=-1)

    trained = client.train(weights, objective=Loss(model, distilled))
    return Reply(subtract(trained.weights, weights), client.state, trained)


def build(*, beta: float, tau: float) -> Method:
  """The registry's entry point; the arguments are those of `FedNTD`."""
  return FedNTD(beta, tau)
