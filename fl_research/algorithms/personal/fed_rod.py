"""FedRoD: one head that is fair to all classes, and beside it one that knows what a client has.

Chen, Chao 2022, "On Bridging Generic and Personalized Federated Learning for Image Classification",
with the balanced softmax and linear personal heads. With z the features of an example, g the logits
of the model, n_c the client's number of examples of class c, and (V, v) the client's own head,

    model:  descends the cross-entropy of g + γ log n,
    head:   descends the cross-entropy of g + z V + v, by V and v only,

in the same steps. The model is averaged as in FedAvg, the head stays at the client. A client uses
g + z V + v, and whoever has no data uses g, which columns `global/…` show. What is reported as
training loss is the client's own.

γ makes up for how often a client has each class, so that the model learns of no client's share of
them. With γ = 0 it is FedAvg's. The second head and loss cost a small model about a fifth of a
step.

Differences from the paper:
1. Of the losses that the paper tries for the model this is its balanced softmax. Those that learn
   or weigh otherwise are not here, and neither is the hypernetwork that makes heads for new clients
   from their classes.
2. A client that has never taken part has a head of zeros, and so uses the model as it is.
3. A class that a client does not have counts as 1e-30 examples, not as none, whose logarithm is no
   number.
4. The authors' code was not published; that both are trained in the same steps, with gradients
   taken where each step begins, is how the paper's text is read here.
"""

import collections
from typing import Any

import tensorflow as tf

from fl_research.algorithms import features
from fl_research.models import model as model_lib
from fl_research.models import objectives
from fl_research.round import minibatches
from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss
from fl_research.round.structures import subtract

_OF_A_MISSING_CLASS = 1e-30


class TwoHeads(model_lib.Model):
  """A model, and a linear head beside its own; its weights end in the head's, V and v.

  It answers [n, 2, classes]: what the model says, and what it says with the head, of which no
  gradient goes to the model. Metrics are those of the latter.
  """

  def __init__(self, model: model_lib.Model):
    self.__dict__.update(vars(model))
    self._model = model

  def predict_on_batch(self, model_weights, x, training=True, seed=None):
    *shared, kernel, bias = model_weights[0]
    own, generic = self._model.features_on_batch((tuple(shared), ()), x, training, seed)
    personal = tf.stop_gradient(generic) + tf.matmul(tf.stop_gradient(own), kernel) + bias
    return tf.stack([generic, personal], axis=1)

  def example_metrics(self, output, label):
    return self._model.example_metrics(output[:, 1], label)


class FedRoD(Method):
  """Chen & Chao 2022 (see the module's docstring). Client state: its head.

  Args:
    gamma: γ ≥ 0.
  """

  personal = True

  def __init__(self, gamma: float):
    self._gamma = gamma

  def bind(self, federation):
    federation.require_classes('fedrod', 'balances')
    return super().bind(federation)

  def initial_client_state(self, weights):
    model = self.federation.model
    classes = model.spec.num_classes
    kernel = tf.zeros([features.dimension(model, 'fedrod'), classes])
    return collections.OrderedDict(kernel=kernel, bias=tf.zeros([classes]))

  def work(self, client, message):
    both, more = TwoHeads(client.model), self._log_counts(client)

    def losses(output, batch):
      loss = lambda logits: objectives.objective(client.model.example_metrics(logits, batch.y))
      return loss(output[:, 0] + more) + loss(output[:, 1])

    start = (*message, *client.state.values())
    trained = client.train(start, objective=Loss(both, losses))
    *shared, kernel, bias = trained.weights
    state = collections.OrderedDict(kernel=kernel, bias=bias)
    return Reply(subtract(tuple(shared), message), state, trained)

  def _log_counts(self, client: Client) -> tf.Tensor:
    """γ log n_c of every class, float32 [classes]."""
    counts = minibatches.class_counts(client.data, client.model.spec.num_classes)
    return self._gamma * tf.math.log(tf.maximum(counts, _OF_A_MISSING_CLASS))

  def predictor(self, server, client):
    both = TwoHeads(client.model)
    weights: Any = (*server.weights, *client.state.values())
    return lambda x: both.predict_on_batch((weights, ()), x, training=False)[:, 1]


def build(*, gamma: float) -> Method:
  """The registry's entry point; the argument is that of `FedRoD`."""
  return FedRoD(gamma)
