"""How the values of many clients lie side by side in memory, leaf by leaf.

The clients of a cohort enter one TensorFlow function together. A leaf of a client's value with a
fixed shape is stacked, one with an unknown number of rows is concatenated and cut by bounds, and
one with more unknown dimensions is flattened, with its shapes beside it. In all three the memory
is the same: the clients' elements one after another, copied once.

    Fixed     [n, ...]
    Rows      [rows of all clients, ...], bounds int64[n, 2]
    Flat      [elements of all clients], bounds int64[n, 2], shapes int64[n, rank]
    Sequences variant[n], one data set each

What is joined at the server has no clients to tell apart, and is rows alone (`JoinedRows`).

Nothing here needs TFF: processes that have TensorFlow only arrange clients' values too.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research import aligned


def to_tensor(array: np.ndarray, dtype: tf.DType) -> tf.Tensor:
  """The array as a tensor, sharing its memory where TensorFlow allows it."""
  if (
    array.size
    and array.dtype == dtype.as_numpy_dtype
    and array.dtype.kind in 'iuf'
    and array.flags.c_contiguous
    and aligned.is_aligned(array)
  ):
    return tf.experimental.dlpack.from_dlpack(aligned.unlocked(array).__dlpack__())
  return tf.constant(array, dtype)


@dataclasses.dataclass(frozen=True)
class RawLeaf:
  """One leaf of a cohort's clients.

  Attributes:
    parts: each client's array, or the variant of its data set.
    buffer: the arrays' elements one after another, flat; or, with `starts`, an array of rows that
      all of them are parts of.
    starts: the row of the buffer with which each client begins, where nothing was copied.
  """

  parts: Sequence[Any]
  buffer: Any = None
  starts: Optional[np.ndarray] = None

  @property
  def shapes(self) -> list[tuple[int, ...]]:
    return [tuple(part.shape) for part in self.parts]

  def joined(self) -> np.ndarray:
    """The arrays' elements one after another, flat."""
    return self.buffer if self.starts is None else _concatenated(self.parts)

  def part(self, first: int, end: int) -> 'RawLeaf':
    """The leaf of the clients from `first` to before `end`."""
    parts = self.parts[first:end]
    if isinstance(parts[0], tf.Tensor):
      return RawLeaf(parts)
    if self.starts is None:
      return RawLeaf(parts, _concatenated(parts))
    return RawLeaf(parts, self.buffer, self.starts[first:end])


def raw_leaf(column: Sequence) -> RawLeaf:
  """Puts one leaf of several clients, arrays or variants, side by side."""
  if isinstance(column[0], tf.Tensor):
    return RawLeaf(column)
  # A GPU would be sent the whole array.
  shared = None if tf.config.list_physical_devices('GPU') else _shared_rows(column)
  return RawLeaf(column, *shared) if shared else RawLeaf(column, _concatenated(column))


def _concatenated(arrays: Sequence[np.ndarray]) -> np.ndarray:
  dtype = np.result_type(*{array.dtype for array in arrays})
  buffer = aligned.empty(sum(array.size for array in arrays), dtype)
  np.concatenate([array.ravel() for array in arrays], out=buffer)
  return buffer


def _shared_rows(arrays: Sequence[np.ndarray]) -> Optional[tuple[np.ndarray, np.ndarray]]:
  """The rows of memory that all arrays are parts of, and where each begins; None if there are none.

  The rows begin where TensorFlow can use them without copying.
  """
  if not _are_parts(arrays):
    return None
  memory: Any = arrays[0].base
  row_bytes = arrays[0][:1].nbytes
  addresses = np.array([array.ctypes.data for array in arrays])
  begin = addresses.min()
  for _ in range(aligned.ALIGNMENT):
    if begin % aligned.ALIGNMENT and begin >= memory.ctypes.data + row_bytes:
      begin -= row_bytes
  starts, rests = np.divmod(addresses - begin, row_bytes)
  if begin % aligned.ALIGNMENT or rests.any():
    return None
  count = max(start + len(array) for start, array in zip(starts, arrays))
  shape = (int(count), *arrays[0].shape[1:])
  return np.ndarray(shape, arrays[0].dtype, memory, int(begin - memory.ctypes.data)), starts


