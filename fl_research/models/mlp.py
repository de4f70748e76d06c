"""Multi-layer perceptron for tabular data: `hidden_layers` layers of `hidden_units`, rectified."""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec, *, hidden_units: int, hidden_layers: int) -> layers.Layer:
  """The network."""
  hidden = [layers.Dense(hidden_units, 'relu')] * hidden_layers
  return layers.sequential(layers.Flatten(), *hidden, layers.Dense(spec.output_units))
