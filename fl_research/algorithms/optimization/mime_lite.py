"""MimeLite: clients step as a centralised optimiser would, with its statistics held at the server.

Karimireddy, Jaggi, Kale, Mohri, Reddi, Stich, Suresh 2021, "Breaking the centralized barrier for
cross-device federated learning" (on arXiv "Mime: Mimicking Centralized Stochastic Algorithms in
Federated Learning"), algorithm 1 and the table of base optimisers. A base optimiser is a step U
along which one moves, and a rule V that renews its statistics s. The server keeps s and sends it
with the global model x; a client of the round takes its steps from x with s as it is,

    y_i = y_i - η U(g_i(y_i), s),

and sends, beside y_i - x, the gradient ∇f_i(x) of its loss over all its examples. Over the cohort,

    x = x + mean(y_i - x),    s = V(mean ∇f_i(x), s).

So the statistics say where all clients go and are swayed by no client's own steps. As m goes into
each of K local steps, η K is what the centralised optimiser would call its rate: one that suits
FedAvg may be too large. The bases:

    sgd        U = g
    momentum   U = (1 - β_1) g + β_1 m                        V: m = (1 - β_1) g + β_1 m
    adam       U = ((1 - β_1) g + β_1 m) / (ε + √v)           V: m as above,
                                                                 v = (1 - β_2) g² + β_2 v
    adagrad    U = g / (ε + √v)                               V: v = v + g²

η is `--client_learning_rate`. Both means are uniform in the paper, and by default here; with other
client weights both use them. With base sgd it is FedAvg. With one full-batch step it is the base
optimiser itself on the cohort's mean gradient, which for momentum is FedSGD with momentum β_1 and
the rate (1 - β_1) η at the server. Domain: β_1, β_2 in [0, 1), ε > 0, v at first at least 0.

Differences from the paper:
1. Adam has no bias correction, and ε is added to the root, by our reading of the paper's table;
   other implementations take their library's Adam, which corrects, and whose v also takes in the
   local gradient before it divides. Neither the paper's text nor the authors' code was at hand.
2. What v is before the first round is open. With zero, all of the first round's steps would be
   divided by ε; here it is a hyperparameter, by default 0.1. m starts from zero.
3. The paper leaves the constants of a run to tuning; ε = 1e-3 and β_2 = 0.99 are ours.
4. ∇f_i(x) is taken over the batches of the round's first pass, in training mode, where dropout
   draws: over less than all examples in rounds of less than one pass.
5. The server's step is `--server_optimizer`'s along the mean of y_i - x; of rate 1 it is the
   paper's.
6. ∇f_i(x) is sent in float32 and counted in `bytes_up`: compressors, attacks and robust rules act
   on y_i - x only, and gradients are averaged. The paper has none of these.
"""

import collections
from collections.abc import Mapping

import tensorflow as tf

from fl_research.round.method import Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import subtract, Weights

Statistics = Mapping[str, Weights]
"""What a base optimiser keeps: `m`, `v`, both or neither, each shaped like the weights."""

_KEPT = {'sgd': '', 'momentum': 'm', 'adam': 'mv', 'adagrad': 'v'}


class Base:
  """A base optimiser: U and V of the paper's table (see the module's docstring).

  Args:
    name: one of `sgd`, `momentum`, `adam` and `adagrad`.
    beta_1: β_1.
    beta_2: β_2.
    epsilon: ε.
    initial_accumulator: every number of v before the first round.
  """

  def __init__(
    self, name: str, beta_1: float, beta_2: float, epsilon: float, initial_accumulator: float
  ):
    self._name = name
    self._beta_1 = beta_1
    self._beta_2 = beta_2
    self._epsilon = epsilon
    self._start = {'m': 0.0, 'v': initial_accumulator}

  def initial(self, weights: Weights) -> Statistics:
    """s before the first round."""
    filled = lambda value: tuple(tf.fill(w.shape, tf.constant(value, w.dtype)) for w in weights)
    return collections.OrderedDict((key, filled(self._start[key])) for key in _KEPT[self._name])

  def direction(self, gradient: Weights, statistics: Statistics) -> Weights:
    """U(gradient, s)."""
    direction = tuple(gradient)
    if 'm' in statistics:
      direction = _blend(self._beta_1, statistics['m'], direction)
    if 'v' in statistics:
      pairs = zip(direction, statistics['v'], strict=True)
      direction = tuple(d / (self._epsilon + tf.sqrt(v)) for d, v in pairs)
    return direction

  def renewed(self, gradient: Weights, statistics: Statistics) -> Statistics:
    """V(gradient, s)."""
    after = collections.OrderedDict()
    if 'm' in statistics:
      after['m'] = _blend(self._beta_1, statistics['m'], gradient)
    if 'v' in statistics:
      after['v'] = self._second_moment(statistics['v'], tuple(g * g for g in gradient))
    return after

  def _second_moment(self, moment: Weights, squares: Weights) -> Weights:
    if self._name == 'adam':
      return _blend(self._beta_2, moment, squares)
    return tuple(v + s for v, s in zip(moment, squares, strict=True))


def _blend(beta: float, old: Weights, new: Weights) -> Weights:
  """β old + (1 - β) new."""
  return tuple(beta * o + (1.0 - beta) * n for o, n in zip(old, new, strict=True))


class Mimicked(Objective):
  """Another objective's gradient g made into U(g, s), s staying as it is from step to step."""

  def __init__(self, objective: Objective, base: Base, statistics: Statistics):
    self._objective = objective
    self._base = base
    self._statistics = statistics

  def initial_carry(self, weights):
    return self._objective.initial_carry(weights)

  def gradient(self, weights, batch, seed, carry):
    found = self._objective.gradient(weights, batch, seed, carry)
    return found._replace(gradient=self._base.direction(found.gradient, self._statistics))


class MimeLite(Method):
  """Karimireddy et al. 2021, algorithm 1, MimeLite (see the module's docstring).

  Server state: s. Message: x and s.
  """

  auxiliary_weighting = 'update'

  def __init__(self, base: Base):
    self._base = base

  def initial_own(self, weights):
    return self._base.initial(weights)

  def message(self, server):
    return server.weights, server.own

  def work(self, client, message):
    weights, statistics = message
    objective = Mimicked(client.loss, self._base, statistics)
    trained = client.train(weights, objective=objective)
    gradient, _ = client.gradient(weights, one_pass=True)
    return Reply(
      subtract(trained.weights, weights), client.state, trained, auxiliary=list(gradient)
    )

  def finish(self, server, combined):
    statistics = self._base.renewed(combined.auxiliary, server.own)
    return super().finish(server, combined)._replace(own=statistics)


def build(*, base: str, **constants: float) -> Method:
  """The registry's entry point; the arguments are those of `Base`."""
  return MimeLite(Base(base, **constants))
