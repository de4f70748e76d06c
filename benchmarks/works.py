"""What is timed: data made by NumPy from a fixed seed, a model, and a federated round on both.

Every competitor trains on the same cohorts, with the same batches in the same order, from the same
initial weights. The inputs have small norms and the labels can be learnt, so that training is
not chaotic: with inputs of norm 28, the last bit of a sum grows to a hundredth in five rounds, and
no two programs could be compared by their loss.

Importing this module does not import TensorFlow.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib
from typing import Any, Optional

import numpy as np

from fl_research import client_data, random_streams
from fl_research.datasets.federated_data import Clients, ContiguousClients, Problem
from fl_research.models.specification import ModelSpec

SEED = 1
"""The seed of data, initial weights, cohorts and batches."""

_NORM_OF_SQUARES = 3.0

EVALUATED = 1000
"""How many examples the final loss is measured on."""

Arrays = dict[str, np.ndarray]
"""`x` and `y`, rows ordered by client, and `offsets` (see `ContiguousClients`)."""


def vectors(sizes: np.ndarray, dimension: int, classes: int) -> Arrays:
  """Normal x of expected norm 1, y the largest of `classes` random linear functions."""
  generator = random_streams.generator(SEED, 'vectors')
  count = int(sizes.sum())
  x = generator.standard_normal((count, dimension), np.float32) * np.float32(dimension**-0.5)
  truth = generator.standard_normal((dimension, classes), np.float32)
  y = np.argmax(x @ truth, axis=1).astype(np.int32)
  return {'x': x, 'y': y, 'offsets': _offsets(sizes)}


def images(sizes: np.ndarray, side: int, classes: int) -> Arrays:
  """Images [side, side, 1]: one of 4 x 4 random squares for each class, under as much noise.

  A CNN learns them in a few rounds of small steps, which the losses of all programs show alike.
  """
  generator = random_streams.generator(SEED, 'images')
  count = int(sizes.sum())
  squares = np.kron(generator.standard_normal((classes, 4, 4)), np.ones((side // 4, side // 4)))
  y = generator.integers(0, classes, count, np.int32)
  x = squares[y] + generator.standard_normal((count, side, side), np.float32)
  x *= _NORM_OF_SQUARES / side
  return {'x': x.astype(np.float32)[..., np.newaxis], 'y': y, 'offsets': _offsets(sizes)}


def text(sizes: np.ndarray, length: int, vocabulary: int) -> Arrays:
  """Lines of tokens 1 … vocabulary - 1, each with one of four likely successors; y is the next."""
  generator = random_streams.generator(SEED, 'text')
  successors = generator.integers(1, vocabulary, (vocabulary, 4), np.int32)
  count = int(sizes.sum())
  choices = generator.integers(0, 4, (count, length))
  lines = np.empty((count, length + 1), np.int32)
  lines[:, 0] = generator.integers(1, vocabulary, count)
  for position in range(length):
    lines[:, position + 1] = successors[lines[:, position], choices[:, position]]
  x, y = np.ascontiguousarray(lines[:, :-1]), np.ascontiguousarray(lines[:, 1:])
  return {'x': x, 'y': y, 'offsets': _offsets(sizes)}


def power_law_sizes(count: int) -> np.ndarray:
  """Sizes of a power law, 10 + s (u^-k - 1), of smallest 10, median 50 and largest 2,000."""
  k, s = 0.4153, 119.9
  u = (np.arange(count) + 0.5) / count
  sizes = np.clip(10 + s * (u**-k - 1), 10, 2000).astype(np.int64)
  return random_streams.generator(SEED, 'sizes').permutation(sizes)


def _equal_sizes(clients: int, examples: int) -> np.ndarray:
  return np.full(clients, examples, np.int64)


def _offsets(sizes: np.ndarray) -> np.ndarray:
  return np.concatenate([[0], np.cumsum(sizes)])


@dataclasses.dataclass(frozen=True)
class Work:
  """One row of the table: FedAvg (or another method) of one epoch per round.

  Attributes:
    summary: the work in a line.
    make: makes the data.
    model: name of the model.
    clients_per_round: size of the cohorts, drawn uniformly.
    batch_size: B.
    learning_rate: of the clients' plain SGD; the server adds the mean update.
    problem, num_classes: what is predicted.
    algorithm, aggregator: names in the registries.
    against: what it is compared with, by names of `competitors.COMPETITORS`.
  """

  summary: str
  make: Callable[[], Arrays]
  model: str
  clients_per_round: int
  batch_size: int
  learning_rate: float
  problem: Problem = Problem.CLASSIFICATION
  num_classes: int = 10
  algorithm: str = 'fedavg'
  aggregator: str = 'mean'
  against: tuple[str, ...] = (
    'native',
    'tff_learning',
    'tff_tutorial',
    'tff_fused',
    'plain_loop',
  )


_TWO_NN = Work(
  '2NN, 100 clients of 600 examples, 10 per round, B = 10',
  lambda: vectors(_equal_sizes(100, 600), 784, 10),
  '2nn',
  clients_per_round=10,
  batch_size=10,
  learning_rate=0.1,
)

WORKS: Mapping[str, Work] = {
  'W1': _TWO_NN,
  'W2': Work(
    "McMahan et al.'s CNN, 100 clients of 600 examples, 10 per round, B = 20",
    lambda: images(_equal_sizes(100, 600), 28, 10),
    'cnn',
    clients_per_round=10,
    batch_size=20,
    learning_rate=0.003,
  ),
  'W3': Work(
    'softmax regression 60 -> 10, 1,000 clients of 10 to 2,000 examples, 100 per round, B = 10',
    lambda: vectors(power_law_sizes(1000), 60, 10),
    'softmax',
    clients_per_round=100,
    batch_size=10,
    learning_rate=0.1,
  ),
  'W4': Work(
    "Reddi et al.'s EMNIST CNN, 100 clients of 200 examples, 10 per round, B = 20",
    lambda: images(_equal_sizes(100, 200), 28, 62),
    'emnist_cnn',
    clients_per_round=10,
    batch_size=20,
    learning_rate=0.03,
    num_classes=62,
  ),
  'W5': Work(
    'character LSTM 2 x 256, 100 clients of 40 lines of 80, 10 per round, B = 4',
    lambda: text(_equal_sizes(100, 40), 80, 90),
    'char_lstm',
    clients_per_round=10,
    batch_size=4,
    learning_rate=0.1,
    problem=Problem.NEXT_TOKEN,
    num_classes=90,
  ),
  'W6-scaffold': dataclasses.replace(
    _TWO_NN,
    summary='W1 with SCAFFOLD: clients keep a state',
    algorithm='scaffold',
    against=('native',),
  ),
  'W6-median': dataclasses.replace(
    _TWO_NN,
    summary='W1 with the median: all updates meet at the server',
    aggregator='median',
    against=('native',),
  ),
  'tiny': Work(
    'softmax regression 8 -> 3 on a few examples, to try the benchmark itself',
    lambda: vectors(np.array([9, 5, 14, 23, 7, 12]), 8, 3),
    'softmax',
    clients_per_round=4,
    batch_size=4,
    learning_rate=0.1,
    num_classes=3,
  ),
}
"""Every work by name; `tiny` is for tests and is not part of `all`."""


def save(work: Work, path: pathlib.Path) -> None:
  """Makes a work's data and writes it to a file that `Job.load` reads."""
  with open(path, 'wb') as file:
    np.savez(file, **work.make())


