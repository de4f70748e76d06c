"""kNN-Per: a client's nearest examples, looked up by the global model's features, have a say.

Marfoq, Neglia, Kameni, Vidal 2022, "Personalized Federated Learning through Local Memorization".
The global model is FedAvg's. A client keeps the features z_i and labels of its own examples, and
answers, for an example of features z whose k nearest are N,

    p(y) = λ Σ_N exp(-|z - z_i| / σ) [y_i = y] / Σ_N exp(-|z - z_i| / σ) + (1 - λ) p_global(y).

Nothing but the model is sent, and nothing is kept from round to round: the memory is made anew of
the client's examples with the model of the time. With λ = 0 it is FedAvg. A client with fewer than
k examples uses all of them.

Differences from the paper:
1. λ is the same for all clients. The paper tunes it for each on examples set apart.
2. Features are what the last layer is given; the paper takes those of an inner layer too.
3. The memory is of the examples of the round's first pass: of all, where clients train whole
   epochs.
"""

import tensorflow as tf

from fl_research.algorithms import features
from fl_research.algorithms.optimization import fed_avg
from fl_research.round import minibatches
from fl_research.round.method import Method

_TOO_FAR = 1e30


class KNNPer(fed_avg.FedAvg):
  """Marfoq et al. 2022 (see the module's docstring).

  Args:
    neighbours: k ≥ 1.
    weight: λ, from 0 to 1.
    scale: σ > 0.
  """

  personal = True

  def __init__(self, neighbours: int, weight: float, scale: float):
    self._neighbours = neighbours
    self._weight = weight
    self._scale = scale

  def bind(self, federation):
    federation.require_classes('knnper', 'looks up')
    features.dimension(federation.model, 'knnper')
    return super().bind(federation)

  def predictor(self, server, client):
    model, weights = client.model, server.weights
    x, labels, mask = minibatches.examples(client.data)
    memory = features.of(model, weights, x)
    squares = tf.reduce_sum(tf.square(memory), axis=1) + (1.0 - mask) * _TOO_FAR
    classes = tf.one_hot(labels, model.spec.num_classes)

    def predict(examples):
      own, output = model.features_on_batch((tuple(weights), ()), examples, training=False)
      # Which are nearest, one product of matrices says; how near they are, only differences do.
      further = squares - 2.0 * tf.matmul(own, memory, transpose_b=True)
      nearest = tf.minimum(self._neighbours, tf.shape(labels)[0])
      places = tf.math.top_k(-further, k=nearest).indices
      distances = tf.norm(own[:, tf.newaxis] - tf.gather(memory, places), axis=2)
      distances += (1.0 - tf.gather(mask, places)) * _TOO_FAR
      shares = tf.nn.softmax(-distances / self._scale)
      of_memory = tf.einsum('nk,nkc->nc', shares, tf.gather(classes, places))
      # Without an example there is no memory.
      weight = self._weight * tf.reduce_max(tf.concat([[0.0], mask], axis=0))
      return tf.math.log(weight * of_memory + (1.0 - weight) * tf.nn.softmax(output))

    return predict


def build(*, neighbours: int, weight: float, scale: float) -> Method:
  """The registry's entry point; the arguments are those of `KNNPer`."""
  return KNNPer(neighbours, weight, scale)
