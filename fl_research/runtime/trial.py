"""Chooses between the plain and the XLA-compiled loop over clients by timing both."""

from collections.abc import Callable, Sequence
import dataclasses
import time
from typing import Optional

import numpy as np
import tensorflow as tf

Loop = Callable[[int], Sequence[tf.Tensor]]
"""Runs a chunk's loop for so many clients and gives its results."""

CLIENTS = 16
"""How many clients of the first chunk a trial runs, at most."""

REPETITIONS = 7
"""How often both loops are timed, at most; the fastest counts."""

SECONDS = 2.0
"""After how long no loop is timed again."""

FIRST_SECONDS = 0.2
"""What a first run may take beyond its work."""

MARGIN = 0.8
"""XLA must take at most this part of the plain loop's time, so that noise rarely decides."""

_TOLERANCE = 1e-3
"""How far, relative to the largest number of a tensor, the results may lie apart."""


@dataclasses.dataclass(frozen=True)
class Choice:
  """Which loop runs, and why.

  Attributes:
    jit: whether it is the one that XLA compiled.
    reason: one line for the log and the manifest.
    plain_seconds, jit_seconds: what the trial measured, if there was one.
  """

  jit: bool
  reason: str
  plain_seconds: Optional[float] = None
  jit_seconds: Optional[float] = None


def _timed(run: Loop, count: int) -> tuple[float, Sequence[tf.Tensor]]:
  start = time.perf_counter()
  results = run(count)
  for tensor in results:
    if tensor.dtype != tf.variant:
      tensor.numpy()
  return time.perf_counter() - start, results


def _agree(a: tf.Tensor, b: tf.Tensor) -> bool:
  a, b = a.numpy(), b.numpy()
  if a.shape != b.shape:
    return False
  if a.dtype.kind != 'f':
    return np.array_equal(a, b)
  scale = np.max(np.abs(a), initial=0.0)
  return np.allclose(a, b, rtol=0, atol=_TOLERANCE * scale, equal_nan=True)


def choose(plain: Loop, jit: Loop, clients: int) -> Choice:
  """Compares what both return and times them; what they return is thrown away.

  Args:
    plain, jit: run the loop over the first so many clients of a chunk.
    clients: how many the chunk has.
  """
  plain(0)
  try:
    jit(0)  # compiles, and does nothing else
    plain_seconds, expected = _timed(plain, 1)
    jit_seconds, found = _timed(jit, 1)
    agree = all(_agree(*both) for both in zip(expected, found))
  except (tf.errors.OpError, ValueError) as error:
    first_line = str(error).split('\n')[0]
    return Choice(False, f'the trial failed: {first_line}')
  if not agree:
    return Choice(False, 'XLA gives other results')
  if jit_seconds > 2 * plain_seconds + FIRST_SECONDS:
    # A convolution's gradient may take XLA minutes: enough is known.
    return Choice(False, 'XLA is slower', plain_seconds, jit_seconds)
  count = min(clients, CLIENTS)
  start = time.perf_counter()
  plain_seconds = jit_seconds = float('inf')
  for _ in range(REPETITIONS):
    plain_seconds = min(plain_seconds, _timed(plain, count)[0])
    jit_seconds = min(jit_seconds, _timed(jit, count)[0])
    if time.perf_counter() - start > SECONDS:
      break
  faster = jit_seconds <= MARGIN * plain_seconds
  reason = 'XLA is faster' if faster else 'XLA is not clearly faster'
  return Choice(faster, reason, plain_seconds, jit_seconds)
