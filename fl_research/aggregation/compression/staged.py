"""A chain of stages as a compressor of whole updates.

The message of one update is

    [seed, 8 bytes, where a decoder needs one]  tensor 1  tensor 2  …

and that of one tensor: the values left after the last stage, 4 bytes each, then the message of the
last stage, of the one before it, … of the first, which is the order in which a decoder needs them.

With error feedback a client remembers what its last message lost and adds it to its next update
(Seide et al. 2014, "1-bit stochastic gradient descent and its application to data-parallel
distributed training of speech DNNs", section 3; Stich, Cordonnier, Jaggi 2018, "Sparsified SGD with
Memory", algorithm 1): with u the update, m the memory and C the chain,

    send C(m + u),    m' = m + u - C(m + u).

So the sum of what was sent, plus the memory, is always the sum of the updates.
"""

from collections.abc import Sequence
import zlib

import tensorflow as tf

from fl_research.aggregation import combiner
from fl_research.aggregation.compression import compressor, wire
from fl_research.aggregation.compression.stage import Shape, size, Stage
from fl_research.optimizers import restricted_optimizer

# Keeps these draws apart from others that are made from the same seed, such as dropout's.
_PURPOSE = zlib.crc32(b'compressor') >> 1


class StagedCompressor(compressor.Compressor):
  """Encodes every tensor of an update by the same stages (see the module's docstring).

  Args:
    stages: in the order in which a client applies them, at least one.
    error_feedback: whether clients remember what was lost.
  """

  def __init__(self, stages: Sequence[Stage], error_feedback: bool = False):
    self._stages = tuple(stages)
    self._needs_seed = any(stage.needs_seed for stage in stages)
    self.keeps_client_state = error_feedback
    self.unbiased = not error_feedback and all(stage.unbiased for stage in stages)

  def check_shapes(self, shapes):
    for stage in self._stages:
      stage.check_shapes(shapes)
      shapes = [stage.shape_after(shape) for shape in shapes]

  def initial_client_state(self, weights):
    """The memory of error feedback: zeros, shaped like the weights."""
    return [tf.zeros_like(w) for w in weights] if self.keeps_client_state else ()

  def restrict_optimizer(self, optimizer, seed, shapes):
    seed = _own_seed(seed)
    projections: list[restricted_optimizer.Projection] = []
    position = 0
    for shape in shapes:
      if shape is None:
        projections.append(None)
        continue
      projections.append(self._stages[0].projection(shape, _stage_seed(seed, position, 0)))
      position += 1
    return restricted_optimizer.restrict(optimizer, projections)

  def encode(self, update, seed, client_state):
    if not self.keeps_client_state:
      return combiner.Encoded(self._message(update, seed), ())
    update = tuple(u + m for u, m in zip(update, client_state, strict=True))
    message = self._message(update, seed)
    arrives = self.decode(message, [tuple(tensor.shape) for tensor in update])
    return combiner.Encoded(message, [u - a for u, a in zip(update, arrives, strict=True)])

  def _message(self, update: combiner.Update, seed: tf.Tensor) -> wire.Bytes:
    seed = _own_seed(seed)
    messages = [wire.to_bytes(seed)] if self._needs_seed else []
    for position, tensor in enumerate(update):
      messages.extend(self._encode_tensor(tensor, position, seed))
    return wire.join(messages)

  def decode(self, message, shapes):
    reader = wire.Reader(message)
    seed = reader.int32(2) if self._needs_seed else tf.zeros([2], tf.int32)
    return tuple(
      self._decode_tensor(reader, shape, position, seed) for position, shape in enumerate(shapes)
    )

  def _encode_tensor(self, tensor: tf.Tensor, position: int, seed: tf.Tensor) -> list[wire.Bytes]:
    messages: list[wire.Bytes] = []
    for i, stage in enumerate(self._stages):
      encoded = stage.encode(tensor, _stage_seed(seed, position, i))
      messages = [*encoded.message, *messages]
      tensor = encoded.values
    return [wire.to_bytes(tensor), *messages] if size(tuple(tensor.shape)) else messages

  def _decode_tensor(
    self, reader: wire.Reader, shape: Shape, position: int, seed: tf.Tensor
  ) -> tf.Tensor:
    shapes = [shape]
    for stage in self._stages:
      shapes.append(stage.shape_after(shapes[-1]))
    values = reader.float32(*shapes[-1])
    for i in reversed(range(len(self._stages))):
      values = self._stages[i].decode(values, reader, shapes[i], _stage_seed(seed, position, i))
    return tf.ensure_shape(values, shape)


def _own_seed(seed: tf.Tensor) -> tf.Tensor:
  return tf.random.experimental.stateless_fold_in(seed, _PURPOSE)


def _stage_seed(seed: tf.Tensor, position: int, stage: int) -> tf.Tensor:
  """The seed of one stage on one tensor."""
  fold_in = tf.random.experimental.stateless_fold_in
  return fold_in(fold_in(seed, position), stage)
