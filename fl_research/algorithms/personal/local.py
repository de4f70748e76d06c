"""Each client alone: the reference that says what federation is worth.

Every client keeps a model of its own, which starts from the run's initial weights and is trained on
the client's data only; nothing is sent, and the global model never moves. A client's model after
its r-th participation is the one that plain SGD (or whatever the client optimiser is, restarted at
each participation) reaches after r E epochs.

Differences from the paper:
1. There is none: this is the reference that papers call local training. The optimiser's state does
   not outlive a round, as for every method here.
"""

from fl_research.round.method import Method, Reply


class Local(Method):
  """Local training without federation (see the module's docstring). State: the client's model."""

  personal = True
  global_model = False

  def shares(self, weight_names):
    return (False,) * len(weight_names)

  def initial_client_state(self, weights):
    return list(weights)

  def message(self, server):
    return ()

  def work(self, client, message):
    trained = client.train(client.state)
    return Reply((), list(trained.weights), trained)

  def finish(self, server, combined):
    return server

  def predictor(self, server, client):
    return self.predict(client.state)


def build() -> Method:
  """The registry's entry point."""
  return Local()
