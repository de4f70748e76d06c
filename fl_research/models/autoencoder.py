"""Reddi et al. 2021 (ICLR): the bottleneck autoencoder for EMNIST, after Hinton and Salakhutdinov.

Dense layers of 1000, 500, 250, 30, 250, 500, 1000 and as many units as the input has numbers;
sigmoid but for the linear 30. 2,837,314 parameters on 784 numbers, which lie in 0..1.

First weights: kernels Glorot uniform, biases 0.
"""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec

_SIGMOID_BEFORE, _BOTTLENECK, _SIGMOID_AFTER = (1000, 500, 250), 30, (250, 500, 1000)


def build(spec: ModelSpec) -> layers.Layer:
  """The network."""
  return layers.sequential(
    layers.Flatten(),
    *(layers.Dense(units, 'sigmoid') for units in _SIGMOID_BEFORE),
    layers.Dense(_BOTTLENECK),
    *(layers.Dense(units, 'sigmoid') for units in _SIGMOID_AFTER),
    layers.Dense(spec.output_units, 'sigmoid'),
    *([layers.Reshape(spec.input_shape)] if len(spec.input_shape) > 1 else []),
  )
