"""Every random draw of a run as a pure function of (seed, purpose, round, client).

Nothing draws from a shared generator, so what one part of a run draws never depends on what
another part drew before it: a restarted run, another runtime or another order of clients sees the
same numbers.
"""

import zlib

import numpy as np


def _entropy(seed: int, purpose: str, keys: tuple[int, ...]) -> np.random.SeedSequence:
  """Spreads the seed, the name of the purpose and the keys over one seed sequence."""
  return np.random.SeedSequence([int(seed), zlib.crc32(purpose.encode()), *map(int, keys)])


def generator(seed: int, purpose: str, *keys: int) -> np.random.Generator:
  """A NumPy generator for one purpose.

  Args:
    seed: the run's seed, at least 0.
    purpose: what is drawn, e.g. `'cohort'`; two purposes never share a stream.
    *keys: integers of at least 0 that tell draws of one purpose apart, usually the round and the
      client's position.
  """
  return np.random.Generator(np.random.PCG64(_entropy(seed, purpose, keys)))


def stateless_seed(seed: int, purpose: str, *keys: int) -> np.ndarray:
  """An int32 [2] seed for `tf.random.stateless_*`, of the same arguments as `generator`."""
  return _entropy(seed, purpose, keys).generate_state(2).view(np.int32)
