"""McMahan et al. 2017 (AISTATS), section 3: the MNIST CNN.

Convolution 5 x 5 to 32 channels, maximum over 2 x 2, convolution 5 x 5 to 64, maximum over 2 x 2,
512 units, softmax. The paper's 1,663,370 parameters (28 x 28 images of one channel, 10 classes)
come out with SAME padding only.

First weights: kernels Glorot uniform, biases 0.
"""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec) -> layers.Layer:
  """The network."""
  return layers.sequential(
    *layers.image_channels(spec.input_shape),
    layers.Conv2D(32, 5, 'relu'),
    layers.MaxPool2D(),
    layers.Conv2D(64, 5, 'relu'),
    layers.MaxPool2D(),
    layers.Flatten(),
    layers.Dense(512, 'relu'),
    layers.Dense(spec.output_units),
  )
