"""A client's data on its way into a TFF computation: tensors, and the order in which to read them.

TFF's own processes take a `tf.data.Dataset` per client, which costs more to iterate than a small
model costs to train. Here a client is a structure of tensors

    D = <examples=<x=T[?,...], y=U[?,...]>, batches=int32[?,B], num_examples=int32,
         client=int32, seed=int32[2]>

in which every row of `batches` lists the rows of `examples` that form one minibatch, -1 standing
for "no example". Shuffling, epochs, smaller last batches and B = infinity are all in `batches`, so
nothing is copied per epoch. Rows of -1 alone, and examples that no batch names, are padding: they
come last and change nothing.
"""

import collections
from collections.abc import Mapping
from typing import Optional

import numpy as np

from fl_research import random_streams
from fl_research.datasets import federated_data

ClientData = Mapping[str, object]
"""One client's D, as nested OrderedDicts of NumPy arrays."""

FULL_BATCH = 0
"""The batch size that stands for B = infinity: all of a client's examples in one batch."""


def batch_order(
  num_examples: int, batch_size: int, epochs: float, generator: np.random.Generator
) -> np.ndarray:
  """Which examples each minibatch reads: `epochs` passes, freshly shuffled each.

  As in McMahan et al. 2017, algorithm 1, every epoch splits the client's examples into batches of
  B, the last one smaller. A fractional last epoch reads the first part of its pass, rounded to
  whole batches and to at least one.

  Args:
    num_examples: n, at least 0.
    batch_size: B, at least 1, or `FULL_BATCH`.
    epochs: E > 0.
    generator: source of the shuffles.

  Returns:
    int32 [steps, B], padded with -1; for `FULL_BATCH` B is n (at least 1).
  """
  batch_size = batch_size or max(num_examples, 1)
  steps_per_epoch = -(-num_examples // batch_size)
  passes = int(np.ceil(epochs))
  order = np.full((passes, steps_per_epoch * batch_size), -1, np.int32)
  for row in order:
    row[:num_examples] = generator.permutation(num_examples)
  batches = order.reshape(passes * steps_per_epoch, batch_size)
  steps = max(1, round(epochs * steps_per_epoch))
  return batches[:steps]


def client_data(
  examples: federated_data.Examples,
  *,
  batch_size: int,
  epochs: float,
  seed: int,
  round_num: int,
  client: int,
  max_examples: Optional[int] = None,
) -> ClientData:
  """One client's D for one round.

  Args:
    examples: the client's examples.
    batch_size: B, or `FULL_BATCH`.
    epochs: E, possibly fractional (a straggler's part of the work).
    seed: the run's seed.
    round_num: the round, which with `client` fixes the shuffles and `D.seed`.
    client: the client's position in the population.
    max_examples: if given, at most so many examples are used, drawn at random each round.
  """
  rng = random_streams.generator(seed, 'batches', round_num, client)
  num_examples = len(examples['y'])
  if max_examples is not None and num_examples > max_examples:
    kept = np.sort(rng.choice(num_examples, max_examples, replace=False))
    examples = {key: array[kept] for key, array in examples.items()}
    num_examples = max_examples
  return collections.OrderedDict(
    examples=collections.OrderedDict(x=examples['x'], y=examples['y']),
    batches=batch_order(num_examples, batch_size, epochs, rng),
    num_examples=np.int32(num_examples),
    client=np.int32(client),
    seed=random_streams.stateless_seed(seed, 'client', round_num, client),
  )
