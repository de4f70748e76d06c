"""Matrix factorisation with biases, for ratings (Koren, Bell and Volinsky 2009, eq. 4).

The rating of item i by user u is p_u . q_i + b_u + b_i + mu, all learnt by gradient descent, as in
Singhal et al. 2021 ("Federated reconstruction"). What is learnt about a user stands in layers of
its own (`user_factors`, `user_bias`), which an algorithm may keep private.

First weights: factors and biases of users and items U(-0.05, 0.05), the global bias 0.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


@dataclasses.dataclass(frozen=True)
class Factorization(layers.Layer):
  """int32 [2] = (user, item) to the rating [1].

  Attributes:
    users, items: sizes of the tables.
    dimension: number of factors.
  """

  users: int
  items: int
  dimension: int

  kind = 'factorization'

  @property
  def weight_names(self):
    tables = (f'{name}/embeddings' for name in self._tables())
    return (*tables, 'global_bias/bias')

  def _tables(self) -> dict[str, layers.Embedding]:
    """The tables by name, users' before items'."""
    return {
      'user_factors': layers.Embedding(self.users, self.dimension),
      'user_bias': layers.Embedding(self.users, 1),
      'item_factors': layers.Embedding(self.items, self.dimension),
      'item_bias': layers.Embedding(self.items, 1),
    }

  def initialise(self, shape, generator):
    tables = [table.initialise((), generator)[0][0] for table in self._tables().values()]
    return [*tables, np.zeros(1, np.float32)], (1,)

  def __call__(self, weights, x, seed=None):
    user, item = x[:, 0], x[:, 1]
    ids = (user, user, item, item)
    rows = [
      table([weight], own) for table, weight, own in zip(self._tables().values(), weights, ids)
    ]
    user_factors, user_bias, item_factors, item_bias = rows
    match = tf.math.reduce_sum(user_factors * item_factors, axis=1, keepdims=True)
    return match + user_bias + item_bias + weights[-1]

  def keras(self, weights, x, name):
    # Layers only: slicing with x[:, 0] would put an operation of ours into the saved file.
    keras_layers = tf.keras.layers
    pair = keras_layers.Reshape((2, 1))(x)
    user = keras_layers.Flatten(name='user')(keras_layers.Cropping1D((0, 1))(pair))
    item = keras_layers.Flatten(name='item')(keras_layers.Cropping1D((1, 0))(pair))
    rows = [
      keras_layers.Flatten()(table.keras([weight], own, key))
      for (key, table), weight, own in zip(
        self._tables().items(), weights, (user, user, item, item)
      )
    ]
    match = keras_layers.Dot(1)([rows[0], rows[2]])
    total = keras_layers.Add()([match, rows[1], rows[3]])
    # No stock layer only adds a number; a dense one with a constant factor of 1 does.
    add_bias = keras_layers.Dense(1, name='global_bias')
    rating = add_bias(total)
    add_bias.set_weights([np.ones((1, 1), np.float32), np.asarray(weights[-1])])
    return rating


def build(spec: ModelSpec, *, dimension: int) -> layers.Layer:
  """The network."""
  assert spec.vocabulary_size is not None
  users, items = spec.vocabulary_size
  return Factorization(users, items, dimension)
