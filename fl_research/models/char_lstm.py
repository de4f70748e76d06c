"""McMahan et al. 2017 (AISTATS), section 3: the character LSTM for Shakespeare.

An embedding of 8, two LSTM layers of 256, a softmax over the vocabulary after every character.
820,522 parameters for the vocabulary of 90 that TFF uses. The paper gives 866,578, which no
vocabulary size yields for this architecture (796,672 + 265 V).

First weights: kernels Glorot uniform, recurrent kernels orthogonal, biases 0 but for the forget
gates' 1, the embedding U(-0.05, 0.05).
"""

from fl_research.models import layers as layers_lib
from fl_research.models import recurrent
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec, *, embedding: int, units: int, layers: int) -> layers_lib.Layer:
  """The network."""
  return layers_lib.sequential(
    layers_lib.Embedding(spec.num_classes, embedding),
    *[recurrent.LSTM(units)] * layers,
    layers_lib.Dense(spec.output_units),
  )
