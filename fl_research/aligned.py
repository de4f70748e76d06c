"""Arrays whose memory TensorFlow can use without copying it."""

import ctypes

import numpy as np

ALIGNMENT = 64
"""Bytes; TensorFlow aborts on a borrowed buffer that is aligned to less."""


def empty(size: int, dtype) -> np.ndarray:
  """An uninitialised array of one dimension; of objects, an ordinary one."""
  dtype = np.dtype(dtype)
  if dtype.kind == 'O':
    return np.empty(size, dtype)
  memory = np.empty(size * dtype.itemsize + ALIGNMENT, np.uint8)
  start = -memory.ctypes.data % ALIGNMENT
  return memory[start : start + size * dtype.itemsize].view(dtype)


def is_aligned(array: np.ndarray) -> bool:
  """Whether the array begins at a multiple of `ALIGNMENT`."""
  return array.ctypes.data % ALIGNMENT == 0


def align(array: np.ndarray) -> np.ndarray:
  """An aligned copy of an array of numbers; itself if it is aligned or a memory map."""
  if isinstance(array, np.memmap) or array.dtype.kind not in 'iuf' or is_aligned(array):
    return array
  copy = empty(array.size, array.dtype).reshape(array.shape)
  copy[...] = array
  return copy


def unlocked(array: np.ndarray) -> np.ndarray:
  """The memory of a contiguous array as one that may be written to, which DLPack insists on.

  For readers only: TensorFlow never writes to memory that it has borrowed.
  """
  if array.flags.writeable or not array.size:
    return array
  memory = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
  memory.owner = array  # type: ignore[attr-defined]  # Lives as long as what is made of it.
  return np.ndarray(array.shape, array.dtype, memoryview(memory))
