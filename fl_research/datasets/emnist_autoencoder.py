"""EMNIST by writer for an autoencoder: the label of an image is the image.

Images are inverted, to 1 - pixels, and flattened, as in the EMNIST autoencoder task of Reddi et al.
2021, whose mean squared error is only comparable on these inputs.
"""

import dataclasses

import numpy as np

from fl_research.datasets import emnist
from fl_research.datasets.federated_data import (
  Clients,
  DatasetOptions,
  Examples,
  FederatedData,
  Problem,
)


def load(options: DatasetOptions) -> FederatedData:
  """Loads EMNIST: x and y float32 [784], 1 where there is ink; errors as `emnist.load`."""
  return reconstruction(emnist.load(options))


def reconstruction(data: FederatedData) -> FederatedData:
  """The data set with images for labels."""
  return dataclasses.replace(
    data,
    train=_Reconstructed(data.train),
    test=_inverted(data.test),
    test_clients=None if data.test_clients is None else _Reconstructed(data.test_clients),
    problem=Problem.RECONSTRUCTION,
    num_classes=1,
  )


class _Reconstructed(Clients):
  """Clients whose labels are their inputs, inverted and flat."""

  def __init__(self, clients: Clients):
    self._clients = clients

  @property
  def ids(self):
    return self._clients.ids

  @property
  def sizes(self):
    return self._clients.sizes

  def examples(self, position):
    return _inverted(self._clients.examples(position))


def _inverted(examples: Examples) -> Examples:
  """x = y = 1 - pixels, flat, so that the background of a character is 0."""
  pixels = np.asarray(examples['x'])
  x = 1 - pixels.reshape(len(pixels), -1)
  return {'x': x, 'y': x}
