"""FedNova: clients that did more steps no longer pull harder.

Wang, Liu, Liang, Joshi, Poor 2020, "Tackling the Objective Inconsistency Problem in Heterogeneous
Federated Optimization", section 4. Client i takes τ_i steps; its model delta is

    Δ_i = -η Σ_k a_i[k] g_i(k),

a weighted sum of its gradients. It sends the normalised update Δ_i / |a_i|, |a_i| = Σ_k a_i[k], and
the server takes

    w_{t+1} = w_t + η_s τ_eff Σ_i p_i Δ_i / |a_i|.

For plain SGD a_i = (1, …, 1); with momentum ρ, a_i[k] = (1 - ρ^(τ_i - k)) / (1 - ρ); with the
proximal term μ of FedProx, a_i[k] = (1 - ημ)^(τ_i - 1 - k), k = 0 … τ_i - 1. All of these, and
both together, are what unit gradients would make of the optimiser: |a_i| is the distance, in units
of η, that they move a weight, which is how it is computed here. It needs ημ ≤ 1.

τ_eff = Σ_i p_i |a_i| without a proximal term, and Σ_i p_i τ_i with one. So where all clients take
equally many steps, with or without momentum, this is FedAvg.

Differences from the paper:
1. The paper leaves the choice of τ_eff open and names Σ_i p_i τ_i for plain SGD, where both rules
   above are the same; the one for momentum is that of the authors' code.
2. With momentum and proximal term at once, their code adds the formulas of both up and so counts
   every step once too often; the sum here is exact, and the steps are the same.
3. p_i are over the cohort's clients; the paper writes them over all.
4. |a_i| is one float32 number beside the update: it is never compressed, attackers tell the truth
   about it, and robust rules combine the updates only.
"""

import tensorflow as tf

from fl_research.algorithms.optimization import fed_prox
from fl_research.round.method import Method, Reply
from fl_research.round.structures import subtract


def sum_of_coefficients(
  num_steps: tf.Tensor, learning_rate: tf.Tensor, momentum: tf.Tensor, mu: float
) -> tf.Tensor:
  """|a_i|: how far, in units of η, steps of unit gradients move a weight.

  Args:
    num_steps: τ_i, int32.
    learning_rate: η.
    momentum: ρ; 0 for plain SGD.
    mu: μ; 0 for no proximal term.
  """

  def step(index, distance, accumulator):
    accumulator = momentum * accumulator + 1.0 - learning_rate * mu * distance
    return index + 1, distance + accumulator, accumulator

  _, distance, _ = tf.while_loop(
    lambda index, *_: index < num_steps,
    step,
    (tf.constant(0), tf.constant(0.0), tf.constant(0.0)),
  )
  return distance


class FedNova(Method):
  """Wang et al. 2020, section 4 (see the module's docstring). Clients optimise by SGD or momentum.

  Args:
    mu: μ ≥ 0 of the proximal variant.
  """

  # τ_eff is a mean with the weights p_i of the updates.
  auxiliary_weighting = 'update'

  def __init__(self, mu: float):
    self._mu = mu

  def work(self, client, message):
    objective = client.loss
    if self._mu:
      objective = objective.plus(fed_prox.proximal_term(self._mu, message))
    trained = client.train(message, objective=objective)
    used = client.optimizer_settings(message)
    size = sum_of_coefficients(
      trained.num_steps, used['learning_rate'], used.get('momentum', 0.0), self._mu
    )
    delta = subtract(trained.weights, message)
    update = tuple(tf.math.divide_no_nan(d, size) for d in delta)
    effective = tf.cast(trained.num_steps, tf.float32) if self._mu else size
    return Reply(update, client.state, trained, auxiliary=effective)

  def finish(self, server, combined):
    return self.step(server, tuple(combined.auxiliary * u for u in combined.update))


def build(*, mu: float) -> Method:
  """The registry's entry point; the argument is that of `FedNova`."""
  return FedNova(mu)
