"""Small layers that are pure functions of (weights, x), each with its twin among Keras's layers.

A layer is a frozen description. It makes its first weights (`initialise`, with Keras's default
distributions), applies them as raw TensorFlow operations without any variable (`__call__`), and
builds the stock Keras layer that holds the same weights (`keras`). One description of a network
thus gives the function that is trained in a federated way and the file that
`tf.keras.models.load_model` opens.

Shapes written below leave out the batch axis, except where n is written. Weights are passed as a
flat sequence; a container cuts it by the number of names of each of its parts.
"""

from fl_research.models.layers.base import Layer, Shape, Weights
from fl_research.models.layers.containers import Residual, Sequential, sequential
from fl_research.models.layers.weighted import Dense, Embedding, GroupNorm
from fl_research.models.layers.weightless import (
  Activation,
  Dropout,
  Flatten,
  image_channels,
  Reshape,
)
from fl_research.models.layers.windows import (
  Conv1D,
  Conv2D,
  GlobalAveragePool2D,
  MaxPool1D,
  MaxPool2D,
)

__all__ = [
  'Activation',
  'Conv1D',
  'Conv2D',
  'Dense',
  'Dropout',
  'Embedding',
  'Flatten',
  'GlobalAveragePool2D',
  'GroupNorm',
  'Layer',
  'MaxPool1D',
  'MaxPool2D',
  'Reshape',
  'Residual',
  'Sequential',
  'Shape',
  'Weights',
  'image_channels',
  'sequential',
]
