"""FedEM: every client's data are a mixture of distributions that all have in common.

Marfoq, Neglia, Bellet, Kameni, Vidal 2021, "Federated Multi-Task Learning under a Mixture of
Distributions", algorithm 1. The server sends M models θ_1, …, θ_M; client t keeps its shares π_t of
the mixture, all 1 / M at first. With l_m(i) the loss of θ_m on its example i, it computes

    E    q_m(i) = π_tm exp(-l_m(i)) / Σ_k π_tk exp(-l_k(i))
    M    π_tm = mean_i q_m(i)
         θ_m is trained on Σ_i q_m(i) l_m(i), all M on the same minibatches,

and the server takes the means of the θ_m, by examples. What a client uses is the mixture of what
the models answer, with its own shares: of probabilities where there are classes or tags, of numbers
else. With one model it is FedAvg. `metrics.csv` has the mean share of each model; θ_1 is saved as
`model`, the others as `model_2`, …; how they start, `several_models` says.

q is computed from the models as they were sent, and again in every step, for the examples of its
minibatch: M evaluations beside the M gradients, and no pass over the examples before the first
step. The loss, and whatever else, of the training columns is the mean under q.

Differences from the paper:
1. π_t is the mean over the examples of the round's minibatches, which is that over all examples
   where clients train whole epochs.
2. The loss of an example is what training descends: of a text the sum over its tokens, of numbers
   their squared error, which as a density has its deviation fixed at sqrt(1/2).
3. A client that has never taken part has all shares 1 / M. The paper fits them to its examples.
4. The paper draws all initial models anew.
"""

import collections
from collections.abc import Sequence
from typing import Optional

import tensorflow as tf

from fl_research.algorithms.clusters import several_models
from fl_research.algorithms.clusters.several_models import model_of
from fl_research.datasets.federated_data import Problem
from fl_research.models import model as model_lib
from fl_research.models import objectives
from fl_research.round.method import Method, Reply
from fl_research.round.minibatches import Batch
from fl_research.round.objective import Gradient, loss_gradient, Objective
from fl_research.round.structures import subtract, Weights


class Expectation(Objective):
  """Of M models the losses times q, which stays that of the models that were sent.

  Carries the sum of q over all examples so far, float32 [M].

  Args:
    model: the model.
    sent: its weights in M versions, one more axis in front.
    shares: π of the client, float32 [M].
  """

  def __init__(self, model: model_lib.Model, sent: Weights, shares: tf.Tensor):
    self._model, self._sent, self._shares = model, sent, shares
    self._count = int(shares.shape[0])

  def initial_carry(self, weights):
    return tf.zeros_like(self._shares)

  def gradient(self, weights, batch, seed, carry):
    q = self._responsibilities(batch)
    found = [self._of_one(number, weights, q[number], batch, seed) for number in range(self._count)]
    gradients, columns = zip(*found, strict=True)
    return Gradient(
      tuple(tf.stack(parts) for parts in zip(*gradients, strict=True)),
      tf.add_n([q[number] * own for number, own in enumerate(columns)]),
      carry + tf.linalg.matvec(q, batch.mask),
    )

  def _of_one(
    self, number: int, weights: Weights, q: tf.Tensor, batch: Batch, seed: Optional[tf.Tensor]
  ) -> tuple[Weights, tf.Tensor]:
    if seed is not None:
      seed = tf.random.experimental.stateless_fold_in(seed, number)
    weighed = lambda output, given: q * self._losses(output, given)
    return loss_gradient(self._model, model_of(weights, number), batch, seed, of_examples=weighed)

  def _responsibilities(self, batch: Batch) -> tf.Tensor:
    """q, float32 [M, n]."""
    losses = [
      self._losses(
        self._model.predict_on_batch((model_of(self._sent, number), ()), batch.x, training=False),
        batch,
      )
      for number in range(self._count)
    ]
    return tf.nn.softmax(tf.math.log(self._shares)[:, tf.newaxis] - tf.stack(losses), axis=0)

  def _losses(self, output: tf.Tensor, batch: Batch) -> tf.Tensor:
    return objectives.objective(self._model.example_metrics(output, batch.y))


def mixture(outputs: Sequence[tf.Tensor], shares: tf.Tensor, problem: Problem) -> tf.Tensor:
  """What a mixture of models answers, as raw output.

  Args:
    outputs: raw outputs of the models, [n, ...] each.
    shares: what each counts, float32 [M], in all 1.
    problem: what they answer.
  """
  stacked = tf.stack(outputs)
  of_each = tf.reshape(shares, [-1] + [1] * (len(stacked.shape) - 1))
  mean = lambda logs: tf.reduce_logsumexp(tf.math.log(of_each) + logs, axis=0)
  if problem in (Problem.CLASSIFICATION, Problem.NEXT_TOKEN):
    return mean(tf.nn.log_softmax(stacked))
  if problem in (Problem.BINARY, Problem.MULTILABEL):
    return mean(tf.math.log_sigmoid(stacked)) - mean(tf.math.log_sigmoid(-stacked))
  return tf.reduce_sum(of_each * stacked, axis=0)


class FedEM(several_models.SeveralModels):
  """Marfoq et al. 2021, algorithm 1 (see the module's docstring). Client state: π_t.

  Args:
    components: M ≥ 1.
  """

  def __init__(self, components: int):
    super().__init__('fedem', components)

  def initial_client_state(self, weights):
    return collections.OrderedDict(shares=tf.fill([self.count], 1.0 / self.count))

  def work(self, client, message):
    shares = client.state['shares']
    trained = client.train(message, objective=Expectation(client.model, message, shares))
    total = tf.reduce_sum(trained.carry)
    renewed = tf.where(total > 0.0, tf.math.divide_no_nan(trained.carry, total), shares)
    return Reply(
      subtract(trained.weights, message),
      collections.OrderedDict(shares=renewed),
      trained,
      measures={f'share_{number + 1}': renewed[number] for number in range(self.count)},
    )

  def predictor(self, server, client):
    models = [self.predict(model_of(server.weights, number)) for number in range(self.count)]
    problem = client.model.spec.problem
    return lambda x: mixture([each(x) for each in models], client.state['shares'], problem)


def build(*, components: int) -> Method:
  """The registry's entry point; the argument is that of `FedEM`."""
  return FedEM(components)
