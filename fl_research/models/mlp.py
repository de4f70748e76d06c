"""Multi-layer perceptron for tabular data: `hidden_layers` layers of `hidden_units`, rectified.

With `normalization` 'layer' each hidden layer is normalised before it is rectified, over all of an
example's units (Ba, Kiros and Hinton 2016).

First weights: kernels Glorot uniform, biases 0; factors of normalisation 1.

Where x has columns of ids, each is a row of `embedding` numbers (`identifiers`).
"""

from fl_research.models import identifiers, layers
from fl_research.models.specification import ModelSpec


def build(
  spec: ModelSpec, *, hidden_units: int, hidden_layers: int, normalization: str, embedding: int
) -> layers.Layer:
  """The network."""
  first = identifiers.flat_input(spec, embedding)
  hidden: list[layers.Layer] = [layers.Dense(hidden_units, 'relu')]
  if normalization == 'layer':
    hidden = [layers.Dense(hidden_units), layers.GroupNorm(1), layers.Activation('relu')]
  return layers.sequential(first, *hidden * hidden_layers, layers.Dense(spec.output_units))