def _are_parts(arrays: Sequence[np.ndarray]) -> bool:
  """Whether all arrays are rows, of one shape, of memory that TensorFlow can use."""
  first = arrays[0]
  memory = first.base
  if not isinstance(memory, np.ndarray) or not memory.flags.c_contiguous:
    return False
  return all(
    array.base is memory
    and array.ndim > 0
    and array.size > 0
    and array.shape[1:] == first.shape[1:]
    and array.dtype == first.dtype
    and array.dtype.kind in 'iuf'
    and array.flags.c_contiguous
    and array.flags.writeable
    for array in arrays
  )


def offsets_of(lengths: Sequence[int]) -> np.ndarray:
  """Where each of several parts of these lengths begins, and where the last one ends."""
  return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def bounds_of(lengths: Sequence[int], starts: Optional[np.ndarray] = None) -> np.ndarray:
  """The first row and that after the last, of parts of these lengths: int64 [n, 2].

  Without `starts` they lie one after another.
  """
  if starts is None:
    starts = offsets_of(lengths)[:-1]
  return np.stack([starts, starts + np.asarray(lengths, np.int64)], axis=1).astype(np.int64)


def _bounds(lengths: tf.Tensor) -> tf.Tensor:
  """In a graph: `bounds_of` parts that lie one after another."""
  ends = tf.cumsum(lengths)
  return tf.stack([ends - lengths, ends], axis=1)


class Place:
  """In a graph: where one client is among others.

  What cuts its leaves out is made once for all of them; TensorFlow's `tensor[index]` makes five
  operations of each.

  Args:
    index: int32 [].
  """

  def __init__(self, index: tf.Tensor):
    self._begin = tf.reshape(index, [1])
    self._end = self._begin + 1
    self._strides = tf.constant([1])

  def of(self, tensor: tf.Tensor) -> tf.Tensor:
    """The client's row, which shares the tensor's memory."""
    row = tf.raw_ops.StridedSlice(
      input=tensor, begin=self._begin, end=self._end, strides=self._strides, shrink_axis_mask=1
    )
    row.set_shape(tensor.shape[1:])
    return row

  def between(self, tensor: tf.Tensor, bounds: tf.Tensor) -> tf.Tensor:
    """The client's rows, which share the tensor's memory, by the bounds of all, int64 [n, 2]."""
    begin, end = tf.split(self.of(bounds), 2)
    strides = tf.constant([1], tf.int64)
    return tf.raw_ops.StridedSlice(input=tensor, begin=begin, end=end, strides=strides)


class Fixed:
  """Leaves of one fully known shape."""

  def __init__(self, spec: tf.TensorSpec):
    self.spec = spec
    self.specs = [tf.TensorSpec([None, *spec.shape], spec.dtype)]

  def arrange(self, raw: RawLeaf) -> list[tf.Tensor]:
    """The tensors for the leaves of a cohort's clients."""
    stacked = raw.joined().reshape(len(raw.parts), *self.spec.shape)
    return [to_tensor(stacked, self.spec.dtype)]

  def take(self, tensors: Sequence[tf.Tensor], place: Place) -> tf.Tensor:
    """In a graph: the leaf of the client at a place."""
    return place.of(tensors[0])

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

  def __init__(self, spec: tf.TensorSpec):
    self.spec = spec
    self.specs = [spec, tf.TensorSpec([None, 2], tf.int64)]

  def arrange(self, raw):
    lengths = [len(part) for part in raw.parts]
    rows = raw.buffer
    if raw.starts is None:
      rows = rows.reshape(sum(lengths), *self.spec.shape[1:])
    bounds = bounds_of(lengths, raw.starts)
    return [to_tensor(rows, self.spec.dtype), tf.constant(bounds)]

  def take(self, tensors, place):
    return tf.ensure_shape(place.between(*tensors), self.spec.shape)

  def arrays(self, count):
    rows = tf.TensorArray(self.spec.dtype, count, element_shape=self.spec.shape, infer_shape=False)
    return [rows, tf.TensorArray(tf.int64, count, element_shape=[])]

  def write(self, arrays, index, leaf):
    rows, lengths = arrays
    length = tf.shape(leaf, tf.int64)[0]
    return [rows.write(index, leaf), lengths.write(index, length)]

  def finish(self, arrays):
    return [arrays[0].concat(), _bounds(arrays[1].stack())]

  def split(self, tensors):
    rows, bounds = (tensor.numpy() for tensor in tensors)
    return [rows[start:end] for start, end in bounds]


