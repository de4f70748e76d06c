"""Multi-layer perceptron for tabular data: `hidden_layers` layers of `hidden_units`, rectified.

First weights: kernels Glorot uniform, biases 0.
"""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec, *, hidden_units: int, hidden_layers: int) -> layers.Layer:
  """The network."""
  hidden = [layers.Dense(hidden_units, 'relu')] * hidden_layers
  return layers.sequential(layers.Flatten(), *hidden, layers.Dense(spec.output_units))
