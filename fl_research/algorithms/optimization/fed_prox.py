"""FedProx: a proximal term holds clients near the global model.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith 2020, "Federated Optimization in Heterogeneous
Networks", algorithm 2. Client k minimises, inexactly,

    F_k(w) + μ/2 |w - w_t|²,

so that every gradient of its local steps becomes g + μ (w - w_t), w_t being the global model of the
round; the server averages as in FedAvg. μ = 0 is FedAvg.

The paper's tolerance of partial work needs nothing here: a straggler's D simply holds fewer
batches, and what it has done by then counts as much as anybody's work.

Differences from the paper:
1. Algorithm 2 draws clients with probabilities p_k and averages them uniformly; the authors' code
   draws them uniformly and weighs them by their examples, and so do we
   (`--cohort_sampling=by_size --client_weighting=uniform` comes close to the former).
2. Clipping and weight decay of the client optimiser see the gradient with its proximal term.
"""

from fl_research.round.method import Method, Reply
from fl_research.round.objective import Term
from fl_research.round.structures import subtract, Weights


def proximal_term(mu: float, centre: Weights) -> Term:
  """The gradient of μ/2 |w - centre|²."""
  return lambda weights: tuple(mu * (w - c) for w, c in zip(weights, centre, strict=True))


class FedProx(Method):
  """Li et al. 2020, algorithm 2 (see the module's docstring).

  Args:
    mu: μ ≥ 0.
  """

  def __init__(self, mu: float):
    self._mu = mu

  def work(self, client, message):
    objective = client.loss.plus(proximal_term(self._mu, message))
    trained = client.train(message, objective=objective)
    return Reply(subtract(trained.weights, message), client.state, trained)


def build(*, mu: float) -> Method:
  """The registry's entry point; the argument is that of `FedProx`."""
  return FedProx(mu)
