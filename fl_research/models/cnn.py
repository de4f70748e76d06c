"""McMahan et al. 2017 (AISTATS), section 3: the MNIST CNN.

Convolution 5 x 5 to 32 channels, maximum over 2 x 2, convolution 5 x 5 to 64, maximum over 2 x 2,
512 units, softmax. The paper's 1,663,370 parameters (28 x 28 images of one channel, 10 classes)
come out with SAME padding only.

With `normalization` 'group' each convolution's channels are normalised in eight groups before they
are rectified (Wu and He 2018); the paper's network has none.

First weights: kernels Glorot uniform, biases 0; factors of normalisation 1.
"""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec

_GROUPS = 8


def build(spec: ModelSpec, *, normalization: str) -> layers.Layer:
  """The network."""
  return layers.sequential(
    *layers.image_channels(spec.input_shape),
    *_convolution(32, normalization),
    layers.MaxPool2D(),
    *_convolution(64, normalization),
    layers.MaxPool2D(),
    layers.Flatten(),
    layers.Dense(512, 'relu'),
    layers.Dense(spec.output_units),
  )


def _convolution(filters: int, normalization: str) -> list[layers.Layer]:
  """A convolution, normalised where that is asked for, and rectified."""
  if normalization == 'none':
    return [layers.Conv2D(filters, 5, 'relu')]
  return [layers.Conv2D(filters, 5), layers.GroupNorm(_GROUPS), layers.Activation('relu')]
