"""Reddi et al. 2021 (ICLR): the word LSTM for Stack Overflow.

An embedding of 96, an LSTM layer of 670, a dense layer of 96, a softmax over the vocabulary after
every word: 4,050,748 parameters for 10,000 words and four special tokens.

First weights: kernels Glorot uniform, the recurrent kernel orthogonal, biases 0 but for the forget
gate's 1, the embedding U(-0.05, 0.05).
"""

from fl_research.models import layers, recurrent
from fl_research.models.specification import ModelSpec


def build(spec: ModelSpec, *, embedding: int, units: int) -> layers.Layer:
  """The network."""
  return layers.sequential(
    layers.Embedding(spec.num_classes, embedding),
    recurrent.LSTM(units),
    layers.Dense(embedding),
    layers.Dense(spec.output_units),
  )
