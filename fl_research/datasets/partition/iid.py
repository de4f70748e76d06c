"""IID: shuffled and dealt out evenly.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas 2017, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", section 3, "IID". Sizes differ by at most one.
"""

import numpy as np

from fl_research.datasets.partition import dealing


def assign(targets: np.ndarray, num_clients: int, generator: np.random.Generator) -> np.ndarray:
  """The owner of each example."""
  return dealing.by_sizes(dealing.even_sizes(len(targets), num_clients), generator)
