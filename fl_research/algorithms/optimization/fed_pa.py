"""FedPA: clients send what their posterior says of the model, and not where training ended.

Al-Shedivat, Gillenwater, Xing, Rostamizadeh 2021, "Federated Learning via Posterior Averaging: A
New Perspective and Practical Algorithms", algorithms 3 and 4 and appendix C. Were every client's
loss quadratic, the minimum of all would be where Σ_k p_k Σ_k⁻¹ (w - μ_k) = 0, with μ_k and Σ_k mean
and covariance of the client's posterior e^(-f_k). So a client of the round draws samples of it and
sends

    Δ_k = Σ̂⁻¹ (μ̂ - w),    μ̂ the mean of its l samples, Ŝ their covariance (by l - 1),
    Σ̂ = ρ_l I + (1 - ρ_l) Ŝ,    ρ_l = 1 / (1 + (l - 1) ρ),

along whose mean the server steps. The samples are iterate averages of SGD (IASG): of a client's K
steps the first share, `--fedpa_burn_in`, is left to find the way, and the rest is cut into l parts,
the mean of the weights after each step of a part being a sample. Only ρ says how far the
covariance, of rank l - 1, counts: with ρ = 0 the update is μ̂ - w, and the larger ρ, the longer it
is in directions in which samples do not differ, up to (1 + (l - 1) ρ) times.

With a burn-in of 1 it is FedAvg. The paper trains that way for some hundred rounds before it begins
to sample, which `--fedpa_burn_in_rounds` does. The rate of the server must often be lower than
FedAvg's, whose updates are shorter.

With X the l samples less their mean and v = μ̂ - w, Σ̂⁻¹ v needs no matrix of the weights' size:

    Σ̂⁻¹ v = (v - Xᵀ (I / ρ + X Xᵀ)⁻¹ X v) / ρ_l,

a system of l equations, O(l² d) for d weights. The paper's dynamic programme gives the same, sample
by sample. A client holds l sums of the weights' size, and adds to one of them in every step that
counts, which is as much as FedProx's term costs: with the 2NN, batches of 10 and two passes a round
takes 1.7 times as long as FedAvg's, and the less the larger the batches.

Differences from the paper:
1. In the paper burn-in and samples have so many steps each; here they are shares of a client's own
   steps, which differ. Of fewer steps than l each is a sample, and where all are burn-in, Δ_k is
   what it is in FedAvg.
2. The solution by Woodbury's identity, as above, in float64; the paper's is recursive, so that it
   need not hold the samples in pairs.
3. The authors' samplers go on from the last weights of the burn-in, and so does this one; steps
   between samples that count for none (`discard_steps` in their code, 0 by default) are left out.
"""

import collections
from typing import Any

import tensorflow as tf

from fl_research.aggregation import stacked
from fl_research.round import minibatches
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import choose, subtract, Weights


class _Sums(Objective):
  """Another objective, carrying the sums of the weights over l parts of the steps.

  A step sees the weights that the step before has left, so that the last ones are added outside.

  Args:
    objective: the other objective.
    first: int32 [], the first step whose weights count.
    steps: int32 [], how many steps there are.
    number: l.
  """

  def __init__(self, objective: Objective, first: tf.Tensor, steps: tf.Tensor, number: int):
    self._objective = objective
    self._first = first
    self._steps = steps
    self._number = number

  def initial_carry(self, weights):
    return collections.OrderedDict(
      inner=self._objective.initial_carry(weights),
      done=tf.constant(0),
      total=tuple(tf.zeros_like(w) for w in weights),
      sums=tuple(tf.zeros([self._number, *w.shape], w.dtype) for w in weights),
    )

  def gradient(self, weights, batch, seed, carry):
    found = self._objective.gradient(weights, batch, seed, carry['inner'])
    return found._replace(carry=self._carried(weights, found.carry, carry))

  def times(self, factor):
    return _Sums(self._objective.times(factor), self._first, self._steps, self._number)

  def _carried(self, weights: Weights, inner: Any, carry: Any) -> Any:
    total, sums = self.added(weights, carry)
    return collections.OrderedDict(inner=inner, done=carry['done'] + 1, total=total, sums=sums)

  def added(self, weights: Weights, carry: Any) -> tuple[Any, Any]:
    """The sum of the present part and those of all, with the weights that the last step has left.

    A step adds to one tensor of the weights' size; the l others are touched when a part ends.
    """
    step = carry['done'] - 1
    part, following = self._part(step), self._part(step + 1)

    def ended(total):
      at = [[part]]
      sums = zip(carry['sums'], total, strict=True)
      filled = [tf.tensor_scatter_nd_update(s, at, t[tf.newaxis]) for s, t in sums]
      return [*(tf.zeros_like(t) for t in total), *filled]

    def counted():
      total = [t + w for t, w in zip(carry['total'], weights, strict=True)]
      goes_on = lambda: [*total, *map(tf.identity, carry['sums'])]
      return tf.cond(tf.equal(part, following), goes_on, lambda: ended(total))

    before = lambda: [tf.identity(t) for t in (*carry['total'], *carry['sums'])]
    after = tf.cond(part >= 0, counted, before)
    return tuple(after[: len(weights)]), tuple(after[len(weights) :])

  def counts(self) -> tf.Tensor:
    """How many steps each sum is over: float32 [l]."""
    parts = self._part(tf.range(self._steps))
    return tf.reduce_sum(tf.one_hot(parts, self._number), axis=0)

  def _part(self, step: tf.Tensor) -> tf.Tensor:
    """Which part a step belongs to: int32, below 0 for none."""
    after = step - self._first
    part = after * self._number // tf.maximum(self._steps - self._first, 1)
    return tf.where(after >= 0, part, -1)


