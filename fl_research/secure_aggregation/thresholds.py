"""How many neighbours and how many shares a session needs, by who may be corrupt or fall silent.

Bell, Bonawitz, Gascón, Lepoint, Raykova 2020, "Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead", section 3: of n clients, some work for a server that follows the
protocol but remembers all, and some fall silent. With k random neighbours each and a threshold t,
two things may go wrong for an honest client, and one for the sum, each with a probability that is
bounded by the number of clients times that of one of them:

    t or more of its neighbours are corrupt          hypergeometric, needs t large
    honest survivors fall apart into groups whose    a gap of k / 2 in the circle, needs k large
      sums the server learns one by one
    fewer than t holders of its shares are left      hypergeometric, needs t small

With all as neighbours nothing is left to chance: t is above the number of the corrupt, and at most
that of the survivors (Bonawitz et al. 2017, theorem 6.3).

Differences from the paper:
1. A client holds a share of its own secrets too, as in Bonawitz et al. 2017; so k neighbours hold
   with it k + 1 shares.
2. The tails are computed, where the paper also bounds them to show how k grows with log n.
"""

import functools
import math
from typing import NamedTuple, Optional

import numpy as np
from scipy import stats

from fl_research.secure_aggregation.parameters import LEAST_CLIENTS

SECURITY = 40
"""sigma: a session is insecure with probability 2^-sigma at the most."""

CORRECTNESS = 30
"""eta: a session cannot be finished with probability 2^-eta at the most."""


class Plan(NamedTuple):
  """What a session needs.

  Attributes:
    degree: k; None for all others.
    threshold: t.
  """

  degree: Optional[int]
  threshold: int


def insecure(clients: int, corrupt: int, degree: int, threshold: int) -> float:
  """A bound of the probability that some client's secrets are known to the corrupt."""
  return clients * float(stats.hypergeom.sf(threshold - 1, clients - 1, corrupt, degree))


def disconnected(clients: int, gone: int, degree: int) -> float:
  """A bound of the probability that the graph without so many of its clients falls apart.

  It does only if k / 2 or more in a row are gone, at two places of the circle.
  """
  gap = degree // 2
  return clients * math.prod(max(0, gone - i) / (clients - i) for i in range(gap))


def unfinished(clients: int, silent: int, degree: int, threshold):
  """A bound of the probability that too few holders of some client's shares are left.

  A float, or an array of them where `threshold` is an array.
  """
  left = clients - silent
  of_silent = stats.hypergeom.cdf(threshold - 1, clients - 1, left, degree)
  of_survivor = stats.hypergeom.cdf(threshold - 2, clients - 1, left - 1, degree)
  return silent * of_silent + left * of_survivor


@functools.cache
def plan(clients: int, corrupt: float = 0.2, silent: float = 0.2) -> Plan:
  """The fewest neighbours that will do, and the largest threshold with them.

  Args:
    clients: n.
    corrupt: the share of the clients that may work for the server.
    silent: the share of the clients that may fall silent.

  Raises:
    ValueError: there are fewer than `LEAST_CLIENTS`, or so many may be corrupt and silent that no
      threshold will do.
  """
  if clients < LEAST_CLIENTS:
    raise ValueError(f'{clients} clients; needed are {LEAST_CLIENTS}')
  corrupt_clients, silent_clients = math.ceil(corrupt * clients), math.ceil(silent * clients)
  gone = corrupt_clients + silent_clients
  for degree in range(2, clients - 1, 2):
    if disconnected(clients, gone, degree) > 2.0 ** -(SECURITY + 1):
      continue
    threshold = _largest_threshold(clients, silent_clients, degree)
    if insecure(clients, corrupt_clients, degree, threshold) <= 2.0 ** -(SECURITY + 1):
      return Plan(degree, threshold)
  return _all_with_all(clients, corrupt_clients, silent_clients)


def _largest_threshold(clients: int, silent: int, degree: int) -> int:
  """The largest with which a session can be finished but for 2^-CORRECTNESS; 2 at the least."""
  thresholds = np.arange(2, degree + 1)
  fine = unfinished(clients, silent, degree, thresholds) <= 2.0**-CORRECTNESS
  return int(thresholds[fine].max(initial=2))


def _all_with_all(clients: int, corrupt: int, silent: int) -> Plan:
  threshold = clients - silent
  if threshold <= max(1, corrupt):
    raise ValueError(
      f'{clients} clients, of whom {corrupt} may be corrupt and {silent} fall silent: no threshold '
      'is above the corrupt and at most the others'
    )
  return Plan(None, threshold)
