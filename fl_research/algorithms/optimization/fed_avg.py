"""FedAvg: train locally, average the models.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas 2017, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", algorithm 1. In round t every client k of the cohort S_t starts
from the global w_t, runs E epochs of its optimiser over minibatches of B and returns the model
delta Δ_k = w_k - w_t; the server moves by the weighted mean,

    w_{t+1} = w_t + η_s Σ_k p_k Δ_k,    p_k = n_k / Σ_{j in S_t} n_j.

With η_s = 1 and server SGD this is the paper's average of models. The paper's footnote 4 tells of
earlier versions that divided by the n of all clients; this is the corrected one, over the cohort.

With one full-batch step of plain SGD (E = 1, B = infinity) it is FedSGD.

Differences from the paper:
1. None with server SGD of rate 1. Other server rates and optimisers, schedules, and client
   optimisers other than SGD go beyond it.
2. A client's last batch of an epoch may be smaller than B; the paper does not say what becomes of
   what does not fill a batch.
"""

from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract


class FedAvg(Method):
  """McMahan et al. 2017, algorithm 1 (see the module's docstring)."""

  def work(self, client, message):
    trained = client.train(message)
    return Reply(subtract(trained.weights, message), client.state, trained)


def build() -> Method:
  """The registry's entry point."""
  return FedAvg()
