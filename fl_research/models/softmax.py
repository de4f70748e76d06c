"""Softmax regression: one dense layer (logistic or linear regression for one output).

z = x W + b. On 28 x 28 images of 10 classes it has 7,850 parameters, the convex model of most
papers' first experiments (e.g. Li et al. 2020, FedProx, MNIST).

First weights: the kernel Glorot uniform, biases 0.

Where x has columns of ids, each is a row of `embedding` numbers (`identifiers`).
"""

from fl_research.models import identifiers, layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec, *, embedding: int) -> layers.Layer:
  """The network."""
  return layers.sequential(identifiers.flat_input(spec, embedding), layers.Dense(spec.output_units))