def posterior_delta(
  samples: Weights, drawn: tf.Tensor, weights: Weights, rho: float
) -> tuple[tf.Tensor, ...]:
  """Σ̂⁻¹ (μ̂ - w) of the samples that were drawn (see the module's docstring).

  Args:
    samples: [l, ...] tensors.
    drawn: bool [l], which of them there are.
    weights: w.
    rho: ρ ≥ 0.
  """
  present = tf.cast(drawn, tf.float32)
  number = tf.maximum(tf.reduce_sum(present), 1.0)
  along = lambda t: tf.reshape(present, [-1, *([1] * (t.shape.rank - 1))])
  means = tuple(tf.reduce_sum(along(s) * s, axis=0) / number for s in samples)
  way = subtract(means, weights)
  if not rho:
    return way
  apart = tuple(along(s) * (s - m) for s, m in zip(samples, means, strict=True))
  together = tuple(tf.concat([a, v[tf.newaxis]], axis=0) for a, v in zip(apart, way, strict=True))
  gram = stacked.gram(together)
  matrix = gram[:-1, :-1] + tf.eye(tf.size(drawn), dtype=tf.float64) / rho
  solution = tf.cast(_solve(matrix, gram[:-1, -1]), tf.float32)
  stretch = 1.0 + (number - 1.0) * rho
  along_samples = stacked.weighted_sum(apart, solution)
  return tuple(stretch * (v - s) for v, s in zip(way, along_samples, strict=True))


def _solve(matrix: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
  """The x with M x = r, for M [l, l] positive definite: float64 [l].

  By elimination: TensorFlow's own solver ends the run where numbers are not finite, while a client
  whose training went astray is to be left out.
  """
  number = matrix.shape[0]
  rows = tf.concat([matrix, right[:, tf.newaxis]], axis=1)
  for place in range(number):
    pivot = rows[place] / rows[place, place]
    cleared = rows - rows[:, place, tf.newaxis] * pivot
    rows = tf.where(tf.equal(tf.range(number)[:, tf.newaxis], place), pivot, cleared)
  return rows[:, -1]


class FedPA(Method):
  """Al-Shedivat et al. 2021 (see the module's docstring).

  Server state: how many rounds there were. Message: w, and whether clients sample.

  Args:
    samples: l ≥ 1.
    burn_in: share of a client's steps before the first sample, in [0, 1].
    burn_in_rounds: in so many rounds, at first, clients do as in FedAvg.
    rho: ρ ≥ 0.
  """

  def __init__(self, samples: int, burn_in: float, burn_in_rounds: int, rho: float):
    self._samples = samples
    self._burn_in = burn_in
    self._burn_in_rounds = burn_in_rounds
    self._rho = rho

  def initial_own(self, weights):
    return (tf.constant(0),)

  def message(self, server):
    (rounds,) = server.own
    return server.weights, tf.cast(rounds >= self._burn_in_rounds, tf.float32)

  def work(self, client, message):
    weights, sampling = message
    steps = minibatches.num_steps(client.data)
    first = tf.cast(tf.round(self._burn_in * tf.cast(steps, tf.float32)), tf.int32)
    sums = _Sums(client.loss, first, steps, self._samples)
    trained = client.train(weights, objective=sums)
    delta = subtract(trained.weights, weights)
    counts = sums.counts()
    _, totals = sums.added(trained.weights, trained.carry)
    samples = tuple(_divided(total, counts) for total in totals)
    drawn = counts > 0.0
    posterior = posterior_delta(samples, drawn, weights, self._rho)
    samples_count = tf.logical_and(sampling > 0.0, tf.reduce_any(drawn))
    return Reply(choose(samples_count, posterior, delta), client.state, trained)

  def finish(self, server, combined):
    (rounds,) = server.own
    return super().finish(server, combined)._replace(own=(rounds + 1,))


def _divided(total: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
  """Sums [l, ...] divided by how many they are over; zeros where that is 0."""
  return tf.math.divide_no_nan(total, tf.reshape(counts, [-1, *([1] * (total.shape.rank - 1))]))


def build(*, samples: int, burn_in: float, burn_in_rounds: int, rho: float) -> Method:
  """The registry's entry point; the arguments are those of `FedPA`."""
  return FedPA(samples, burn_in, burn_in_rounds, rho)
