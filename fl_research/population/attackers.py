"""Who attacks: the same clients in every round, drawn from the run's seed."""

import numpy as np

from fl_research import random_streams


def draw_attackers(num_clients: int, fraction: float, seed: int) -> tuple[int, ...]:
  """Positions of the attackers, ascending.

  Args:
    num_clients: number of clients that can be drawn for training.
    fraction: share of them that attacks, in [0, 1); their number is rounded to the nearest.
    seed: the run's seed.

  Raises:
    ValueError: the fraction is outside its domain.
  """
  if not 0 <= fraction < 1:
    raise ValueError(f'fraction must be in [0, 1), is {fraction}')
  generator = random_streams.generator(seed, 'attackers')
  drawn = generator.choice(num_clients, round(fraction * num_clients), replace=False)
  return tuple(int(position) for position in np.sort(drawn))
