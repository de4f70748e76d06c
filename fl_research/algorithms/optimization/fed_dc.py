"""FedDC: clients learn how far they drift, and the server goes where they would be without.

Gao, Fu, Li, Chen, Xu, Xu 2022, "FedDC: Federated Learning with Non-IID Data via Local Drift
Decoupling and Correction". Client i keeps its drift h_i and a control variate c_i, the server the
mean drift h of all N clients and a variate c, all 0 at first. From the global model w a client of
the round takes K steps on

    L_i(θ) + α/2 |θ + h_i - w|² + <θ, c - c_i>,

which lead to θ_i, and then, with Δ_i = θ_i - w and η its rate,

    h_i = h_i + Δ_i,    c_i = c_i - c - Δ_i / (K η).

It sends Δ_i and the change of c_i, and over the cohort S

    c = c + |S| / N mean(change of c_i),    h = h + |S| / N mean(Δ_i)
    w = w + η_s (mean(Δ_i) + h).

The variates are those of SCAFFOLD, option II (`fl_research.algorithms.optimization.scaffold`), the
drifts play the part of FedDyn's multipliers, and α = 0 leaves of the clients' side SCAFFOLD alone.
With α = 0 the first round, if of all clients, goes twice as far as FedAvg's. η_s is
`--server_learning_rate`, 1 in the paper; both means are uniform by default.

Differences from the paper:
1. This is the authors' code, with the same α and weight for all clients; there α and c are divided
   by a client's share of the examples times N, and gradients are clipped to a norm of 10
   (`--client_gradient_clip_norm=10`).
2. The paper's text was not at hand. As others tell it, its linear term has the clients' updates of
   the last round where the code has variates, and its server the drifts of the cohort where the
   code has those of all clients.
3. K is a client's own number of steps; of what was not trained, and where η is 0, the variate
   stays, as for SCAFFOLD.
4. The change of the variate is sent in float32 and counted in `bytes_up`: compressors, attacks and
   robust rules act on Δ_i, and h is made of what came of that.
"""

import collections

import tensorflow as tf

from fl_research.algorithms.optimization import fed_prox, scaffold
from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract, Weights


def _kept(weights: Weights) -> collections.OrderedDict:
  """What a client, or the server, begins with."""
  zeros = lambda: [tf.zeros_like(w) for w in weights]
  return collections.OrderedDict(variate=zeros(), drift=zeros())


class FedDC(Method):
  """Gao et al. 2022 (see the module's docstring).

  Server state: c and h. Client state: c_i and h_i. Message: w and c.

  Args:
    alpha: α ≥ 0.
  """

  auxiliary_weighting = 'update'

  def __init__(self, alpha: float):
    self._alpha = alpha

  def bind(self, federation):
    federation.require_population('FedDC')
    return super().bind(federation)

  def initial_own(self, weights):
    return _kept(weights)

  def initial_client_state(self, weights):
    return _kept(weights)

  def message(self, server):
    return server.weights, server.own['variate']

  def work(self, client, message):
    weights, common = message
    own, drift = tuple(client.state['variate']), client.state['drift']
    correction = subtract(common, own)
    tied = fed_prox.proximal_term(self._alpha, subtract(weights, drift))
    objective = client.loss.plus_constant(correction).plus(tied)
    trained = client.train(weights, objective=objective)
    delta = subtract(trained.weights, weights)
    renewed = scaffold.option_ii(client, common, own, delta, trained.num_steps)
    state = collections.OrderedDict(
      variate=list(renewed), drift=[h + d for h, d in zip(drift, delta, strict=True)]
    )
    return Reply(delta, state, trained, auxiliary=list(subtract(renewed, own)))

  def finish(self, server, combined):
    share = combined.participants / self.federation.population_size
    along = lambda last, change: [a + share * b for a, b in zip(last, change, strict=True)]
    own = collections.OrderedDict(
      variate=along(server.own['variate'], combined.auxiliary),
      drift=along(server.own['drift'], combined.update),
    )
    direction = tuple(u + h for u, h in zip(combined.update, own['drift'], strict=True))
    return self.step(server, direction)._replace(own=own)


def build(*, alpha: float) -> Method:
  """The registry's entry point; the argument is that of `FedDC`."""
  return FedDC(alpha)
