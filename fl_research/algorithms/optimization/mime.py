"""Mime: MimeLite whose local gradients are corrected by this round's control variate.

Karimireddy, Jaggi, Kale, Mohri, Reddi, Stich, Suresh 2021, "Breaking the centralized barrier for
cross-device federated learning" (on arXiv "Mime: Mimicking Centralized Stochastic Algorithms in
Federated Learning"), algorithm 1 and the table of base optimisers, for which see
`fl_research.algorithms.optimization.mime_lite`. A round has two trips. In the first every client of
the cohort gets x and sends ∇f_i(x), the gradient of its loss over all its examples; their mean is
c. In the second it gets x, c and the base's statistics s, and takes steps over minibatches b,

    y_i = y_i - η U(g_i(y_i; b) - g_i(x; b) + c, s).

It sends y_i - x, and over the cohort

    x = x + mean(y_i - x),    s = V(c, s).

At y_i = x the direction is U(c, s), whatever the batch and the client. With one local step it
therefore is the base optimiser itself on the cohort's mean gradient: with base sgd FedSGD of rate
η, with momentum FedSGD with momentum β_1 and the rate (1 - β_1) η at the server. η and the client
weights are as for MimeLite.

Differences from the paper:
1. The base optimisers and what is open in them are as for MimeLite, and so are the examples over
   which ∇f_i(x) is taken, and the server's step.
2. Both gradients of a step see the same draws of dropout; the paper has none. ∇f_i(x) has others.
3. x is sent, and counted in `bytes_down`, in both trips.
4. Compressors, attacks and robust rules act on both trips, on ∇f_i(x) as on y_i - x. The paper has
   none of these.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import mime_lite
from fl_research.round.method import Exchange, Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import subtract, Weights


class _FullGradients(Exchange):
  """The first trip: c, the mean of the clients' gradients at x."""

  def work(self, client, message):
    gradient, trained = client.gradient(message, one_pass=True)
    return Reply(gradient, client.state, trained)

  def finish(self, server, combined):
    statistics, _ = server.own
    return server._replace(own=(statistics, list(combined.update)))


class _Corrected(Objective):
  """The gradient of an objective, less that of the same batch at `start`, plus c."""

  def __init__(self, objective: Objective, start: Weights, common: Weights):
    self._objective = objective
    self._start = tuple(start)
    self._common = common

  def initial_carry(self, weights):
    return self._objective.initial_carry(weights)

  def gradient(self, weights, batch, seed, carry):
    found = self._objective.gradient(weights, batch, seed, carry)
    there = self._objective.gradient(self._start, batch, seed, carry).gradient
    parts = zip(found.gradient, there, self._common, strict=True)
    return found._replace(gradient=tuple(g - t + c for g, t, c in parts))


class Mime(mime_lite.MimeLite):
  """Karimireddy et al. 2021, algorithm 1, Mime (see the module's docstring).

  Server state: s, and c between the two trips. Messages: x; x, s and c.
  """

  @property
  def exchanges(self):
    return _FullGradients(), self

  def initial_own(self, weights):
    return super().initial_own(weights), [tf.zeros_like(w) for w in weights]

  def message(self, server):
    return server.weights, *server.own

  def work(self, client, message):
    weights, statistics, common = message
    corrected = _Corrected(client.loss, weights, common)
    objective = mime_lite.Mimicked(corrected, self._base, statistics)
    trained = client.train(weights, objective=objective)
    return Reply(subtract(trained.weights, weights), client.state, trained)

  def finish(self, server, combined):
    statistics, common = server.own
    renewed = self._base.renewed(common, statistics)
    return self.step(server, combined.update)._replace(own=(renewed, common))


def build(*, base: str, **constants: float) -> Method:
  """The registry's entry point; the arguments are those of `mime_lite.Base`."""
  return Mime(mime_lite.Base(base, **constants))
