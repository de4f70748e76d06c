"""Reddi et al. 2021 (ICLR, "Adaptive federated optimization"): the CNN for EMNIST characters.

Convolution 3 x 3 to 32 channels, 3 x 3 to 64, both without padding, maximum over 2 x 2, 128 units,
softmax: 1,206,590 parameters for 62 classes (1,199,882 for 10).

The authors' code drops a quarter of the numbers after the maximum and half of the 128 units. That
is the hyperparameter `dropout`, off by default: it needs a seed at every training step (see
`Model.needs_seed`), which TFF's own processes have no place for.

First weights: kernels Glorot uniform, biases 0.
"""

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec, *, dropout: bool) -> layers.Layer:
  """The network."""
  return layers.sequential(
    *layers.image_channels(spec.input_shape),
    layers.Conv2D(32, 3, 'relu', 'VALID'),
    layers.Conv2D(64, 3, 'relu', 'VALID'),
    layers.MaxPool2D(),
    *([layers.Dropout(0.25)] if dropout else []),
    layers.Flatten(),
    layers.Dense(128, 'relu'),
    *([layers.Dropout(0.5)] if dropout else []),
    layers.Dense(spec.output_units),
  )
