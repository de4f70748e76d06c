"""Per-FedAvg: the global model is one from which a single step makes a good model of a client.

Fallah, Mokhtari, Ozdaglar 2020, "Personalized Federated Learning with Theoretical Guarantees: A
Model-Agnostic Meta-Learning Approach", algorithm 1. Client i uses w - α ∇f_i(w), and the federation
minimises the mean of F_i(w) = f_i(w - α ∇f_i(w)). A local step has three minibatches D, D', D'':

    w̃ = w - α ∇f(w; D),    g = ∇f(w̃; D'),    w = w - β (I - α ∇²f(w; D'')) g,

of which two variants do without second derivatives:

    FO    drops the Hessian: w = w - β g
    HF    (∇f(w + δ g; D'') - ∇f(w - δ g; D'')) / (2 δ) stands for ∇²f(w; D'') g.

β is `--client_learning_rate`, α `--perfedavg_alpha`; `--perfedavg_delta` is δ, and 0 asks for FO.
α = 0 is FedAvg, of the minibatches D'.

What is reported as training loss is that of w̃ on D'. In the evaluation each client uses its step
from the global model with the gradient over all its training examples, and keeps nothing.

Differences from the paper:
1. D is the minibatch of the step, D' the next one of the round and D'' the one after that, from the
   beginning again after the last: each minibatch is used as D, as D' and as D''. The paper draws
   three independent ones. A client with one minibatch has D = D' = D''.
2. The paper's clients test after one step on a minibatch, here on all their training examples.
3. The algorithm itself, with second derivatives, is not offered.
4. All gradients of a step see the same draws of dropout, and a client's own step at the evaluation
   draws as in training.
"""

from typing import Any

import tensorflow as tf

from fl_research.round import minibatches
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import subtract, Weights


def along(weights: Weights, step: Any, direction: Weights) -> Weights:
  """weights + step direction."""
  return tuple(w + step * d for w, d in zip(weights, direction, strict=True))


class MetaGradient(Objective):
  """The gradient by w of another objective after a step from w; carried is the step's number.

  Args:
    objective: the other objective, which carries nothing.
    data: the client's D.
    alpha: α.
    delta: δ of HF; 0 for FO.
  """

  def __init__(self, objective: Objective, data: Any, alpha: float, delta: float):
    self._objective = objective
    self._batches = minibatches.Minibatches(data)
    self._available = minibatches.num_steps(data)
    self._alpha = alpha
    self._delta = delta

  def initial_carry(self, weights):
    return tf.constant(0)

  def gradient(self, weights, batch, seed, carry):
    at = lambda weights, batch: self._objective.gradient(weights, batch, seed, ())
    later = lambda number: self._batches[(carry + number) % self._available]
    adapted = along(weights, -self._alpha, at(weights, batch).gradient)
    found = at(adapted, later(1))
    gradient = found.gradient
    if self._delta:
      ahead, behind = (
        at(along(weights, sign * self._delta, gradient), later(2)).gradient for sign in (1.0, -1.0)
      )
      scale = self._alpha / (2.0 * self._delta)
      gradient = along(gradient, -scale, subtract(ahead, behind))
    return found._replace(gradient=gradient, carry=carry + 1)


class PerFedAvg(Method):
  """Fallah et al. 2020, algorithm 1 (see the module's docstring).

  Args:
    alpha: α ≥ 0.
    delta: δ ≥ 0 of HF; 0 for FO.
  """

  personal = True

  def __init__(self, alpha: float, delta: float):
    self._alpha = alpha
    self._delta = delta

  def work(self, client, message):
    objective = MetaGradient(client.loss, client.data, self._alpha, self._delta)
    trained = client.train(message, objective=objective)
    return Reply(subtract(trained.weights, message), client.state, trained)

  def predictor(self, server, client):
    gradient, _ = client.gradient(server.weights, one_pass=True)
    return self.predict(along(server.weights, -self._alpha, gradient))


def build(*, alpha: float, delta: float) -> Method:
  """The registry's entry point; the arguments are those of `PerFedAvg`."""
  return PerFedAvg(alpha, delta)
