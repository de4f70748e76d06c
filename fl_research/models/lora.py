"""Low-rank adapters: a frozen model, and by each of its matrices two thin ones that are trained.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen 2022 (arXiv 2021), "LoRA: Low-Rank Adaptation of
Large Language Models", section 4.1; clients that train and send nothing but adapters: Zhang et al.
2024, "Towards Building the FederatedGPT: Federated Instruction Tuning" (FedIT); with A held fixed:
Sun, Li, Li, Ding 2024, "Improving LoRA in Privacy-preserving Federated Learning", section 4
(FFA-LoRA). For a kernel W0 [m, n] the model computes with

    W = W0 + (α / r) A B,    A [m, r],  B [r, n],    A drawn, B = 0 at first,

so that it begins as the base. W0, biases and all other weights are constants of the program; A and
B (`<layer>/lora_a`, `<layer>/lora_b`) are the model's weights. So every method, compressor and
privacy mechanism works on them, and bytes count them alone: m r + r n numbers for m n.

What is saved is both: the merged W under the base's names, which a run without adapters takes as
its `--initial_model`, and the adapters. With r from min(m, n) on, A B can be any matrix.

The mean of products is not the product of means: where clients send both factors, the server's
(Σ p_k A_k)(Σ p_k B_k) differs from Σ p_k A_k B_k, by the covariance of the two over the clients.
With `freeze_a` they are the same, the rest being linear in B.

A step costs what the whole model's does and the products besides: gradients reach A and B through
W, which is formed in every step, and so any layer can be adapted. With r = 8, the 2NN and batches
of 10 a round takes 1.3 times the core-seconds of the whole model's (1.1 with `freeze_a`).

Differences from the paper:
1. The papers adapt the attention of language models; here every weight with two axes or more
   (dense, convolutional and recurrent kernels, tables), or those of `--lora_layers`.
2. A convolution's kernel is one matrix, [height · width · channels in, channels out]; the authors'
   library factors it with a rank that grows with the window.
3. A is drawn from U(-1/√m, 1/√m), as the authors' library does; section 4.1 says a Gaussian.
4. α is r when not given (a factor of 1). No dropout in front of A, which their code has.
"""

from collections.abc import Sequence
import fnmatch

import numpy as np
import tensorflow as tf

from fl_research import random_streams
from fl_research.models import initializers, layers
from fl_research.models.specification import Adapters
from fl_research.registry import UsageError

_A, _B = 'lora_a', 'lora_b'


class LowRank(layers.Layer):
  """A network whose weights are constants but for low-rank terms (see the module's docstring).

  Args:
    network: the base.
    weights: all of its weights, W0 among them.
    adapted: which of them have a term.
    adapters: rank, α, and whether A is fixed.
    seed: the run's seed, which fixes A.
  """

  kind = 'low_rank'

  def __init__(
    self,
    network: layers.Layer,
    weights: Sequence[np.ndarray],
    adapted: Sequence[bool],
    adapters: Adapters,
    seed: int,
  ):
    self._network = network
    self._base = tuple(weights)
    self._adapted = tuple(adapted)
    self._adapters = adapters
    rank = adapters.rank
    self._scale = (rank if adapters.alpha is None else adapters.alpha) / rank
    generator = random_streams.generator(seed, 'low-rank adapters')
    draw = initializers.INITIALIZERS[initializers.FAN_IN_UNIFORM]
    sizes = [_matrix(w.shape) for w, has in zip(self._base, self._adapted) if has]
    self._first_a = [draw(generator, (rows, rank), rows, rank) for rows, _ in sizes]
    self._first_b = [np.zeros((rank, columns), np.float32) for _, columns in sizes]

  @property
  def weight_names(self):
    names = self._network.weight_names
    adapted = [name.rpartition('/') for name, has in zip(names, self._adapted) if has]
    # Where a layer has several kernels, as an LSTM has, the second one's name goes along.
    own = lambda layer, weight, factor: (
      f'{layer}/{factor}' if weight == 'kernel' else f'{layer}/{weight}_{factor}'
    )
    factors = (_B,) if self._adapters.freeze_a else (_A, _B)
    return tuple(own(layer, weight, f) for layer, _, weight in adapted for f in factors)

  @property
  def needs_seed(self):
    return self._network.needs_seed

  @property
  def pools(self):
    return self._network.pools

  def first_weights(self) -> list[np.ndarray]:
    """A as drawn and B = 0, layer by layer; B alone where A is fixed."""
    if self._adapters.freeze_a:
      return list(self._first_b)
    return [factor for pair in zip(self._first_a, self._first_b) for factor in pair]

  def initialise(self, shape, generator):
    _, output_shape = self._network.initialise(shape, generator)
    return self.first_weights(), output_shape

  def __call__(self, weights, x, seed=None):
    return self._network(self.merged(weights), x, seed)

  def keras(self, weights, x, name):
    return self._network.keras(self.merged(weights), x, name)

  def keras_model(self, weights, shape, dtype):
    return self._network.keras_model(self.merged(weights), shape, dtype)

  def saved(self, weights):
    merged = [np.asarray(weight) for weight in self.merged(weights)]
    return {**super().saved(weights), **self._network.saved(merged)}

  def merged(self, weights: layers.Weights) -> layers.Weights:
    """The base's weights with their terms added."""
    given = iter(weights)
    first_a = iter(self._first_a)
    merged = []
    for base, has in zip(self._base, self._adapted, strict=True):
      if has:
        drawn = next(first_a)
        a = drawn if self._adapters.freeze_a else next(given)
        product = tf.linalg.matmul(a, next(given))
        base = base + self._scale * tf.reshape(product, base.shape)
      merged.append(base)
    return tuple(merged)


def _matrix(shape: Sequence[int]) -> tuple[int, int]:
  """A weight as a matrix: all axes but the last in one."""
  return int(np.prod(shape[:-1])), int(shape[-1])


def network(
  base: layers.Layer, weights: Sequence[np.ndarray], adapters: Adapters, seed: int
) -> LowRank:
  """A network with adapters.

  Args:
    base: what is adapted.
    weights: its weights, which stay as they are.
    adapters: what the flags say.
    seed: the run's seed.

  Raises:
    UsageError: no layer that is named has a weight with two axes or more.
  """
  patterns = adapters.layers.split(',') if adapters.layers else ['*']
  large = [name for name, w in zip(base.weight_names, weights, strict=True) if w.ndim > 1]
  there = dict.fromkeys(name.rpartition('/')[0] for name in large)
  chosen = [[layer for layer in there if fnmatch.fnmatchcase(layer, p)] for p in patterns]
  for pattern, found in zip(patterns, chosen):
    if not found:
      raise UsageError(
        f'--lora_layers={adapters.layers}: the model has no layer "{pattern}" with a matrix; '
        f'accepted are {", ".join(there) or "none of this model"}'
      )
  inside = {layer for found in chosen for layer in found}
  adapted = [
    w.ndim > 1 and name.rpartition('/')[0] in inside
    for name, w in zip(base.weight_names, weights, strict=True)
  ]
  return LowRank(base, weights, adapted, adapters, seed)
