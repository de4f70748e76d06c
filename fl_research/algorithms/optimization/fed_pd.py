"""FedPD: each client solves a primal-dual problem of its own, several times between two meetings.

Zhang, Hong, Dhople, Yin, Liu 2021, "FedPD: A Federated Learning Framework With Adaptivity to
Non-IID Data", algorithm 1. Client i has a model x_i, a dual λ_i, 0 at first, and its copy z_i of
the global model x. In a solve it takes its optimiser's steps from x_i on

    L_i(w) = f_i(w) + <λ_i, w - z_i> + |w - z_i|² / (2 η)

to the next x_i, and then

    λ_i = λ_i + (x_i - z_i) / η,    z_i = x_i + η λ_i.

After a solve all of them meet with probability 1 - p; x is then the mean of the z_i, which all go
on from. Here a round is what lies between two meetings, of R solves (`--fedpd_solves`), each over
the round's batches, and p is 1 - 1 / R. Clients send z_i - x, and keep x_i and λ_i.

`--fedpd_start` says where a solve begins: at the client's `own` x_i, as in the paper, or at z_i,
`global`. With the latter and R = 1 it is FedDyn with α = 1 / η, if all clients take part
(`fl_research.algorithms.optimization.fed_dyn`). Its first round, at either, goes twice as far as
FedProx's with μ = 1 / η.

Training columns are those of a round's last solve.

Differences from the paper:
1. Whether clients meet after a solve is drawn in the paper; here every R-th time.
2. A solve is as many steps of the client optimiser as the round's epochs say; the paper goes on
   until the gradient is small, with full gradients or with those of minibatches (its oracles I).
   Its oracle II, of reduced variance, is not here.
3. The paper has all clients in every round, and so should a run (`--clients_per_round`): fewer are
   refused where it is known how many there are. Of a client that fails to take part nothing is
   counted, and it comes back with the x_i and λ_i of its last round.
4. The paper's mean is uniform, as is the default here.
"""

import collections

import tensorflow as tf

from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract

OWN, GLOBAL = 'own', 'global'


class FedPD(Method):
  """Zhang et al. 2021, algorithm 1 (see the module's docstring). Client state: x_i and λ_i.

  Args:
    eta: η > 0.
    solves: R ≥ 1.
    start: where a solve begins: 'own' or 'global'.

  Raises:
    UsageError: not all clients take part in a round.
  """

  def __init__(self, eta: float, solves: int, start: str):
    self._eta = eta
    self._solves = solves
    self._start = start

  def bind(self, federation):
    federation.require_everybody('fedpd')
    return super().bind(federation)

  def initial_client_state(self, weights):
    return collections.OrderedDict(model=list(weights), dual=[tf.zeros_like(w) for w in weights])

  def work(self, client, message):
    eta, centre = self._eta, tuple(message)
    model, dual = tuple(client.state['model']), tuple(client.state['dual'])
    for _ in range(self._solves):

      def pull(weights, dual=dual, centre=centre):
        parts = zip(dual, weights, centre, strict=True)
        return tuple(own + (w - z) / eta for own, w, z in parts)

      start = model if self._start == OWN else centre
      trained = client.train(start, objective=client.loss.plus(pull))
      model, dual = trained.weights, pull(trained.weights)
      centre = tuple(w + eta * own for w, own in zip(model, dual, strict=True))
    state = collections.OrderedDict(model=list(model), dual=list(dual))
    return Reply(subtract(centre, message), state, trained)

  def finish(self, server, combined):
    weights = tuple(w + u for w, u in zip(server.weights, combined.update, strict=True))
    return server._replace(weights=weights)


def build(*, eta: float, solves: int, start: str) -> Method:
  """The registry's entry point; the arguments are those of `FedPD`."""
  return FedPD(eta, solves, start)
