"""The interface of a compressor: how a client's update is encoded, and what its training may do.

`Compressed` puts one in front of any way of combining updates.
"""

import abc
from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.aggregation.combiner import Combiner, Encoded, Update


class Compressor(abc.ABC):
  """Encodes updates to bytes and decodes them again, as TensorFlow code.

  Attributes:
    unbiased: whether E[decoded] = update.
    keeps_client_state: whether clients carry a state (error feedback) from round to round.
  """

  unbiased = False
  keeps_client_state = False

  def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
    """Raises `UsageError` when the settings do not fit a model that shares such weights."""
    del shapes

  def initial_client_state(self, weights: Update) -> Any:
    """The state of a client that has never sent anything: tensors, by default none.

    `weights` are those that are shared.
    """
    del weights
    return ()

  def restrict_optimizer(
    self,
    optimizer: tff.learning.optimizers.Optimizer,
    seed: tf.Tensor,
    shapes: Sequence[Optional[tuple[int, ...]]],
  ) -> tff.learning.optimizers.Optimizer:
    """For structured updates: an optimiser whose steps stay in the space that can be sent.

    Args:
      optimizer: the client's optimiser.
      seed: int32 [2], the round's and client's own; the one that `encode` gets.
      shapes: the shape of every weight the optimiser sees; None for those that are not shared.
    """
    del seed, shapes
    return optimizer

  @abc.abstractmethod
  def encode(self, update: Update, seed: tf.Tensor, client_state: Any) -> Encoded:
    """A client's message, uint8 [?], and its next state.

    Args:
      update: float32 tensors of known shapes, those of the weights that are shared.
      seed: int32 [2], of the round and client; what a decoder needs of it is in the message.
      client_state: the client's state.
    """

  @abc.abstractmethod
  def decode(self, message: tf.Tensor, shapes: Sequence[tuple[int, ...]]) -> Update:
    """The update that a message stands for, from the message and the shapes alone."""

  def round_trip(
    self, update: Update, seed: tf.Tensor, client_state: Any = ()
  ) -> tuple[Update, Any]:
    """What the server decodes of an update, and the client's next state; arguments of `encode`."""
    encoded = self.encode(update, seed, client_state)
    shapes = [tuple(tensor.shape) for tensor in update]
    return self.decode(encoded.message, shapes), encoded.client_state


class Compressed(Combiner):
  """A compressor in front of a combiner.

  Args:
    rule: what combines the decoded updates.
    compressor: what encodes them on the clients.
  """

  lossy = True

  def __init__(self, rule: Combiner, compressor: Compressor):
    self.kind = rule.kind
    self.needs_reference = rule.needs_reference
    self.expected_participants = rule.expected_participants
    self._rule = rule
    self._compressor = compressor

  def check_cohort(self, cohort_size):
    self._rule.check_cohort(cohort_size)

  def check_shapes(self, shapes):
    self._compressor.check_shapes(shapes)

  def initial_client_state(self, update):
    return self._compressor.initial_client_state(update)

  def restrict_optimizer(self, optimizer, seed, shapes):
    return self._compressor.restrict_optimizer(optimizer, seed, shapes)

  def encode(self, update, seed, client_state):
    return self._compressor.encode(update, seed, client_state)

  def decode(self, message, shapes):
    return self._compressor.decode(message, shapes)

  def create(self, update_type):
    return self._rule.create(update_type)

  def create_seen(self, update_type, seen):
    return self._rule.create_seen(update_type, seen)
