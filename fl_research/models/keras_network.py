"""A user's Keras model as a pure function of its weights.

Keras' layers read their weights from attributes: `self.kernel`, a variable. While such a model is
called here, every attribute that is one of its variables is a tensor instead, which the caller
gave, so that the layers' own code computes with these weights and no variable is read. (TFF's
bridge has Keras build its layers anew, hands out tensors in the order in which variables are asked
for, and falls out of step where layers are built in another order.) In the same way a layer's
random generator is one whose draws are a pure function of the step's seed.

A plain LSTM is computed by the library's own kernel (`keras_lstm`).

What cannot be so is refused when the model is built, by layer: see `_refuse` and `purity`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import threading
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from fl_research.datasets import files
from fl_research.models import columns, keras_lstm, layers, outputs, purity
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError

_RANDOM_LAYERS = tf.keras.__internal__.layers.BaseRandomLayer
_GENERATOR = '_random_generator'
_LISTS_OF_KERAS = ('_trainable_weights', '_non_trainable_weights')
_OTHER_TYPES = ('float16', 'bfloat16', 'float64')
_GPU_KERNEL = '_could_use_gpu_kernel'


class StatelessDraws:
  """What Keras' layers draw from, as a pure function of a seed; by the names of Keras' generator.

  Every draw of a call has a seed of its own. Without one, a layer that draws outside training gets
  the same numbers always.
  """

  def __init__(self, seed: Optional[tf.Tensor]):
    self._seed = seed
    self._count = 0

  def make_seed_for_stateless_op(self) -> tf.Tensor:
    self._count += 1
    seed = tf.zeros([2], tf.int32) if self._seed is None else self._seed
    return tf.random.experimental.stateless_fold_in(seed, self._count)

  def dropout(self, inputs, rate, noise_shape=None):
    seed = self.make_seed_for_stateless_op()
    return tf.nn.experimental.stateless_dropout(inputs, rate, seed, noise_shape=noise_shape)

  def random_normal(self, shape, mean=0.0, stddev=1.0, dtype=None, nonce=None):
    seed = self.make_seed_for_stateless_op()
    return tf.random.stateless_normal(shape, seed, mean, stddev, dtype or tf.float32)

  def truncated_normal(self, shape, mean=0.0, stddev=1.0, dtype=None, nonce=None):
    seed = self.make_seed_for_stateless_op()
    return tf.random.stateless_truncated_normal(shape, seed, mean, stddev, dtype or tf.float32)

  def random_uniform(self, shape, minval=0.0, maxval=None, dtype=None, nonce=None):
    seed = self.make_seed_for_stateless_op()
    maxval = 1.0 if maxval is None else maxval
    return tf.random.stateless_uniform(shape, seed, minval, maxval, dtype or tf.float32)


class KerasNetwork(layers.Layer):
  """A built Keras model by the interface of our layers; made by `network`.

  Args:
    model: the model; it may be called while no other thread calls it here.
    spec: the data it is for.
  """

  kind = 'keras'

  def __init__(self, model: tf.keras.Model, spec: ModelSpec):
    self._model = model
    self._spec = spec
    named = named_variables(model)
    self._names = tuple(named)
    self._variables = tuple(named.values())
    trainable = {id(variable) for variable in model.trainable_variables}
    self._untrained = tuple(id(variable) not in trainable for variable in self._variables)
    self._initial = [np.asarray(variable.numpy()) for variable in self._variables]
    self._lock = threading.RLock()
    self._traced = purity.NOTHING

  @property
  def weight_names(self):
    return self._names

  @property
  def needs_seed(self):
    return self._traced.draws

  @property
  def pools(self):
    return self._traced.pools

  @property
  def untrained(self):
    return self._untrained

  def initialise(self, shape, generator):
    return list(self._initial), shape

  @tf.autograph.experimental.do_not_convert
  def __call__(self, weights, x, seed=None):
    if tf.executing_eagerly():
      return tf.function(self._output, autograph=False)(tuple(weights), x, seed)
    return self._output(weights, x, seed)

  def keras(self, weights, x, name):
    raise NotImplementedError('a Keras model of its own is its twin; see keras_model')

  def keras_model(self, weights, shape, dtype):
    """The user's model itself, with these weights."""
    for variable, weight in zip(self._variables, weights, strict=True):
      variable.assign(weight)
    return self._model

  def examine(self, flag: str) -> None:
    """Traces the model once each way, and refuses what is no pure function."""
    self._traced = purity.examine(flag, self, self._initial, self._spec)

  def adds_loss(self) -> str:
    """The layer, in words, that added a loss of its own in the last call; empty if none did."""
    adding = [layer for layer in _layers(self._model) if layer.losses]
    return _who(adding[-1]) if adding else ''

  def owner_of(self, node: str) -> str:
    """`layer "x" (Kind): `, of the layer in whose name scope an operation lies; empty if none."""
    scopes = set(node.split('/'))
    inside = [layer for layer in _layers(self._model) if layer.name in scopes]
    return _who(inside[-1]) if inside else ''

  def _output(
    self, weights: Sequence[Any], x: tf.Tensor, seed: Optional[tf.Tensor] = None
  ) -> tf.Tensor:
    """The raw output: in front of a last softmax or sigmoid where the problem has one."""
    tensors = [tf.convert_to_tensor(weight) for weight in weights]
    pairs = {id(v): t for v, t in zip(self._variables, tensors, strict=True)}
    given = columns.to_inputs(self._model, self._spec, x)
    with self._lock, _without_variables(self._model, pairs, StatelessDraws(seed)):
      answers = self._model(given, training=seed is not None)
    return outputs.raw(answers, self._spec.problem)


