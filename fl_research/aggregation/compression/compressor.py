"""The interface of a compressor: an encoder whose messages are fewer bytes."""

import abc
from typing import Any

import tensorflow as tf

from fl_research.aggregation.combiner import Encoder, Update


class Compressor(Encoder, abc.ABC):
  """Encodes updates to bytes, uint8 [?], and decodes them again.

  What a decoder needs of the seed is in the message.

  Attributes:
    unbiased: whether E[decoded] = update.
  """

  lossy = True
  unbiased = False

  @abc.abstractmethod
  def encode(self, update, seed, client_state):
    """As for `Encoder`, in bytes."""

  @abc.abstractmethod
  def decode(self, message, shapes):
    """As for `Encoder`, from bytes."""

  def round_trip(
    self, update: Update, seed: tf.Tensor, client_state: Any = ()
  ) -> tuple[Update, Any]:
    """What the server decodes of an update, and the client's next state; arguments of `encode`."""
    encoded = self.encode(update, seed, client_state)
    shapes = [tuple(tensor.shape) for tensor in update]
    return self.decode(encoded.message, shapes), encoded.client_state
