"""HeteroFL: every client trains a model as wide as it can.

Diao, Ding, Tarokh 2021, "HeteroFL: Computation and Communication Efficient Federated Learning for
Heterogeneous Clients", section 3 and algorithm 1. A client of width s has the first ⌈s C⌉ of the C
units (channels) of every hidden layer, and so the upper left corner of every kernel. Narrow models
lie inside wide ones. With m_k the weights that client k has (a mask of zeros and ones), in a round

    client k:  w_k <- steps from m_k w, within m_k;     sends m_k (w_k - w)
    server:    w <- w + Σ_k p_k m_k (w_k - w) / Σ_k p_k m_k,   where anybody has the weight

so that a weight is averaged over those who have it, and stays as it is where nobody does. The
global model, which is evaluated, is whole.

With `--heterofl_scaler`, what hidden layers compute before they are rectified is divided by s in
training. The paper does so always, and normalises over the batch after it, which takes out again
what that does to gradients: with L hidden layers the last kernel's grow by s^-L, and what a step
changes of the output by s^-2L, 256 times for a quarter's width and two layers. Models here
normalise over no batches, and with the rates of other methods the scaler makes narrow clients
diverge: on MNIST shards, as docs/methods.md has them, the 2NN came to 73, 21 and 74 % with it, to
85, 87 and 88 % without. So it is off by default.

`--heterofl_widths` are the widths, `--heterofl_shares` what share of the clients has each of them;
which client has which is drawn once, from the run's seed. Where all are of width 1 it is FedAvg.
Columns: `method/width`, the mean of the cohort's widths, and `method/size`, the mean share of the
model's numbers that its clients have.

Bytes are those of the whole model, and so is the time of a step: computations here have one shape
for all clients, and what a client has not is zero. On a wire of its own a client's share of both
would be `method/size`. That rows of zeros take the place of a narrow model changes no number of it:
what it has not goes into nothing that it has.

It takes chains of rectified dense and convolutional layers (`mlp`, `2nn`, `cnn`, `emnist_cnn`,
`cnn1d`). In others it is not known from their weights which axes belong together, and group or
layer normalisation would be over fewer units.

Differences from the paper:
1. No static batch normalisation, as models here have none over batches, and therefore no scaler
   unless it is asked for.
2. No masked cross entropy, by which clients leave classes alone that they have no examples of.
3. Widths stay with their clients (the paper's "fix"); it also has clients that change them.
4. The number of units is rounded up, as in the authors' code.
5. A server rate and optimiser, of which the paper has none, and weights p_k; they are alike by
   default, as in the code.
"""

from collections.abc import Sequence
import copy
import fnmatch
from typing import NamedTuple, Optional

import numpy as np
import tensorflow as tf

from fl_research import random_streams
from fl_research.algorithms.submodels import widths as widths_lib
from fl_research.registry import UsageError
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Objective
from fl_research.round.structures import subtract, Weights

_LAYERS = ('dense_*/kernel', 'conv2d_*/kernel', 'conv1d_*/kernel')


class Axes(NamedTuple):
  """How many units a layer of a chain is made from, and has.

  Attributes:
    before: units of the layer in front; 0 for the first layer, which has all of its inputs.
    positions: how many numbers each of them gives, as a flattened picture's channels do.
    units: its own; 0 for the last layer, which has all of its outputs.
  """

  before: int
  positions: int
  units: int


class Scaled(Objective):
  """An objective of weights that are multiplied by numbers: F(c w), whose gradient is c ∇F.

  Args:
    objective: F.
    factors: c of each weight; None for 1.
  """

  def __init__(self, objective: Objective, factors: Sequence[Optional[tf.Tensor]]):
    self._objective = objective
    self._factors = tuple(factors)

  def initial_carry(self, weights):
    return self._objective.initial_carry(self._times(weights))

  def gradient(self, weights, batch, seed, carry):
    found = self._objective.gradient(self._times(weights), batch, seed, carry)
    return found._replace(gradient=self._times(found.gradient))

  def times(self, factor):
    return Scaled(self._objective.times(factor), self._factors)

  def _times(self, tensors: Sequence[tf.Tensor]) -> Weights:
    pairs = zip(self._factors, tensors, strict=True)
    return tuple(t if factor is None else factor * t for factor, t in pairs)


