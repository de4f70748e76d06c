"""FedGen: the server makes features that heads take for a class, and clients learn of them.

Zhu, Hong, Zhou 2021, "Data-Free Knowledge Distillation for Heterogeneous Federated Learning",
algorithm 1. A model is features under a head θ^p, its last layer, which answers h(z; θ^p) to
features z. Beside the model the server keeps a generator G_w(ε | y), which makes features of a
class y out of noise ε, and the shares p of classes among the clients' examples, even at first. A
client trains the model on its examples and, with as many made features in every step, descends

    L_k(θ) + λ E_{y ~ p, ε ~ N(0, I)} CE(y, h(G_w(ε | y); θ^p)),

and sends its model's delta and how many examples of each class it has. The server averages both,
and takes a number of steps of Adam on batches of made features along the gradient by w of

    E_{y ~ p, ε} CE(y, mean_k h(G_w(ε | y); θ_k^p)),

so that what a class's features are like reaches clients that have none of it. Heads are linear: the
mean of what they answer is what the mean head answers, which is all that the server needs. So it
takes sums only, which may be secure ones. The generator is [ε, y] → tanh → z, of 32, 256 and d
numbers. With λ = 0 it is FedAvg with clients that count once.

Differences from the paper:
1. The mean head is over the clients as they count in the mean of the models, and is what the run's
   compressor and aggregator make of it; uniform and as they are unless told otherwise.
2. The authors' code has the server descend every head's own loss, weighted by its client's share of
   the class, and a term that drives made features apart; and the clients from the second round on
   also the divergence of their answers from those on made features of the same classes. All weights
   and rates shrink from round to round there, and the mean of models is by examples. Here are the
   two losses of the paper's algorithm.
3. Its generator normalises its hidden layer by batches and has ReLU there, whose kink Adam makes
   much of when clients are added up in another order; here it is tanh. Noise is uniform on [0, 1]
   there, and classes are drawn evenly from those that some client has.
4. How many steps the server takes, of what size, and their first rate are the code's for MNIST.
5. The paper's text was not at hand: what is said of it is from memory, checked against the code.
"""

import collections
import copy
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fl_research import random_streams
from fl_research.algorithms import features
from fl_research.algorithms.optimization import fed_avg
from fl_research.models import initializers
from fl_research.round import minibatches
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss, Objective
from fl_research.round.structures import subtract, Weights

NOISE = 32
"""How many numbers of noise the generator is given."""

HIDDEN = 256
"""Width of its hidden layer."""

BATCH = 32
"""How many features the server makes for one step of the generator."""

PURPOSE = 0x67656E
"""Folded into a client's seed, so that dropout, which folds steps into it, draws other numbers."""


def drawn(seed: tf.Tensor, shares: tf.Tensor, number: Any) -> tuple[tf.Tensor, tf.Tensor]:
  """Classes, one-hot [number, C], by their shares [C], and noise [number, NOISE]."""
  fold_in = tf.random.experimental.stateless_fold_in
  logits = tf.math.log(shares)[tf.newaxis]
  labels = tf.squeeze(tf.random.stateless_categorical(logits, number, seed), axis=0)
  noise = tf.random.stateless_normal([number, NOISE], fold_in(seed, 1))
  return tf.one_hot(labels, shares.shape[0]), noise


