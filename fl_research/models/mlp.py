"""Multi-layer perceptron for tabular data: `hidden_layers` layers of `hidden_units`, rectified.

First weights: kernels Glorot uniform, biases 0.

Where x has columns of ids, each is a row of `embedding` numbers (`identifiers`).
"""

from fl_research.models import identifiers, layers
from fl_research.models.specification import ModelSpec


def build(
  spec: ModelSpec, *, hidden_units: int, hidden_layers: int, embedding: int
) -> layers.Layer:
  """The network."""
  first = identifiers.flat_input(spec, embedding)
  hidden = [layers.Dense(hidden_units, 'relu')] * hidden_layers
  return layers.sequential(first, *hidden, layers.Dense(spec.output_units))
