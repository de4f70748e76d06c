"""The interface of a compressor: how a client's update is encoded, and what its training may do."""

import abc
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff

Update = tuple[tf.Tensor, ...]


class Compressed(NamedTuple):
  """One update after its way over the wire.

  Attributes:
    update: what the server decodes, shaped like the update.
    num_bytes: float32, bytes the client had to send: payload, indices, scales, seeds.
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

  def initial_client_state(self, weights: Update) -> Any:
    """The state of a client that has never sent anything: tensors, by default none."""
    del weights
    return ()

  def restrict_optimizer(
    self, optimizer: tff.learning.optimizers.Optimizer, seed: tf.Tensor
  ) -> tff.learning.optimizers.Optimizer:
    """For structured updates: an optimiser whose steps stay in the space that can be sent.

    Args:
      optimizer: the client's optimiser.
      seed: int32 [2], the round's and client's own; the one that `transmit` gets.
    """
    del seed
    return optimizer

  @abc.abstractmethod
  def transmit(self, update: Update, seed: tf.Tensor, client_state: Any) -> Compressed:
    """Encodes, counts and decodes one update.

    Args:
      update: float32 tensors.
      seed: int32 [2], source of all randomness; client and server both know it.
      client_state: the client's state.
    """
