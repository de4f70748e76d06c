"""The interface of a stage: one step of a chain from a tensor to bytes.

A stage turns a tensor into a message and values that the stages after it encode; what is left
after the last stage is sent as it is, 4 bytes per number. A new compressor is a subclass in a file
of its own, and a line in `fl_research.aggregation.compression`.
"""

import abc
from collections.abc import Callable, Sequence
import math
from typing import NamedTuple, Optional

import tensorflow as tf

from fl_research.aggregation.compression import wire

Shape = tuple[int, ...]
NOTHING: Shape = (0,)
"""The shape of what is left when everything is in the message."""


class Encoded(NamedTuple):
  """What a stage makes of a tensor.

  Attributes:
    message: uint8 vectors, what the stage itself sends.
    values: float32 of `Stage.shape_after`, what the next stage encodes.
  """

  message: tuple[wire.Bytes, ...]
  values: tf.Tensor


class Stage(abc.ABC):
  """One way to encode a tensor, as TensorFlow code without state.

  Attributes:
    unbiased: whether E[decoded] is the tensor, over the seed.
    needs_seed: whether `decode` must know the seed, so that it has to be sent.
  """

  unbiased = False
  needs_seed = False

  def check_shapes(self, shapes: Sequence[Shape]) -> None:
    """Raises `UsageError` when the hyperparameters do not fit a model with such weights."""
    del shapes

  def projection(self, shape: Shape, seed: tf.Tensor) -> Optional[Callable[[tf.Tensor], tf.Tensor]]:
    """For structured updates: the linear map onto what can be sent of a tensor of that shape.

    `decode` of `encode` of what it gives is exact, up to rounding. None for stages that leave
    training alone.
    """
    del shape, seed
    return None

  @abc.abstractmethod
  def shape_after(self, shape: Shape) -> Shape:
    """Shape of the values that are left for the next stage."""

  @abc.abstractmethod
  def encode(self, tensor: tf.Tensor, seed: tf.Tensor) -> Encoded:
    """Encodes a tensor.

    Args:
      tensor: float32, its shape fully known.
      seed: int32 [2], this stage's and tensor's own.
    """

  @abc.abstractmethod
  def decode(
    self, values: tf.Tensor, reader: wire.Reader, shape: Shape, seed: tf.Tensor
  ) -> tf.Tensor:
    """Decodes a tensor.

    Args:
      values: float32 of `shape_after(shape)`, what the next stage has decoded.
      reader: stands where this stage's message begins, and must be left where it ends.
      shape: the tensor's shape.
      seed: the seed `encode` had; zeros when no stage of the chain needs one.
    """


def size(shape: Shape) -> int:
  """The number of numbers in a tensor of that shape."""
  return math.prod(shape)


def share(fraction: float, count: int) -> int:
  """How many of `count` a share of them is: rounded up, so at least one of any."""
  # 1e-9 keeps a product such as 0.1 * 30, which is 3.0000000000000004, from becoming 4.
  return min(count, math.ceil(fraction * count - 1e-9))


def no_values() -> tf.Tensor:
  """The values left by a stage whose message holds everything."""
  return tf.zeros(NOTHING)
