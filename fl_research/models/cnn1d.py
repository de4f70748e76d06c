"""A convolutional network over time, for windows of sensor signals.

Two convolutions over 9 moments (32 and 64 channels), each followed by the maximum over 2, then 128
units: 284,166 parameters for UCI HAR (128 moments of 9 signals, 6 activities). Not from a paper.

First weights: kernels Glorot uniform, biases 0.
"""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec) -> layers.Layer:
  """The network."""
  return layers.sequential(
    layers.Conv1D(32, 9, 'relu'),
    layers.MaxPool1D(),
    layers.Conv1D(64, 9, 'relu'),
    layers.MaxPool1D(),
    layers.Flatten(),
    layers.Dense(128, 'relu'),
    layers.Dense(spec.output_units),
  )
