"""Softmax regression: one dense layer (logistic or linear regression for one output).

z = x W + b. On 28 x 28 images of 10 classes it has 7,850 parameters, the convex model of most
papers' first experiments (e.g. Li et al. 2020, FedProx, MNIST).

First weights: the kernel Glorot uniform, biases 0.
"""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec) -> layers.Layer:
  """The network."""
  return layers.sequential(layers.Flatten(), layers.Dense(spec.output_units))
