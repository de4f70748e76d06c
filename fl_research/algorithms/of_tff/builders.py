"""The builders of `tff.learning.algorithms`, given the parts of a run.

Each has the run's model and optimisers (`--client_optimizer`, `--server_optimizer`, their rates),
what clients count (`--client_weighting`) and, where it takes weighted ones, the factory of
`--aggregator`. With the same flags the forms of this library give the same weights, but for what is
TFF's own:

1. Its FedProx adds μ (w_t - w) to every gradient, not μ (w - w_t), so that in TFF 0.87 the term
   drives clients away from the global model: it is `fedprox` with -μ.
2. Its MimeLite has `--client_optimizer` for a base, as that optimiser steps: momentum of rate η is
   `mimelite` of rate η / (1 - β_1).
3. Clients weigh by the examples of all passes, where ours count each once: the same shares, unless
   clients differ in passes, as stragglers do.
4. A client whose update is not finite has weight zero, of which TFF tells nobody: `rejected` is 0,
   and such rounds do not end a run.
5. Training metrics are sums over the cohort, so that clients.csv has no rows of `train`.

`bytes_down` and `bytes_up` count the model, once each way. MimeLite's clients are sent what the
optimiser keeps besides, and send their gradient.
"""

from typing import Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation import summed
from fl_research.round import local_training
from fl_research.round.from_learning_process import OfLearningProcess
from fl_research.round.parts import Parts

_WEIGHTINGS = {
  'num_examples': tff.learning.ClientWeighting.NUM_EXAMPLES,
  'uniform': tff.learning.ClientWeighting.UNIFORM,
}


def weighted_fed_avg() -> OfLearningProcess:
  """FedAvg."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_weighted_fed_avg(
      parts.model,
      parts.client_optimizer,
      parts.server_optimizer,
      client_weighting=_WEIGHTINGS[parts.client_weighting],
      model_aggregator=_factory(parts),
    )
  )


def unweighted_fed_avg() -> OfLearningProcess:
  """FedAvg, every client counting once."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_unweighted_fed_avg(
      parts.model, parts.client_optimizer, parts.server_optimizer
    )
  )


def weighted_fed_avg_with_optimizer_schedule() -> OfLearningProcess:
  """FedAvg whose clients' rate is the schedule's."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_weighted_fed_avg_with_optimizer_schedule(
      parts.model,
      parts.client_schedule,
      lambda factor: _Scaled(parts.client_optimizer, factor),
      parts.server_optimizer,
      model_aggregator=_factory(parts),
    )
  )


def weighted_fed_prox(*, proximal_strength: float) -> OfLearningProcess:
  """FedProx."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_weighted_fed_prox(
      parts.model,
      proximal_strength,
      parts.client_optimizer,
      parts.server_optimizer,
      client_weighting=_WEIGHTINGS[parts.client_weighting],
      model_aggregator=_factory(parts),
    )
  )


def unweighted_fed_prox(*, proximal_strength: float) -> OfLearningProcess:
  """FedProx, every client counting once."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_unweighted_fed_prox(
      parts.model, proximal_strength, parts.client_optimizer, parts.server_optimizer
    )
  )


def fed_sgd() -> OfLearningProcess:
  """FedSGD: the clients' optimiser plays no part."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_fed_sgd(
      parts.model, parts.server_optimizer, model_aggregator=_factory(parts)
    )
  )


def weighted_mime_lite() -> OfLearningProcess:
  """MimeLite, whose base optimiser is the clients'."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_weighted_mime_lite(
      parts.model,
      parts.client_optimizer,
      parts.server_optimizer,
      client_weighting=_WEIGHTINGS[parts.client_weighting],
      model_aggregator=_factory(parts),
    ),
    _bytes_of_mime_lite,
  )


def unweighted_mime_lite() -> OfLearningProcess:
  """MimeLite, every client counting once."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_unweighted_mime_lite(
      parts.model, parts.client_optimizer, parts.server_optimizer
    ),
    _bytes_of_mime_lite,
  )


def mime_lite_with_optimizer_schedule() -> OfLearningProcess:
  """MimeLite whose base optimiser has the schedule's rate."""
  return OfLearningProcess(
    lambda parts: tff.learning.algorithms.build_mime_lite_with_optimizer_schedule(
      parts.model,
      lambda round_num: _rate(parts) * parts.client_schedule(round_num),
      parts.client_optimizer,
      parts.server_optimizer,
      client_weighting=_WEIGHTINGS[parts.client_weighting],
      model_aggregator=_factory(parts),
    ),
    _bytes_of_mime_lite,
  )


fed_avg, fed_prox, mime_lite = weighted_fed_avg, weighted_fed_prox, weighted_mime_lite


class _Scaled(tff.learning.optimizers.Optimizer):
  """An optimiser whose rate is multiplied by a factor."""

  def __init__(self, optimizer: tff.learning.optimizers.Optimizer, factor: tf.Tensor):
    self._optimizer, self._factor = optimizer, factor

  def initialize(self, specs):
    state = self._optimizer.initialize(specs)
    return local_training.scale_learning_rate(self._optimizer, state, self._factor)

  def next(self, state, weights, gradients):
    return self._optimizer.next(state, weights, gradients)


def _factory(parts: Parts) -> Optional[tff.aggregators.WeightedAggregationFactory]:
  """That of the run's aggregator, a sum, as `requires` has seen to; TFF's own where it has none."""
  if parts.aggregator is None:
    return None
  combiner = summed.combiner_of(parts.aggregator)
  assert isinstance(combiner, summed.Summed)
  factory = combiner.factory
  assert isinstance(factory, tff.aggregators.WeightedAggregationFactory)
  return factory


def _specs(parts: Parts) -> tuple[tf.TensorSpec, ...]:
  return tuple(tf.TensorSpec(w.shape, w.dtype) for w in parts.model.initial_weights[0])


def _rate(parts: Parts) -> float:
  """The clients' learning rate."""
  state = parts.client_optimizer.initialize(_specs(parts))
  return parts.client_optimizer.get_hparams(state)[tff.learning.optimizers.LEARNING_RATE_KEY]


def _bytes_of_mime_lite(parts: Parts) -> tuple[int, int]:
  """What a client is sent (the model, the optimiser's statistics) and sends (two updates)."""
  size = sum(weight.nbytes for weight in parts.model.initial_weights[0])
  with tf.Graph().as_default():
    state = parts.client_optimizer.initialize(_specs(parts))
    leaves = [tf.convert_to_tensor(leaf) for leaf in tf.nest.flatten(state)]
  return size + sum(leaf.dtype.size * int(np.prod(leaf.shape)) for leaf in leaves), 2 * size
