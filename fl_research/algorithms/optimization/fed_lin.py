"""FedLin: every local step is corrected by how the client's gradient differs from that of all.

Mitra, Jaafar, Pappas, Hassani 2021, "Linear Convergence in Federated Learning: Tackling Client
Heterogeneity and Sparse Gradients", algorithm 1. A round has two trips. In the first every client
of the cohort gets x and sends ∇f_i(x), the gradient of its loss over all its examples; their mean
is g. In the second it gets x and g, takes τ_i steps

    y_i = y_i - η_i (g_i(y_i) - ∇f_i(x) + g),

and sends y_i - x, whose mean moves x. So what is right for all is a point where nobody moves, also
where clients differ in their minima and in how many steps they manage. Of SCAFFOLD
(`fl_research.algorithms.optimization.scaffold`) it differs in that its corrections are of this
round, and need no state of clients; of Mime with base sgd in that ∇f_i(x) is subtracted as it is,
and not the gradient of each step's batch at x. With full batches it is that Mime, and with one
full-batch step FedSGD.

The rate η_i is `--client_learning_rate` η, or with `--fedlin_even` η / τ_i, which the paper's
theorem takes for clients whose τ_i differ: then all go about as far.

∇f_i(x) is computed again in the second trip, so that no client has to keep it: a round of E passes
costs E + 2 of them, where FedAvg's costs E (three times as long for E = 1).

Differences from the paper:
1. The paper's local gradients are over all examples (`--client_batch_size=full`), or have noise
   added; here they are of minibatches.
2. The paper averages uniformly over all clients, as is the default here; with other weights both
   means use them, and cohorts may be part of all.
3. The paper sparsifies g and the gradients; here that is a compressor's, which acts on both trips.
4. ∇f_i(x) is taken over the batches of the round's first pass, in training mode, where dropout
   draws anew: over less than all examples in rounds of less than one pass.
5. x is sent, and counted in `bytes_down`, in both trips.
"""

import tensorflow as tf

from fl_research.round import minibatches
from fl_research.round.method import Exchange, Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import subtract


class _FullGradients(Exchange):
  """The first trip: g, the mean of the clients' gradients at x."""

  def work(self, client, message):
    gradient, trained = client.gradient(message, one_pass=True)
    return Reply(gradient, client.state, trained)

  def finish(self, server, combined):
    return server._replace(own=list(combined.update))


class _Scaled(Objective):
  """Another objective's gradient times a number that only the graph knows."""

  def __init__(self, objective: Objective, factor: tf.Tensor):
    self._objective = objective.times(factor)

  def initial_carry(self, weights):
    return self._objective.initial_carry(weights)

  def gradient(self, weights, batch, seed, carry):
    return self._objective.gradient(weights, batch, seed, carry)


class FedLin(Method):
  """Mitra et al. 2021, algorithm 1 (see the module's docstring).

  Server state: g between the two trips. Messages: x; x and g.

  Args:
    even: whether η_i is η / τ_i.
  """

  def __init__(self, even: bool):
    self._even = even

  @property
  def exchanges(self):
    return _FullGradients(), self

  def initial_own(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def message(self, server):
    return server.weights, server.own

  def work(self, client, message):
    weights, common = message
    own, _ = client.gradient(weights, one_pass=True)
    correction = subtract(common, own)
    objective = client.loss.plus_constant(correction)
    if self._even:
      steps = tf.cast(minibatches.num_steps(client.data), tf.float32)
      objective = _Scaled(objective, tf.math.divide_no_nan(1.0, steps))
    trained = client.train(weights, objective=objective)
    return Reply(subtract(trained.weights, weights), client.state, trained)


def build(*, even: bool) -> Method:
  """The registry's entry point; the argument is that of `FedLin`."""
  return FedLin(even)
