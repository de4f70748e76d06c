"""Federated averaging in plain TensorFlow, without any TFF: what the arithmetic itself costs.

The population's examples are tensors from the beginning, so that a round copies nothing; one
`tf.function` loops over a share of the cohort and over each client's batches, with the same model
code; the shares run at the same time, in threads or in processes, each with one-thread kernels.
"""

import concurrent.futures
import multiprocessing
import pathlib
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import works

Weights = list[Any]


def build(job: works.Job, *, threads: int, processes: int) -> 'PlainLoop':
  """The registry's entry point: either several threads in one process, or several processes."""
  workers = [_Remote(job) for _ in range(processes - 1)]
  local = Trainer(job)
  return PlainLoop(job, [local] * threads + workers)


class Trainer:
  """Trains clients one after the other in this process."""

  def __init__(self, job: works.Job):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    pool = job.clients.pooled()
    self._x, self._y = tf.constant(pool['x']), tf.constant(pool['y'])
    self._model = job.build_model()
    self._batch_size, self._rate = job.work.batch_size, job.work.learning_rate
    specs = [tf.TensorSpec(w.shape, w.dtype) for w in self._model.initial_weights[0]]
    indices = tf.TensorSpec([None], tf.int32)
    self._gradient = tf.function(
      self._batch_gradient,
      # As in `objective.loss_gradient`: the fast gradient of a maximum, in every run.
      experimental_attributes={'_noinline': True} if self._model.pools else None,
    )
    self._function = tf.function(self._train, input_signature=[specs, indices, indices])
    self._function.get_concrete_function()

  def __call__(self, weights: Weights, order: np.ndarray, offsets: np.ndarray) -> Weights:
    """The sum of the clients' weights, each times its number of examples.

    Args:
      weights: where every client starts.
      order: the rows of the population that the clients visit, one client after the other.
      offsets: where in `order` each client begins, and where the last one ends.
    """
    trained = self._function(weights, tf.constant(order), tf.constant(offsets))
    return [w.numpy() for w in trained]

  def _batch_gradient(self, weights, x, y):
    with tf.GradientTape() as tape:
      tape.watch(weights)
      output = self._model.predict_on_batch((tuple(weights), ()), x, True)
      loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=output))
    return tape.gradient(loss, weights)

  def _train(self, start, order, offsets):
    def client(k, total):
      rows = order[offsets[k] : offsets[k + 1]]
      count = tf.size(rows)

      def step(first, weights):
        batch = rows[first : first + self._batch_size]
        gradient = self._gradient(weights, tf.gather(self._x, batch), tf.gather(self._y, batch))
        moved = [w - self._rate * g for w, g in zip(weights, gradient)]
        return first + self._batch_size, moved

      first = lambda first, _: first < count
      _, trained = tf.while_loop(first, step, (tf.constant(0), start), parallel_iterations=1)
      weight = tf.cast(count, tf.float32)
      return k + 1, [t + weight * w for t, w in zip(total, trained)]

    clients = tf.size(offsets) - 1
    zeros = [tf.zeros_like(w) for w in start]
    return tf.while_loop(
      lambda k, _: k < clients, client, (tf.constant(0), zeros), parallel_iterations=1
    )[1]


class _Remote:
  """A `Trainer` in a process of its own, which ends with this one."""

  def __init__(self, job: works.Job):
    context = multiprocessing.get_context('spawn')
    self._pipe, other = context.Pipe()
    context.Process(target=_serve, args=(job.name, job.path, other), daemon=True).start()
    other.close()

  def __call__(self, *arguments: Any) -> Weights:
    self._pipe.send(arguments)
    return self._pipe.recv()


def _serve(name: str, path: pathlib.Path, pipe: Any) -> None:
  trainer = Trainer(works.Job.load(name, path))
  while True:
    try:
      arguments = pipe.recv()
    except EOFError:
      return
    pipe.send(trainer(*arguments))


class PlainLoop:
  """Federated averaging over workers that train at the same time."""

  def __init__(self, job: works.Job, trainers: list):
    self._job = job
    self._trainers = trainers
    self._starts = np.concatenate([[0], np.cumsum(job.clients.sizes)])
    self._weights = list(job.build_model().initial_weights[0])
    self._pool = concurrent.futures.ThreadPoolExecutor(len(trainers))

  def prepare(self, round_num: int) -> None:
    """Nothing: the examples are in memory, and their order is part of a round."""

  def round(self, round_num: int) -> None:
    """One round."""
    shares = self._shares(self._job.cohort(round_num))
    orders = [[self._starts[k] + self._job.order(round_num, k) for k in share] for share in shares]
    results = list(self._pool.map(self._train, self._trainers, orders))
    count = sum(len(order) for share in orders for order in share)
    self._weights = [sum(parts) / np.float32(count) for parts in zip(*results)]

  def weights(self) -> Weights:
    """The global model."""
    return self._weights

  def facts(self) -> dict[str, Any]:
    """Nothing more to say."""
    return {}

  def _train(self, trainer: Any, orders: list[np.ndarray]) -> Weights:
    offsets = np.concatenate([[0], np.cumsum([len(order) for order in orders])])
    order = np.concatenate(orders)
    return trainer(self._weights, order.astype(np.int32), offsets.astype(np.int32))

  def _shares(self, cohort: np.ndarray) -> list[list[int]]:
    """The cohort's clients by worker, the largest first, each to whoever has least to do."""
    shares: list[list[int]] = [[] for _ in self._trainers]
    loads = [0] * len(shares)
    sizes = self._job.clients.sizes
    for client in sorted(map(int, cohort), key=lambda k: -sizes[k]):
      lightest = loads.index(min(loads))
      shares[lightest].append(client)
      loads[lightest] += sizes[client]
    return shares
