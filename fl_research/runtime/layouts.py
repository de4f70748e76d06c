"""How the values of many clients lie side by side in memory, leaf by leaf.

The clients of a chunk enter one TensorFlow function together. A leaf of a client's value with a
fixed shape is stacked, one with an unknown number of rows is concatenated and cut by offsets, and
one with more unknown dimensions is flattened, with its shapes beside it. In all three the memory
is the same: the clients' elements one after another, copied once.

    Fixed     [n, ...]
    Rows      [rows of all clients, ...], offsets int64[n+1]
    Flat      [elements of all clients], offsets int64[n+1], shapes int64[n, rank]
    Sequences variant[n], one data set each
"""

from collections.abc import Sequence
import dataclasses
import itertools
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.runtime import pieces

_ALIGNMENT = 64  # bytes; TensorFlow aborts on a borrowed buffer that is aligned to less


def aligned_empty(size: int, dtype) -> np.ndarray:
  """A one-dimensional array that TensorFlow can use without copying it."""
  dtype = np.dtype(dtype)
  if dtype.kind == 'O':
    return np.empty(size, dtype)
  memory = np.empty(size * dtype.itemsize + _ALIGNMENT, np.uint8)
  start = -memory.ctypes.data % _ALIGNMENT
  return memory[start : start + size * dtype.itemsize].view(dtype)


def to_tensor(array: np.ndarray, dtype: tf.DType) -> tf.Tensor:
  """The array as a tensor, sharing its memory where TensorFlow allows it."""
  flags = array.flags
  if (
    array.size
    and array.dtype == dtype.as_numpy_dtype
    and array.dtype.kind in 'iuf'
    and flags.c_contiguous
    and flags.writeable
    and array.ctypes.data % _ALIGNMENT == 0
  ):
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())
  return tf.constant(array, dtype)


def concatenate(arrays: Sequence[np.ndarray]) -> np.ndarray:
  """All elements of the arrays, one array after another, in one aligned buffer."""
  dtype = np.result_type(*{array.dtype for array in arrays})
  buffer = aligned_empty(sum(array.size for array in arrays), dtype)
  np.concatenate([array.ravel() for array in arrays], out=buffer)
  return buffer


@dataclasses.dataclass(frozen=True)
class RawLeaf:
  """One leaf of a chunk's clients: their elements one after another, and each one's shape.

  For data sets `buffer` is the list of their variants.
  """

  buffer: Any
  shapes: list[tuple[int, ...]]


def raw_leaf(column: Sequence) -> RawLeaf:
  """Puts one leaf of several clients, arrays or variants, side by side."""
  if isinstance(column[0], tf.Tensor):
    return RawLeaf(list(column), [()] * len(column))
  return RawLeaf(concatenate(column), [array.shape for array in column])


def offsets_of(lengths: Sequence[int]) -> np.ndarray:
  """Where each of several parts of these lengths begins, and where the last one ends."""
  return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


class Fixed:
  """Leaves of one fully known shape."""

  def __init__(self, leaf_type):
    self.spec = pieces.leaf_spec(leaf_type)
    self.specs = [tf.TensorSpec([None, *self.spec.shape], self.spec.dtype)]

  def arrange(self, raw: RawLeaf) -> list[tf.Tensor]:
    """The tensors for the leaves of a chunk's clients."""
    stacked = raw.buffer.reshape(len(raw.shapes), *self.spec.shape)
    return [to_tensor(stacked, self.spec.dtype)]

  def take(self, tensors: Sequence[tf.Tensor], index: tf.Tensor) -> tf.Tensor:
    """In a graph: the leaf of the client at `index`."""
    return tensors[0][index]

  def arrays(self, count: tf.Tensor) -> list[tf.TensorArray]:
    """In a graph: where the leaves of `count` clients are collected."""
    return [tf.TensorArray(self.spec.dtype, count, element_shape=self.spec.shape)]

  def write(self, arrays, index: tf.Tensor, leaf: tf.Tensor) -> list[tf.TensorArray]:
    """In a graph: the arrays with the leaf of one client more."""
    return [arrays[0].write(index, leaf)]

  def finish(self, arrays) -> list[tf.Tensor]:
    """In a graph: what was collected, as the layout's tensors."""
    return [arrays[0].stack()]

  def split(self, tensors: Sequence[tf.Tensor]) -> list:
    """The clients' leaves as NumPy values."""
    return list(tensors[0].numpy())


