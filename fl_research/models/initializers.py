"""How first weights are drawn: Keras' initializers by name, and what PyTorch does by default.

A model's own start is told in its module's docstring; `--initializer` draws its kernels (of dense,
convolutional and LSTM layers) another way:

    glorot_…         variance 2 / (fan_in + fan_out); …_uniform, or …_normal cut at two deviations
    he_…, lecun_…    variance 2 / fan_in and 1 / fan_in, likewise; all as in Keras
    fan_in_uniform   U(-1/√fan_in, 1/√fan_in), biases too: PyTorch's `Linear` and `Conv`; for an
                     LSTM's kernels and biases U(-1/√units, 1/√units)
    zeros            for convex models

Biases stay at 0 otherwise, a forget gate's at 1; an LSTM's recurrent kernel stays orthogonal, and
embeddings and normalisations stay as they are. fan_in and fan_out are the numbers that a unit is
computed from and goes to; a convolution's window counts.
"""

from collections.abc import Callable, Mapping, Sequence
import math

import numpy as np

from fl_research.registry import UsageError

Shape = tuple[int, ...]
Initializer = Callable[[np.random.Generator, Shape, int, int], np.ndarray]
"""(generator, shape, fan_in, fan_out) -> first weights, float32."""

# A normal distribution cut at two deviations has this deviation, which Keras divides out.
_CUT_DEVIATION = 0.87962566103423978

FAN_IN_UNIFORM = 'fan_in_uniform'


def glorot_uniform(
  generator: np.random.Generator, shape: Shape, fan_in: int, fan_out: int
) -> np.ndarray:
  """U(-l, l) with l = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16)."""
  limit = np.sqrt(6.0 / (fan_in + fan_out))
  return generator.uniform(-limit, limit, shape).astype(np.float32)


def he_normal(generator: np.random.Generator, shape: Shape, fan_in: int) -> np.ndarray:
  """Normal of variance 2 / fan_in, cut at two deviations and rescaled (He et al. 2015, eq. 10).

  Cutting shrinks the deviation by 0.8796, which is divided out, as Keras does.
  """
  return _cut_normal(generator, shape, np.sqrt(2.0 / fan_in))


def orthogonal(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
  """A random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014)."""
  draws = generator.standard_normal((max(shape), min(shape)))
  q, r = np.linalg.qr(draws)
  q = q * np.sign(np.diag(r))  # makes the distribution uniform over orthogonal matrices
  return (q if shape[0] >= shape[1] else q.T).astype(np.float32)


def _cut_normal(generator: np.random.Generator, shape: Shape, deviation: float) -> np.ndarray:
  draws = generator.standard_normal(shape)
  while np.any(outside := np.abs(draws) > 2):
    draws[outside] = generator.standard_normal(np.count_nonzero(outside))
  return (draws * deviation / _CUT_DEVIATION).astype(np.float32)


def _uniform(generator: np.random.Generator, shape: Shape, limit: float) -> np.ndarray:
  return generator.uniform(-limit, limit, shape).astype(np.float32)


INITIALIZERS: Mapping[str, Initializer] = {
  'glorot_uniform': glorot_uniform,
  'glorot_normal': lambda g, shape, i, o: _cut_normal(g, shape, math.sqrt(2 / (i + o))),
  'he_uniform': lambda g, shape, i, o: _uniform(g, shape, math.sqrt(6 / i)),
  'he_normal': lambda g, shape, i, o: he_normal(g, shape, i),
  'lecun_uniform': lambda g, shape, i, o: _uniform(g, shape, math.sqrt(3 / i)),
  'lecun_normal': lambda g, shape, i, o: _cut_normal(g, shape, math.sqrt(1 / i)),
  FAN_IN_UNIFORM: lambda g, shape, i, o: _uniform(g, shape, math.sqrt(1 / i)),
  'zeros': lambda g, shape, i, o: np.zeros(shape, np.float32),
}


def redraw(
  name: str,
  weight_names: Sequence[str],
  weights: Sequence[np.ndarray],
  generator: np.random.Generator,
) -> list[np.ndarray]:
  """A model's first weights, its kernels drawn another way.

  Args:
    name: one of `INITIALIZERS`.
    weight_names: `<layer>/<weight>`.
    weights: the model's own first weights.
    generator: what is drawn from, in the order of the weights.

  Raises:
    UsageError: the model has no kernels.
  """
  found = dict(zip(weight_names, weights, strict=True))
  if not any(_parts(key)[1] == 'kernel' for key in found):
    raise UsageError(f'--initializer={name}: this model has no kernels to draw; leave it out')
  return [_redrawn(name, key, found, generator) for key in weight_names]


def _redrawn(
  name: str, key: str, weights: Mapping[str, np.ndarray], generator: np.random.Generator
) -> np.ndarray:
  """One weight."""
  layer, what = _parts(key)
  kernel, recurrent = (weights.get(f'{layer}{w}') for w in ('kernel', 'recurrent_kernel'))
  drawn = ('kernel', 'recurrent_kernel', 'bias') if name == FAN_IN_UNIFORM else ('kernel',)
  if kernel is None or what not in drawn:
    return weights[key]
  window = math.prod(kernel.shape[:-2])
  fan_in, fan_out = window * kernel.shape[-2], window * kernel.shape[-1]
  if recurrent is not None and name == FAN_IN_UNIFORM:
    fan_in = recurrent.shape[0]
  return INITIALIZERS[name](generator, weights[key].shape, fan_in, fan_out)


def _parts(key: str) -> tuple[str, str]:
  """`<layer>/` and the weight's own name."""
  layer, slash, what = key.rpartition('/')
  return layer + slash, what
