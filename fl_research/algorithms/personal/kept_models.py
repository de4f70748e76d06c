"""Methods whose server keeps the model of every client, to make something for each of them."""

from collections.abc import Sequence

import tensorflow as tf

from fl_research.aggregation import side_by_side
from fl_research.round.method import Method
from fl_research.round.structures import Weights


class KeptModels(Method):
  """Clients' own models, of which the server has the last that was sent. Client state: the model.

  A global model is none of the method's: it is the mean of all, for whoever wants to have one.
  """

  personal = True
  global_model = False
  combiner = side_by_side.SideBySide()

  def bind(self, federation):
    federation.require_population(type(self).__name__)
    return super().bind(federation)

  @property
  def num_clients(self) -> int:
    """N."""
    return self.federation.population_size or 0

  def initial_models(self, weights: Weights) -> list[tf.Tensor]:
    """The initial weights for every client, [N, ...] each."""
    return [tf.repeat(w[tf.newaxis], self.num_clients, axis=0) for w in weights]

  def initial_client_state(self, weights):
    return list(weights)

  def predictor(self, server, client):
    return self.predict(client.state)


def renewed(models: Sequence[tf.Tensor], who: tf.Tensor, sent: Weights) -> list[tf.Tensor]:
  """All clients' models, those that were sent, [n, ...] each, in place of what they were.

  Args:
    models: as they were.
    who: int32 [n], whose the new ones are.
    sent: the new ones.
  """
  rows = who[:, tf.newaxis]
  return [tf.tensor_scatter_nd_update(m, rows, new) for m, new in zip(models, sent, strict=True)]


def mean(models: Sequence[tf.Tensor], before: Weights) -> Weights:
  """The mean of all models; what it was before, to the bit, where all of them are that."""
  return tuple(w + tf.reduce_mean(m - w, axis=0) for m, w in zip(models, before, strict=True))
