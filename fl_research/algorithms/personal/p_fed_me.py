"""pFedMe: a personal model in the neighbourhood of the global one, and the global one in theirs.

Dinh, Tran, Nguyen 2020, "Personalized Federated Learning with Moreau Envelopes", algorithm 1.
The global model w minimises the mean of the clients' Moreau envelopes

    F_i(w) = min_θ f_i(θ) + λ/2 |θ - w|²,    whose gradient is λ (w - θ_i(w)),

θ_i(w) being the minimiser, which is what client i uses. In each local step, with a minibatch of its
own, client i approaches that minimiser by K steps and follows it by one,

    K times:  θ_i = θ_i - ρ (∇f_i(θ_i) + λ (θ_i - w_i)),    then  w_i = w_i - η λ (w_i - θ_i),

from w_i = w, the global model, and the server takes (1 - β) w + β mean(w_i). η is
`--client_learning_rate`, ρ `--pfedme_personal_learning_rate`, β `--server_learning_rate`. η λ has
to be below 1, and ρ λ as well.

What is reported as training loss is that of θ_i, before the first of the K steps of each minibatch;
the evaluation is that of θ_i as the client's last round left it, with the global model beside it.

Differences from the paper:
1. Where θ_i starts is open in algorithm 1. As in the authors' code it starts from w in every round,
   and each minibatch goes on from where the last one left it.
2. The algorithm stops at a given accuracy of the minimiser; here, as in the code, after K steps.
3. ρ has no schedule.
4. Dropout draws anew in each of the K steps.
"""

import tensorflow as tf

from fl_research.round.method import Method, Reply
from fl_research.round.objective import Gradient, Objective
from fl_research.round.structures import subtract


class Envelope(Objective):
  """The Moreau envelope of another objective; carried is the minimiser, as far as it is known.

  Args:
    objective: the other objective, which carries nothing.
    regularization: λ.
    steps: K ≥ 1.
    rate: ρ.
  """

  def __init__(self, objective: Objective, regularization: float, steps: int, rate: float):
    self._objective = objective
    self._regularization = regularization
    self._steps = steps
    self._rate = rate

  def initial_carry(self, weights):
    return weights

  def gradient(self, weights, batch, seed, carry):
    tied = self._objective.plus(
      lambda own: tuple(self._regularization * d for d in subtract(own, weights))
    )

    def step(index, own):
      fold_in = tf.random.experimental.stateless_fold_in
      found = tied.gradient(own, batch, None if seed is None else fold_in(seed, index), ())
      moved = (v - self._rate * g for v, g in zip(own, found.gradient, strict=True))
      return tuple(moved), found.columns

    own, columns = step(tf.constant(0), carry)
    _, own = tf.while_loop(
      lambda index, own: index < self._steps,
      lambda index, own: (index + 1, step(index, own)[0]),
      (tf.constant(1), own),
    )
    return Gradient(tuple(self._regularization * d for d in subtract(weights, own)), columns, own)


class PFedMe(Method):
  """Dinh et al. 2020, algorithm 1 (see the module's docstring). Client state: θ_i.

  Args:
    regularization: λ ≥ 0.
    personal_steps: K ≥ 1.
    personal_learning_rate: ρ ≥ 0.
  """

  personal = True

  def __init__(self, regularization: float, personal_steps: int, personal_learning_rate: float):
    self._envelope = (regularization, personal_steps, personal_learning_rate)

  def initial_client_state(self, weights):
    return list(weights)

  def work(self, client, message):
    trained = client.train(message, objective=Envelope(client.loss, *self._envelope))
    return Reply(subtract(trained.weights, message), list(trained.carry), trained)

  def predictor(self, server, client):
    return self.predict(client.state)


def build(*, regularization: float, personal_steps: int, personal_learning_rate: float) -> Method:
  """The registry's entry point; the arguments are those of `PFedMe`."""
  return PFedMe(regularization, personal_steps, personal_learning_rate)
