"""A client as a method sees it: its data, its state, and what it can do with a model."""

import collections
from collections.abc import Sequence
import copy
import itertools
from typing import Any, Optional

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.models import model as model_lib
from fl_research.optimizers import restricted_optimizer
from fl_research.round import local_training, minibatches
from fl_research.round import objective as objective_lib
from fl_research.round.structures import Weights

_CALLS_OF_AN_EXCHANGE = 1 << 16


class Client:
  """One client in one exchange.

  What draws in training (dropout) draws anew in every call of `train` and `gradient`.

  Attributes:
    model: the model; gives loss and metrics.
    data: the client's D (see `fl_research.client_data`).
    state: the client's state, structured like `Method.initial_client_state`.
    loss: the objective of plain training, which methods add terms to.
  """

  def __init__(
    self,
    model: model_lib.Model,
    optimizer: tff.learning.optimizers.Optimizer,
    data: Any,
    state: Any = (),
    learning_rate_factor: Optional[tf.Tensor] = None,
    exchange: int = 0,
  ):
    self.model = model
    self.data = data
    self.state = state
    self.loss = objective_lib.Loss(model)
    self._optimizer = optimizer
    self._factor = tf.constant(1.0) if learning_rate_factor is None else learning_rate_factor
    self._calls = itertools.count(exchange * _CALLS_OF_AN_EXCHANGE)

  def _data_of_a_call(self, other: Any = None) -> Any:
    """D, or another one, with a seed that no other call has; a round's first has the client's."""
    call = next(self._calls)
    data = self.data if other is None else collections.OrderedDict(other, seed=self.data['seed'])
    if not (call and self.model.needs_seed):
      return data
    # Folded twice, as a step's seed is folded once.
    fold_in = tf.random.experimental.stateless_fold_in
    return collections.OrderedDict(data, seed=fold_in(fold_in(self.data['seed'], call), call))

  def over(self, data: Any) -> 'Client':
    """The same client with other batches, such as a `minibatches.section` of its own."""
    other = copy.copy(self)
    other.data = data
    return other

  def train(
    self,
    weights: Weights,
    *,
    objective: Optional[objective_lib.Objective] = None,
    trainable: Optional[Sequence[bool]] = None,
    data: Any = None,
    passes: int = 0,
    sent: bool = True,
  ) -> local_training.Trained:
    """Runs the client optimiser over the batches (see `local_training.train_locally`).

    Args:
      weights: where training starts.
      objective: what is descended; the loss when None.
      trainable: which weights move; all when None.
      data: another D to train on than its own.
      passes: so many passes over the examples; 0 for the round's own batches.
      sent: False for a model that stays with the client, which a compressor need not restrict.
    """
    optimizer = self._optimizer if sent else restricted_optimizer.unrestricted(self._optimizer)
    return local_training.train_locally(
      self.model,
      optimizer,
      tuple(weights),
      self._data_of_a_call(data),
      learning_rate_factor=self._factor,
      objective=objective,
      trainable=trainable,
      passes=passes,
    )

  def gradient(
    self, weights: Weights, one_pass: bool = False
  ) -> tuple[Weights, local_training.Trained]:
    """The gradient of the mean loss over the round's batches, at weights that stay as they are.

    Args:
      weights: where the gradient is taken.
      one_pass: over the first pass of the batches only, each example once.
    """
    weights = tuple(weights)
    data = self._data_of_a_call()
    data = minibatches.first_pass(data) if one_pass else data
    gradient, sums = local_training.mean_gradient(self.model, weights, data)
    return gradient, local_training.Trained(weights, tf.constant(1), sums)

  def mean_loss(self, weights: Weights) -> tf.Tensor:
    """The mean loss over the first pass of the batches, with nothing dropped: float32 []."""
    first = minibatches.first_pass(self.data)
    return local_training.mean_loss(self.model, tuple(weights), first)

  def optimizer_settings(self, weights: Weights) -> Any:
    """What the optimiser uses in this round, by TFF's names: `learning_rate`, `momentum`, …."""
    specs = tuple(tf.TensorSpec(w.shape, w.dtype) for w in weights)
    state = self._optimizer.initialize(specs)
    return self._optimizer.get_hparams(
      local_training.scale_learning_rate(self._optimizer, state, self._factor)
    )

  def trainable_part(self, tensors: Sequence[tf.Tensor]) -> Weights:
    """Of one tensor for each weight what lies in the space that training moves in."""
    return restricted_optimizer.project(self._optimizer, tuple(tensors))