class Rows:
  """Leaves with an unknown number of rows, each of a known shape."""

  def __init__(self, leaf_type):
    self.spec = pieces.leaf_spec(leaf_type)
    self.specs = [self.spec, tf.TensorSpec([None], tf.int64)]

  def arrange(self, raw):
    offsets = offsets_of([shape[0] for shape in raw.shapes])
    rows = raw.buffer.reshape(offsets[-1], *self.spec.shape[1:])
    return [to_tensor(rows, self.spec.dtype), tf.constant(offsets)]

  def take(self, tensors, index):
    rows, offsets = tensors
    return tf.ensure_shape(rows[offsets[index] : offsets[index + 1]], self.spec.shape)

  def arrays(self, count):
    rows = tf.TensorArray(self.spec.dtype, count, element_shape=self.spec.shape, infer_shape=False)
    return [rows, tf.TensorArray(tf.int64, count, element_shape=[])]

  def write(self, arrays, index, leaf):
    rows, lengths = arrays
    length = tf.shape(leaf, tf.int64)[0]
    return [rows.write(index, leaf), lengths.write(index, length)]

  def finish(self, arrays):
    rows, lengths = arrays
    return [rows.concat(), tf.concat([[0], tf.cumsum(lengths.stack())], 0)]

  def split(self, tensors):
    rows, offsets = (tensor.numpy() for tensor in tensors)
    return [rows[start:end] for start, end in itertools.pairwise(offsets)]


class Flat:
  """Leaves with several unknown dimensions."""

  def __init__(self, leaf_type):
    self.spec = pieces.leaf_spec(leaf_type)
    if self.spec.shape.rank is None:
      raise NotImplementedError(f'a leaf of unknown rank, {leaf_type}')
    self.specs = [
      tf.TensorSpec([None], self.spec.dtype),
      tf.TensorSpec([None], tf.int64),
      tf.TensorSpec([None, self.spec.shape.rank], tf.int64),
    ]

  def arrange(self, raw):
    offsets = offsets_of([int(np.prod(shape)) for shape in raw.shapes])
    elements = to_tensor(raw.buffer, self.spec.dtype)
    return [elements, tf.constant(offsets), tf.constant(raw.shapes, tf.int64)]

  def take(self, tensors, index):
    elements, offsets, shapes = tensors
    leaf = tf.reshape(elements[offsets[index] : offsets[index + 1]], shapes[index])
    return tf.ensure_shape(leaf, self.spec.shape)

  def arrays(self, count):
    elements = tf.TensorArray(self.spec.dtype, count, element_shape=[None], infer_shape=False)
    shapes = tf.TensorArray(tf.int64, count, element_shape=[self.spec.shape.rank])
    return [elements, shapes]

  def write(self, arrays, index, leaf):
    elements, shapes = arrays
    return [
      elements.write(index, tf.reshape(leaf, [-1])),
      shapes.write(index, tf.shape(leaf, tf.int64)),
    ]

  def finish(self, arrays):
    elements, shapes = arrays[0].concat(), arrays[1].stack()
    ends = tf.cumsum(tf.reduce_prod(shapes, axis=1))
    return [elements, tf.concat([[0], ends], 0), shapes]

  def split(self, tensors):
    elements, offsets, shapes = (tensor.numpy() for tensor in tensors)
    cuts = zip(offsets[:-1], offsets[1:], shapes)
    return [elements[start:end].reshape(shape) for start, end, shape in cuts]


class Sequences:
  """Data sets."""

  def __init__(self, leaf_type):
    self._element_type = leaf_type.element
    self.spec = pieces.leaf_spec(leaf_type)
    self.specs = [tf.TensorSpec([None], tf.variant)]

  def arrange(self, raw):
    return [tf.stack(raw.buffer)]

  def take(self, tensors, index):
    return tensors[0][index]

  def arrays(self, count):
    return [tf.TensorArray(tf.variant, count, element_shape=[])]

  def write(self, arrays, index, leaf):
    return [arrays[0].write(index, leaf)]

  def finish(self, arrays):
    return [arrays[0].stack()]

  def split(self, tensors):
    return [to_dataset(variant, self._element_type) for variant in tf.unstack(tensors[0])]


def to_dataset(variant: tf.Tensor, element_type: tff.Type) -> tf.data.Dataset:
  """A sequence's variant as the data set that it stands for."""
  structure = tff.types.type_to_tf_tensor_specs(element_type)
  return tf.data.experimental.from_variant(variant, structure)


def layout_of(leaf_type):
  """The layout for the leaves of a type."""
  if isinstance(leaf_type, tff.SequenceType):
    return Sequences(leaf_type)
  shape = pieces.leaf_spec(leaf_type).shape
  if shape.is_fully_defined():
    return Fixed(leaf_type)
  if shape.rank is not None and shape[1:].is_fully_defined():
    return Rows(leaf_type)
  return Flat(leaf_type)