def made(generator: Weights, labels: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
  """G_w: features [n, d]."""
  first, first_bias, second, second_bias = generator
  hidden = tf.tanh(tf.matmul(tf.concat([noise, labels], axis=1), first) + first_bias)
  return tf.matmul(hidden, second) + second_bias


def _answers(head: Weights, points: tf.Tensor) -> tf.Tensor:
  kernel, *bias = head
  return tf.matmul(points, kernel) + sum(bias)


class OnMadeFeatures(Objective):
  """The loss, and λ times that of the head on features that are made anew in every step.

  It carries the number of the step, from which, and the client's seed, they are drawn.

  Args:
    client: whose.
    head: places of the head among the weights.
    message: generator and shares.
    strength: λ.
  """

  def __init__(self, client: Any, head: slice, message: Any, strength: float):
    self._loss = Loss(client.model)
    self._seed = tf.random.experimental.stateless_fold_in(client.data['seed'], PURPOSE)
    self._head = head
    self._generator = tuple(message['generator'])
    self._shares = message['shares']
    self._strength = strength

  def initial_carry(self, weights):
    return tf.constant(0)

  def gradient(self, weights, batch, seed, carry):
    found = self._loss.gradient(weights, batch, seed, ())
    own = tf.random.experimental.stateless_fold_in(self._seed, carry)
    labels, noise = drawn(own, self._shares, tf.shape(batch.mask)[0])
    points = made(self._generator, labels, noise)
    error = tf.nn.softmax(_answers(weights[self._head], points)) - labels
    error *= self._strength / tf.cast(tf.shape(error)[0], tf.float32)
    slopes = tf.matmul(points, error, transpose_a=True), tf.reduce_sum(error, axis=0)
    gradient = list(found.gradient)
    gradient[self._head] = [g + s for g, s in zip(gradient[self._head], slopes)]
    return found._replace(gradient=tuple(gradient), carry=carry + 1)


class FedGen(fed_avg.FedAvg):
  """Zhu et al. 2021, algorithm 1 (see the module's docstring).

  Server state: the generator, its optimiser's state, the shares of classes, the number of rounds.

  Args:
    regularization: λ ≥ 0.
    steps: of the generator in every round.
    learning_rate: Adam's.

  Attributes:
    head: places of the head among the weights; once bound.
    sizes: how many classes there are, and numbers of a feature; once bound.

  Raises:
    UsageError: the task has no classes, or the model no features under a linear last layer.
  """

  def __init__(self, regularization: float, steps: int, learning_rate: float):
    self._regularization = regularization
    self._steps = steps
    self._optimizer = tff.learning.optimizers.build_adam(learning_rate)
    self.head = slice(0)
    self.sizes = (0, 0)

  def bind(self, federation):
    federation.require_classes('fedgen', 'makes features of')
    model = federation.model
    bound: Any = copy.copy(super().bind(federation))
    bound.head = slice(features.last_kernel(model, 'fedgen'), len(model.weight_names))
    bound.sizes = model.spec.num_classes, features.dimension(model, 'fedgen')
    return bound

  def initial_own(self, weights):
    classes, dimension = self.sizes
    seeded = random_streams.generator(self.federation.seed, 'generator of features')
    kernel = lambda fan_in, fan_out: tf.constant(
      initializers.glorot_uniform(seeded, (fan_in, fan_out), fan_in, fan_out)
    )
    first, second = kernel(NOISE + classes, HIDDEN), kernel(HIDDEN, dimension)
    generator = [first, tf.zeros([HIDDEN]), second, tf.zeros([dimension])]
    specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in generator)
    return collections.OrderedDict(
      generator=generator,
      optimizer=self._optimizer.initialize(specs),
      shares=tf.fill([classes], 1.0 / classes),
      round=tf.constant(0),
    )

  def message(self, server):
    return collections.OrderedDict(
      model=server.weights, generator=server.own['generator'], shares=server.own['shares']
    )

  def work(self, client, message):
    start = tuple(message['model'])
    objective = OnMadeFeatures(client, self.head, message, self._regularization)
    trained = client.train(start, objective=objective)
    counts = minibatches.class_counts(client.data, self.sizes[0])
    return Reply(subtract(trained.weights, start), client.state, trained, auxiliary=counts)

  def finish(self, server, combined):
    own, counts = server.own, combined.auxiliary
    before, update = server.weights[self.head], combined.update[self.head]
    head = tuple(w + u for w, u in zip(before, update, strict=True))
    shares = counts / tf.reduce_sum(counts)
    own = collections.OrderedDict(own, shares=shares, round=own['round'] + 1)
    generator, optimizer = self._taught(own, head)
    own.update(generator=list(generator), optimizer=optimizer)
    return super().finish(server, combined)._replace(own=own)

  def _taught(self, own: Any, head: Weights) -> tuple[Weights, Any]:
    """The generator, and its optimiser's state, after the round's steps."""
    fold_in = tf.random.experimental.stateless_fold_in
    of_run = random_streams.stateless_seed(self.federation.seed, 'made features')
    seed = fold_in(of_run, own['round'])

    def step(index, generator, optimizer):
      labels, noise = drawn(fold_in(seed, index), own['shares'], BATCH)
      with tf.GradientTape() as tape:
        tape.watch(generator)
        answers = _answers(head, made(generator, labels, noise))
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, answers))
      optimizer, generator = self._optimizer.next(
        optimizer, generator, tape.gradient(loss, generator)
      )
      return index + 1, generator, optimizer

    _, generator, optimizer = tf.while_loop(
      lambda index, *_: index < self._steps,
      step,
      (tf.constant(0), tuple(own['generator']), own['optimizer']),
      parallel_iterations=1,
    )
    return generator, optimizer


def build(*, regularization: float, steps: int, learning_rate: float) -> Method:
  """The registry's entry point; the arguments are those of `FedGen`."""
  return FedGen(regularization, steps, learning_rate)
