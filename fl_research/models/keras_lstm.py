"""Keras' LSTM by the library's own kernel, which takes half the time (see `recurrent`)."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from fl_research.models import recurrent


def is_plain(layer: tf.keras.layers.Layer) -> bool:
  """Whether a layer is an LSTM as the paper has it: what the library's kernel computes."""
  if type(layer) is not tf.keras.layers.LSTM:
    return False
  config = layer.get_config()
  functions = config['activation'], config['recurrent_activation']
  others = ('dropout', 'recurrent_dropout', 'return_state', 'stateful', 'unroll', 'time_major')
  return (
    functions == ('tanh', 'sigmoid')
    and config['use_bias']
    and not any(config[name] for name in others)
  )


def call_of(layer: tf.keras.layers.LSTM) -> Callable[..., Any]:
  """What `layer.call` does, where nothing is masked and the state begins at zero; else itself."""
  original = layer.call

  def call(inputs, mask=None, training=None, initial_state=None):
    if mask is not None or initial_state is not None or inputs.shape[1] is None:
      return original(inputs, mask=mask, training=training, initial_state=initial_state)
    cell = layer.cell
    x = tf.reverse(inputs, [1]) if layer.go_backwards else inputs
    h = recurrent.LSTM(layer.units)((cell.kernel, cell.recurrent_kernel, cell.bias), x)
    return h if layer.return_sequences else h[:, -1]

  return call
