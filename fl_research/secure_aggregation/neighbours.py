"""Who masks with whom: all with all, or a graph in which each client has k neighbours.

Bell, Bonawitz, Gascón, Lepoint, Raykova 2020, "Secure Single-Server Aggregation with
(Poly)Logarithmic Overhead", section 3: the clients stand around a circle in an order drawn at
random, and each has the k / 2 to either side as neighbours (the graph of Harary 1962 that keeps
together when any k - 1 are taken out). Where k is at least one less than there are clients, all
are neighbours of all, as in Bonawitz et al. 2017.
"""

from collections.abc import Collection
import hashlib

from fl_research.secure_aggregation.parameters import Parameters


def graph(clients: Collection[int], parameters: Parameters) -> dict[int, list[int]]:
  """Each client's neighbours, ascending; a function of clients, session and round alone."""
  n, k = len(clients), parameters.degree
  if k is None or k >= n - 1:
    everyone = sorted(clients)
    return {u: [v for v in everyone if v != u] for u in everyone}
  circle = sorted(clients, key=lambda client: _place(client, parameters))
  sides = [side for distance in range(1, k // 2 + 1) for side in (-distance, distance)]
  return {u: sorted(circle[(i + side) % n] for side in sides) for i, u in enumerate(circle)}


def _place(client: int, parameters: Parameters) -> bytes:
  drawn = b'%b/%d/%d' % (parameters.session, parameters.round_num, client)
  return hashlib.sha256(drawn).digest()


def sign(client: int, neighbour: int) -> int:
  """Whether a client adds (1) or subtracts (-1) the mask that it has with a neighbour."""
  return 1 if client > neighbour else -1
