"""Quantity: clients of very different size whose examples are nevertheless IID.

Of no paper in particular. Sizes are proportional to exp(σ z_k), z_k ~ N(0, 1) (log-normal), or,
when power > 0, to r^-power for the client of rank r (power law), ranks being dealt at random. Every
client has at least one example.
"""

import numpy as np

from fl_research.datasets.partition import dealing


def assign(
  targets: np.ndarray,
  num_clients: int,
  generator: np.random.Generator,
  sigma: float,
  power: float,
) -> np.ndarray:
  """The owner of each example."""
  if power > 0:
    shares = generator.permutation(np.arange(1, num_clients + 1) ** -float(power))
  else:
    exponents = sigma * generator.standard_normal(num_clients)
    shares = np.exp(exponents - exponents.max())  # a large sigma must not overflow
  sizes = 1 + dealing.apportion(len(targets) - num_clients, shares, generator)
  return dealing.by_sizes(sizes, generator)
