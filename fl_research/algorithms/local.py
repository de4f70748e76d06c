"""Each client alone: the reference that says what federation is worth.

Every client keeps a model of its own, which starts from the run's initial weights and is trained on
the client's data only; nothing is sent, and the global model never moves. A client's model after
its r-th participation is the one that plain SGD (or whatever the client optimiser is, restarted at
each participation) reaches after r E epochs.

Differences from the paper:
1. There is none: this is the reference that papers call local training. The optimiser's state does
   not outlive a round, as for every method here.
"""

import tensorflow as tf

from fl_research.round import local_training as client_work_lib
from fl_research.round import method


class Local(method.Algorithm):
  """Local training without federation (see the module's docstring). State: the client's model."""

  keeps_client_state = True
  has_personal_models = True
  shares_update = False

  def initial_client_state(self, weights):
    return list(weights)

  def client_work(self, model, optimizer, broadcast, data, client_state):
    result = client_work_lib.train_locally(
      model,
      optimizer,
      tuple(client_state),
      data,
      learning_rate_factor=broadcast.learning_rate_factor,
    )
    nothing = tuple(tf.zeros_like(w) for w in broadcast.weights)
    return method.ClientResult(nothing, (), list(result.weights), result.num_steps, result.sums)

  def evaluation_weights(self, weights, client_state):
    return tuple(client_state)


def build() -> method.Algorithm:
  """The registry's entry point."""
  return Local()
