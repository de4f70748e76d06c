"""The interface of a compressor: how a client's update is encoded, and what its training may do."""

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import tensorflow as tf
import tensorflow_federated as tff

Update = tuple[tf.Tensor, ...]


class Compressed(NamedTuple):
  """One update after its way over the wire.

  Attributes:
    update: what the server decodes, shaped like the update.
    num_bytes: float64, bytes the client had to send: payload, indices, scales, seeds.
    client_state: the client's next compressor state; an empty tuple for those that keep none.
  """

  update: Update
  num_bytes: tf.Tensor
  client_state: Any


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
      seed: int32 [2], the round's and client's own; the one that `transmit` gets.
      shapes: the shape of every weight the optimiser sees; None for those that are not shared.
    """
    del seed, shapes
    return optimizer

  @abc.abstractmethod
  def transmit(self, update: Update, seed: tf.Tensor, client_state: Any) -> Compressed:
    """Encodes, counts and decodes one update.

    Args:
      update: float32 tensors of known shapes, those of the weights that are shared.
      seed: int32 [2], source of all randomness; client and server both know it.
      client_state: the client's state.
    """