class JoinedRows:
  """Rows that are only collected, and of which nobody asks whose they are."""

  def __init__(self, spec: tf.TensorSpec):
    self.spec = spec
    self.specs = [spec]

  def arrays(self, count):
    shape = self.spec.shape
    return [tf.TensorArray(self.spec.dtype, count, element_shape=shape, infer_shape=False)]

  def write(self, arrays, index, leaf):
    return [arrays[0].write(index, leaf)]

  def finish(self, arrays):
    return [arrays[0].concat()]


class Flat:
  """Leaves with several unknown dimensions."""

  def __init__(self, spec: tf.TensorSpec):
    self.spec = spec
    if spec.shape.rank is None:
      raise NotImplementedError(f'a leaf of unknown rank, {spec.dtype.name}')
    self.specs = [
      tf.TensorSpec([None], spec.dtype),
      tf.TensorSpec([None, 2], tf.int64),
      tf.TensorSpec([None, spec.shape.rank], tf.int64),
    ]

  def arrange(self, raw):
    bounds = bounds_of([int(np.prod(shape)) for shape in raw.shapes])
    elements = to_tensor(raw.joined(), self.spec.dtype)
    return [elements, tf.constant(bounds), tf.constant(raw.shapes, tf.int64)]

  def take(self, tensors, place):
    elements, bounds, shapes = tensors
    leaf = tf.reshape(place.between(elements, bounds), place.of(shapes))
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
    return [elements, _bounds(tf.reduce_prod(shapes, axis=1)), shapes]

  def split(self, tensors):
    elements, bounds, shapes = (tensor.numpy() for tensor in tensors)
    return [elements[start:end].reshape(shape) for (start, end), shape in zip(bounds, shapes)]


class Sequences:
  """Data sets, as their variants."""

  def __init__(self, spec: tf.TensorSpec):
    self.spec = spec
    self.specs = [tf.TensorSpec([None], tf.variant)]

  def arrange(self, raw):
    return [tf.stack(raw.parts)]

  def take(self, tensors, place):
    return place.of(tensors[0])

  def arrays(self, count):
    return [tf.TensorArray(tf.variant, count, element_shape=[])]

  def write(self, arrays, index, leaf):
    return [arrays[0].write(index, leaf)]

  def finish(self, arrays):
    return [arrays[0].stack()]

  def split(self, tensors):
    return tf.unstack(tensors[0])


def layout_of(spec: tf.TensorSpec):
  """The layout for leaves of these shapes."""
  if spec.dtype == tf.variant:
    return Sequences(spec)
  if spec.shape.is_fully_defined():
    return Fixed(spec)
  if spec.shape.rank is not None and spec.shape[1:].is_fully_defined():
    return Rows(spec)
  return Flat(spec)


def arranged(specs: Sequence[tf.TensorSpec], leaves: Sequence[RawLeaf]) -> list[tf.Tensor]:
  """The tensors for the values of clients, leaf after leaf."""
  parts = [layout_of(spec).arrange(leaf) for spec, leaf in zip(specs, leaves)]
  return [tensor for tensors in parts for tensor in tensors]
