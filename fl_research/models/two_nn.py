"""McMahan et al. 2017 (AISTATS), "MNIST 2NN": two hidden layers of 200 rectified linear units.

199,210 parameters on 28 x 28 images of 10 classes (section 3).

First weights: kernels Glorot uniform, biases 0.

Where x has columns of ids, each is a row of `embedding` numbers (`identifiers`); none of it counts
above.
"""

from fl_research.models import identifiers, layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec, *, embedding: int) -> layers.Layer:
  """The network."""
  return layers.sequential(
    identifiers.flat_input(spec, embedding),
    layers.Dense(200, 'relu'),
    layers.Dense(200, 'relu'),
    layers.Dense(spec.output_units),
  )
