"""EMNIST whose labels are its images."""

import numpy as np

from fl_research import models
from fl_research.datasets import emnist_autoencoder
from fl_research.datasets.federated_data import ContiguousClients, FederatedData, Problem


def test_reconstruction_of_clients():
  x = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
  examples = {'x': x, 'y': np.zeros(3, np.int32)}
  clients = ContiguousClients(examples, np.array([0, 1, 3]), ['a', 'b'])
  data = emnist_autoencoder.reconstruction(
    FederatedData(clients, examples, Problem.CLASSIFICATION, 62, test_clients=clients)
  )
  for part in (data.train, data.test_clients):
    assert list(part.ids) == ['a', 'b'] and part.sizes.tolist() == [1, 2]
    np.testing.assert_allclose(part.examples(1)['y'], 1 - x[1:].reshape(2, 16))
  assert data.problem is Problem.RECONSTRUCTION
  assert models.ModelSpec.from_data(data).output_units == 16
