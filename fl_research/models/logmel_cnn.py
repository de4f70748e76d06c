"""A small convolutional network for log-mel spectrograms.

Three 3 x 3 convolutions (32, 64 and 64 channels), each followed by the maximum over 2 x 2, then
128 units: 302,922 parameters for one second of 41 moments and 40 bands, 10 words. The maxima leave
time and frequency apart, for a word is told by when which band sounds. Not from a paper.

First weights: kernels Glorot uniform, biases 0.
"""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec) -> layers.Layer:
  """The network."""
  return layers.sequential(
    *layers.image_channels(spec.input_shape),
    layers.Conv2D(32, 3, 'relu'),
    layers.MaxPool2D(),
    layers.Conv2D(64, 3, 'relu'),
    layers.MaxPool2D(),
    layers.Conv2D(64, 3, 'relu'),
    layers.MaxPool2D(),
    layers.Flatten(),
    layers.Dense(128, 'relu'),
    layers.Dense(spec.output_units),
  )
