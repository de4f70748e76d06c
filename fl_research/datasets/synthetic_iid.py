"""Synthetic IID: the set of FedProx on which all clients are alike but for their size.

Li et al. 2020 ("Federated optimization in heterogeneous networks", section 5.1), as in the
authors' generator of this set (which draws in another order than that of Synthetic(alpha, beta)):
one W ~ N(0, 1) and b ~ N(0, 1) for all devices, x ~ N(0, diag(j^-1.2)). Sizes, the 90/10 split and
the seeding are those of `fl_research.datasets.synthetic`.
"""

import numpy as np

from fl_research.datasets import synthetic
from fl_research.datasets.federated_data import DatasetOptions, FederatedData


def load(options: DatasetOptions) -> FederatedData:
  """Generates synthetic IID for `options.num_clients` devices; shapes as in `synthetic.load`.

  Raises:
    UsageError: the number of clients is not positive, or too large for the memory.
  """
  generator = np.random.RandomState(options.seed % 2**32)
  sizes = synthetic.draw_sizes(generator, options.num_clients)
  weights = generator.normal(0, 1, (synthetic.NUM_FEATURES, synthetic.NUM_CLASSES))
  bias = generator.normal(0, 1, synthetic.NUM_CLASSES)
  centre = np.zeros(synthetic.NUM_FEATURES)
  devices = [synthetic.draw_device(generator, size, centre, weights, bias) for size in sizes]
  return synthetic.split_devices(devices, options.seed)