def network(flag: str, model: tf.keras.Model, spec: ModelSpec) -> KerasNetwork:
  """A Keras model as a network of ours.

  Args:
    flag: `--model=…`, for messages.
    model: any that Keras can call.
    spec: the data it is for.

  Raises:
    UsageError: it does not fit the data, or cannot be a pure function of its weights.
  """
  try:
    columns.check(flag, model, spec)
    if not model.built or not hasattr(model, 'inputs') or model.inputs is None:
      model(tf.zeros([1, *spec.input_shape], spec.x_dtype), training=False)
  except UsageError:
    raise
  except Exception as error:  # what Keras, or a layer of the user's, says of its inputs
    raise UsageError(
      f'{flag}: cannot be called with {spec.describe()} ({files.one_line(error)[:300]})'
    ) from error
  for layer in _layers(model):
    _refuse(flag, layer)
  found = KerasNetwork(model, spec)
  if all(found.untrained):
    raise UsageError(f'{flag}: has no weights to train')
  found.examine(flag)
  return found


def _layers(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
  """The model, and all layers in it, those around others before them."""
  return list(model._flatten_layers(include_self=True, recursive=True))


def _who(layer: tf.keras.layers.Layer) -> str:
  return f'layer "{layer.name}" ({type(layer).__name__}): '


def _refuse(flag: str, layer: tf.keras.layers.Layer) -> None:
  """Raises for what a layer does besides computing its output from its inputs and weights."""
  problems: Mapping[str, Callable[[], bool]] = {
    'keeps moving averages, which differ from client to client; use GroupNormalization or '
    'LayerNormalization in its place, or freeze it (trainable = False)': lambda: (
      isinstance(layer, tf.keras.layers.BatchNormalization) and layer.trainable
    ),
    'keeps a state from batch to batch; leave stateful=True out': lambda: (
      isinstance(layer, tf.keras.layers.RNN) and layer.stateful
    ),
    purity.ADDS_LOSS: lambda: bool(
      layer._callable_losses or getattr(layer, '_activity_regularizer', None)
    ),
    'constrains its weights; leave constraints out': lambda: any(
      variable.constraint is not None for variable in layer._trainable_weights
    ),
    'does not compute in float32; leave policies and other types out': lambda: (
      layer.compute_dtype in _OTHER_TYPES
    ),
  }
  for what, has in problems.items():
    if has():
      raise UsageError(f'{flag}: {_who(layer)}{what}')


def named_variables(model: tf.keras.Model) -> dict[str, tf.Variable]:
  """A model's variables, those of a layer together, as `<layer>/<weight>`.

  Layers of a model have different names, models within it may have the same layers; so what stands
  before is the layer that the model itself has.
  """
  named: dict[str, tf.Variable] = {}
  seen: set[int] = set()
  for layer in [*model.layers, model]:
    for variable in layer.weights:
      if id(variable) not in seen:
        seen.add(id(variable))
        own = variable.name.partition(':')[0].removeprefix(f'{layer.name}/')
        key = f'{layer.name}/{own}'
        while key in named:
          key += '_'
        named[key] = variable
  return named


@contextlib.contextmanager
def _without_variables(
  model: tf.keras.Model, tensors: Mapping[int, tf.Tensor], draws: StatelessDraws
) -> Iterator[None]:
  """Puts tensors in the place of variables (by their id), and a generator in that of all others."""
  changed: list[tuple[dict[str, Any], str, Any]] = []
  for layer in _layers(model):
    attributes = vars(layer)
    for name, value in list(attributes.items()):
      new = _replaced(layer, name, value, tensors, draws)
      if new is not value:
        changed.append((attributes, name, value))
        attributes[name] = new
  fast = [layer for layer in _layers(model) if keras_lstm.is_plain(layer)]
  for layer in fast:
    vars(layer)['call'] = keras_lstm.call_of(layer)
  try:
    yield
  finally:
    for layer in fast:
      del vars(layer)['call']
    for attributes, name, value in changed:
      attributes[name] = value


def _replaced(
  layer: Any, name: str, value: Any, tensors: Mapping[int, tf.Tensor], draws: StatelessDraws
) -> Any:
  """What an attribute is while the model is called."""
  if id(value) in tensors:
    return tensors[id(value)]
  if isinstance(value, (list, tuple)) and name not in _LISTS_OF_KERAS:
    new = [tensors.get(id(each), each) for each in value]
    return new if any(a is not b for a, b in zip(new, value)) else value
  if name == _GENERATOR and isinstance(layer, _RANDOM_LAYERS):
    return draws
  if name == _GPU_KERNEL:
    return False  # else Keras builds two programs, for a GPU and for none, to choose when it runs
  if tf.is_tensor(value) and hasattr(value, 'numpy') and not isinstance(value, tf.Variable):
    return tf.constant(value.numpy())  # graphs cannot read what is computed outside of them
  return value
