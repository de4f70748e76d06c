"""FedGH: clients see in ways of their own, and the server learns to name what all of them see.

Yi, Wang, Liu, Shi, Yu 2023, "FedGH: Heterogeneous Federated Learning with Generalized Global
Header", algorithm 1. A model is an extractor under a head φ, its last layer. Every client keeps an
extractor of its own. In a round it is given φ, trains both together from there, keeps the extractor
and sends the mean R_s of its examples' features of each class s that it has. The server descends
the loss of its head at one of these points after the other, client by client in the order of their
numbers and class by class,

    φ ← φ - η ∇ CE(s, softmax(φ(R_s))),

and this is the next round's head. What a client uses is φ over its own extractor. With η = 0 it is
LG-FedAvg whose server does not step.

Classes × (d + 1) numbers go up, d being the length of the features, and the head goes down.

Differences from the paper:
1. Clients' models are all of one shape here, and begin with the run's initial weights.
2. What the head has gone is given to the server optimiser as clients' updates are; its default,
   plain SGD at a rate of 1, is the paper's.
3. The mean of a class is over its examples. The authors' code takes that of means over minibatches,
   and its optimiser is not given the server's head, which so keeps its initial weights.
4. The paper's text was not at hand, but its abstract and the authors' code.
"""

import copy

import tensorflow as tf

from fl_research.aggregation import side_by_side
from fl_research.algorithms import features
from fl_research.algorithms.personal import private_layers
from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract, Weights


class FedGH(private_layers.PrivateLayers):
  """Yi et al. 2023, algorithm 1 (see the module's docstring). Client state: its extractor.

  Args:
    learning_rate: η ≥ 0.

  Attributes:
    num_classes: of the task; once bound.
  """

  combiner = side_by_side.SideBySide()

  def __init__(self, learning_rate: float):
    super().__init__('fedgh', private_layers.ALL_BUT_LAST)
    self._learning_rate = learning_rate
    self.num_classes = 0

  def bind(self, federation):
    federation.require_classes('fedgh', 'has means of')
    bound = copy.copy(super().bind(federation))
    features.last_kernel(federation.model, 'fedgh')
    bound.num_classes = federation.model.spec.num_classes
    return bound

  def work(self, client, message):
    trained = client.train(self.joined(message, client.state))
    sums, counts = features.by_class(client.model, trained.weights, client.data, self.num_classes)
    means = tf.math.divide_no_nan(sums, counts[:, tf.newaxis])
    there = tf.cast(counts > 0.0, tf.float32)
    return Reply((means, there), self._part(trained.weights, private=True), trained)

  def finish(self, server, combined):
    means, there = combined.update.update
    head = tuple(self._part(server.weights, private=False))
    points = tf.reshape(means, [-1, means.shape[-1]]), tf.reshape(there, [-1])
    classes = tf.eye(self.num_classes)
    labels = tf.tile(classes, [tf.shape(means)[0], 1])
    descend = lambda weights, row: _step(weights, row[0], row[1], row[2], self._learning_rate)
    trained = tf.foldl(descend, (*points, labels), initializer=head)
    return super().finish(server, combined._replace(update=subtract(trained, head)))


def _step(
  head: Weights, point: tf.Tensor, there: tf.Tensor, label: tf.Tensor, rate: float
) -> Weights:
  """The head after a step at one point [d] of a class [C]; as it was if the point is not there."""
  kernel, *bias = head
  logits = tf.linalg.matvec(kernel, point, transpose_a=True) + sum(bias)
  error = rate * there * (tf.nn.softmax(logits) - label)
  return (kernel - point[:, tf.newaxis] * error, *(b - error for b in bias))


def build(*, learning_rate: float) -> Method:
  """The registry's entry point; the argument is that of `FedGH`."""
  return FedGH(learning_rate)
