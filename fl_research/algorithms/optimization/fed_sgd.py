"""FedSGD: every client sends one gradient.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
section 2: each client of the cohort computes the gradient g_k of its mean loss over all its data
at the global model, and the server steps along the average,

    w_{t+1} = w_t - η_s Σ_k p_k g_k.

The update sent is -g_k, so that a server SGD of rate η_s takes exactly that step; the client
optimiser and its learning rate play no part. Local epochs add nothing (the gradient is the same),
and the batch size only bounds memory.

Differences from the paper:
1. The paper writes the average over all clients; where a cohort is drawn weights n_k / Σ n_j are
   over the cohort, as for FedAvg.
"""

from fl_research.round.method import Method, Reply


class FedSGD(Method):
  """McMahan et al. 2017, section 2 (see the module's docstring)."""

  def work(self, client, message):
    gradient, trained = client.gradient(message)
    return Reply(tuple(-g for g in gradient), client.state, trained)


def build() -> Method:
  """The registry's entry point."""
  return FedSGD()
