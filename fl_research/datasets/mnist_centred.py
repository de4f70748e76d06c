"""MNIST with pixels from -0.5 to 0.5, as TensorFlow's MNIST tutorial of 2016 had them."""

import dataclasses

import numpy as np

from fl_research.datasets import mnist
from fl_research.datasets.federated_data import DatasetOptions, Examples, PooledData


def load(options: DatasetOptions) -> PooledData:
  """Loads MNIST: x float32 [28, 28, 1] in [-0.5, 0.5], y int32 0..9; errors as `mnist.load`."""
  return centred(mnist.load(options))


def centred(data: PooledData) -> PooledData:
  """The data set with pixels less by a half."""
  return dataclasses.replace(data, train=_shifted(data.train), test=_shifted(data.test))


def _shifted(examples: Examples) -> Examples:
  return {**examples, 'x': np.asarray(examples['x']) - np.float32(0.5)}