@dataclasses.dataclass(frozen=True)
class Job:
  """A work with its data in memory.

  Attributes:
    name: the work's name.
    clients: the population.
    path: the file that the data came from; None if from no file.
  """

  name: str
  clients: Clients
  path: Optional[pathlib.Path] = None

  @classmethod
  def load(cls, name: str, path: pathlib.Path) -> 'Job':
    """The work of that name with the data of a file that `save` wrote."""
    with np.load(path) as arrays:
      pool = {'x': arrays['x'], 'y': arrays['y']}
      return cls(name, ContiguousClients(pool, arrays['offsets']), path)

  @property
  def work(self) -> Work:
    """The work."""
    return WORKS[self.name]

  @property
  def spec(self) -> ModelSpec:
    """What the model must accept."""
    examples = self.clients.examples(0)
    return ModelSpec(
      input_shape=examples['x'].shape[1:],
      x_dtype=examples['x'].dtype,
      label_shape=examples['y'].shape[1:],
      label_dtype=examples['y'].dtype,
      problem=self.work.problem,
      num_classes=self.work.num_classes,
    )

  def build_model(self):
    """The model, an `fl_research.models.model.Model`, at the weights where everybody starts."""
    from fl_research import models

    return models.build(self.work.model, self.spec, SEED)

  def cohort(self, round_num: int) -> np.ndarray:
    """Positions of a round's clients, ascending."""
    generator = random_streams.generator(SEED, 'cohort', round_num)
    drawn = generator.choice(len(self.clients), self.work.clients_per_round, replace=False)
    return np.sort(drawn)

  def cohort_data(
    self, round_num: int, cohort: Sequence[int] | np.ndarray
  ) -> list[client_data.ClientData]:
    """The D of each client of a round."""
    return client_data.cohort_data(
      [self.clients.examples(int(client)) for client in cohort],
      batch_size=self.work.batch_size,
      epochs=[1] * len(cohort),
      seed=SEED,
      round_num=round_num,
      clients=cohort,
    )

  def order(self, round_num: int, client: int) -> np.ndarray:
    """The order in which a client's examples are read in a round, the same as in its D."""
    [data] = self.cohort_data(round_num, [client])
    batches = np.asarray(data['batches'])
    return batches[batches >= 0]

  def evaluation_examples(self) -> Arrays:
    """What the final loss is measured on."""
    return {key: array[:EVALUATED] for key, array in self.clients.pooled().items()}

  def loss(self, model: Any, weights: Any) -> float:
    """The mean loss of weights on the evaluation examples."""
    examples = self.evaluation_examples()
    output = model.predict_on_batch((tuple(weights), ()), examples['x'], False)
    return float(model.loss(output, examples['y']))
