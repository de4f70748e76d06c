"""FedBuff (Nguyen et al. 2022, algorithm 1) and FedAsync (Xie et al. 2019, algorithm 1) in NumPy.

Events first, by a priority queue and one at a time; then weights, version by version.
"""

from collections.abc import Callable
import heapq
from typing import NamedTuple

import numpy as np

from tests.oracles import fed_avg


class Used(NamedTuple):
  """One result as the server uses it."""

  client: int
  start: int
  step: int

  @property
  def staleness(self):
    return self.step - self.start


def schedule(
  steps: int,
  concurrency: int,
  size: int,
  draw: Callable,
  duration: Callable,
) -> tuple[list[list[Used]], list[float]]:
  """The results of each step in the order of their arrival, and the steps' times.

  Args:
    steps: how many steps the server makes.
    concurrency: clients at work at a time.
    size: K.
    draw: (busy clients, how many, version, which draw of this version) -> clients.
    duration: (client, which work of the run it is) -> seconds; no two may end at once.
  """
  queue: list[tuple[float, int, int]] = []
  waiting: list[Used] = []
  rounds, times, begun, version, draws = [], [], 0, 0, 0

  def begin(now, count):
    nonlocal begun, draws
    busy = {client for _, client, _ in queue} | {used.client for used in waiting}
    for client in draw(busy, count, version, draws):
      heapq.heappush(queue, (now + duration(client, begun), client, version))
      begun += 1
    draws += 1

  begin(0.0, concurrency)
  while len(rounds) < steps:
    now, client, start = heapq.heappop(queue)
    waiting.append(Used(client, start, version))
    if len(waiting) == size:
      rounds.append([used._replace(step=version) for used in waiting])
      times.append(now)
      waiting = []
      version, draws = version + 1, 0
    begin(now, concurrency - len(queue))
  return rounds, times


def fed_buff(weights, rounds, data_of, rate, server_rate, factor):
  """Global weights after every step; x = x + η Σ p_k s(τ_k) Δ_k, p_k in proportion to n_k.

  Args:
    weights: of version 0.
    rounds: the results of each step.
    data_of: (client, version it was given) -> D.
    rate, server_rate: of the clients' steps and of the server's.
    factor: s.
  """
  versions = [[np.asarray(w, np.float64) for w in weights]]
  for used in rounds:
    n = sum(int(data_of(each.client, each.start)['num_examples']) for each in used)
    x = versions[-1]
    for each in used:
      data, origin = data_of(each.client, each.start), versions[each.start]
      trained = fed_avg.local_sgd(origin, data, rate)
      share = server_rate * factor(each.staleness) * int(data['num_examples']) / n
      x = [w + share * (new - old) for w, new, old in zip(x, trained, origin)]
    versions.append(x)
  return versions[1:]


def fed_async(weights, rounds, data_of, rate, alpha, factor):
  """Global weights after every step; x = (1 - α s(τ)) x + α s(τ) x_new, one result at a time."""
  versions = [[np.asarray(w, np.float64) for w in weights]]
  for [each] in rounds:
    trained = fed_avg.local_sgd(versions[each.start], data_of(each.client, each.start), rate)
    share = alpha * factor(each.staleness)
    versions.append([(1 - share) * w + share * new for w, new in zip(versions[-1], trained)])
  return versions[1:]