class HeteroFL(Method):
  """Diao et al. 2021, algorithm 1 (see the module's docstring).

  Args:
    widths: shares of the hidden units, from (0, 1].
    shares: of the clients, for each width.
    scaler: whether hidden layers are divided by the width.
  """

  auxiliary_weighting = 'update'

  def __init__(self, widths: Sequence[float], shares: Sequence[float], scaler: bool):
    self._widths = tuple(widths)
    self._shares = tuple(shares)
    self._scaler = scaler
    self.axes: tuple[Axes, ...] = ()
    self.widths_of_clients = np.zeros(0, np.int32)

  def bind(self, federation):
    federation.require_population('HeteroFL')
    bound = copy.copy(self)
    bound.federation = federation
    model = federation.model
    bound.axes = _chain(model.weight_names, [w.shape for w in model.initial_weights[0]])
    generator = random_streams.generator(federation.seed, 'width of model')
    drawn = generator.choice(len(self._widths), federation.population_size, p=self._shares)
    bound.widths_of_clients = drawn.astype(np.int32)
    return bound

  def work(self, client, message):
    number = tf.gather(tf.constant(self.widths_of_clients), client.data['client'])
    width = tf.gather(tf.constant(self._widths, tf.float32), number)
    units = tf.gather(tf.constant([self._units(w) for w in self._widths], tf.int32), number)
    masks = self._masks(units)
    # A unit whose weights are all zero is passed by: it gives zero, and so neither its weights nor
    # those that read it have a gradient.
    start = tuple(m * w for m, w in zip(masks, message, strict=True))
    objective = Scaled(client.loss, self._factors(width)) if self._scaler else client.loss
    trained = client.train(start, objective=objective)
    update = subtract(trained.weights, start)
    whole = float(sum(int(np.prod(w.shape)) for w in message))
    counts = [tf.reduce_sum(m) * (_size(u) / _size(m)) for m, u in zip(masks, update)]
    return Reply(
      update,
      client.state,
      trained,
      auxiliary=tf.one_hot(number, len(self._widths)),
      measures={'width': width, 'size': tf.add_n(counts) / whole},
    )

  def finish(self, server, combined):
    having = [tf.zeros_like(w) for w in server.weights]
    for number, width in enumerate(self._widths):
      masks = self._masks(tf.constant(self._units(width), tf.int32))
      having = [h + combined.auxiliary[number] * m for h, m in zip(having, masks, strict=True)]
    direction = tuple(map(tf.math.divide_no_nan, combined.update, having))
    return self.step(server, direction)

  def _factors(self, width: tf.Tensor) -> list[Optional[tf.Tensor]]:
    """What weights are multiplied by, for hidden layers to be divided by the width.

    Rectified layers and maxima are homogeneous, so that what all L of them are divided by may be
    put off to the last kernel, which is small: it gets s^-L, and the bias of layer l s^(l-1).
    """
    factors: list[Optional[tf.Tensor]] = []
    for number in range(len(self.axes) - 1):
      factors.extend((None, tf.pow(width, float(number)) if number else None))
    return [*factors, tf.pow(width, 1.0 - len(self.axes)), None]

  def _units(self, width: float) -> list[int]:
    """How many units of each layer a model of that width has; of the last layer, 0."""
    # A product like 0.07 · 100 is 7.000000000000001, which is seven units.
    return [int(np.ceil(np.round(width * axes.units, 6))) for axes in self.axes]

  def _masks(self, units: tf.Tensor) -> Weights:
    """For each weight 1 where the model has it: float32 [in, out] for kernels, [out] for biases.

    Args:
      units: int32 [layers], how many units of each layer it has.
    """
    masks: list[tf.Tensor] = []
    for number, axes in enumerate(self.axes):
      own = _first(axes.units, units[number])
      before = tf.tile(_first(axes.before, units[number - 1]), [axes.positions])
      masks.extend((before[:, tf.newaxis] * own, own))
    return tuple(masks)


def _first(count: int, having: tf.Tensor) -> tf.Tensor:
  """float32 [count], 1 for the first of them; a single 1, for all, where `count` is 0."""
  return tf.cast(tf.range(count) < having, tf.float32) if count else tf.ones([1])


def _size(tensor: tf.Tensor) -> float:
  return float(np.prod(tensor.shape))


def _chain(names: Sequence[str], shapes: Sequence[Sequence[int]]) -> tuple[Axes, ...]:
  """The layers of a chain.

  Raises:
    UsageError: they are none, or there is no hidden layer.
  """
  refused = '--algorithm=heterofl: cannot make this model narrower, '
  for name in names:
    kernel = f'{name.rpartition("/")[0]}/kernel'
    if name.count('/') != 1 or not any(fnmatch.fnmatchcase(kernel, layer) for layer in _LAYERS):
      raise UsageError(
        f'{refused}because of {name}; accepted are dense and convolutional layers, as in '
        '--model=mlp and --model=cnn'
      )
  kernels = [shape for name, shape in zip(names, shapes) if name.endswith('/kernel')]
  if len(kernels) < 2 or len(names) != 2 * len(kernels):
    raise UsageError(f'{refused}which has no hidden layer; use another, as --model=mlp')
  axes, before = [], 0
  for number, shape in enumerate(kernels):
    units = 0 if number == len(kernels) - 1 else int(shape[-1])
    axes.append(Axes(before, int(shape[-2]) // before if before else 1, units))
    before = units
  return tuple(axes)


def build(*, widths: str, shares: str, scaler: bool) -> Method:
  """The registry's entry point.

  Raises:
    UsageError: there are not as many shares as widths.
  """
  values = widths_lib.numbers(widths)
  parts = widths_lib.numbers(shares) or (1.0,) * len(values)
  if len(parts) != len(values):
    raise UsageError(
      f'--heterofl_shares={shares}: are {len(parts)}, and --heterofl_widths={widths} '
      f'{len(values)}; give one for each width'
    )
  return HeteroFL(values, [part / sum(parts) for part in parts], scaler)
