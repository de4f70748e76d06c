"""When clients are ready by the clock, as real phones were.

A client is given one of the traced phones (`fl_research.datasets.device_traces`), each as likely,
and has it for the whole run. Bonawitz et al. 2019, "Towards Federated Learning at Scale", section
2.1: a device takes part while it is idle, charging and on an unmetered network; section 2.2: the
server waits for a round until enough devices have checked in.

Second 0 of the virtual clock is the midnight at which the traces' clocks read 0. Published traces
are whole days long, so that the time of day stays right when they begin anew.

Differences from the paper:
1. A phone that stops being ready is lost to the round, as in Bonawitz et al.; in the code of Yang
   et al. 2021, whose traces these are, it goes on with its work when it is ready again.
2. Intervals are half open here, [begin, end), and closed there: one of no length is none.
3. The server knows who is ready; phones do not check in at times of their own.
"""

import math
from typing import Union

import numpy as np

from fl_research import random_streams
from fl_research.datasets.device_traces import Intervals
from fl_research.registry import UsageError

DAYS_OF_PATIENCE = 100
"""How long a round waits for enough clients before the run is given up."""

_DAY = 86_400


class Readiness:
  """When each client is ready.

  Args:
    intervals: of the traced phones.
    num_clients: size of the population.
    seed: the run's seed.
  """

  def __init__(self, intervals: Intervals, num_clients: int, seed: int):
    self._intervals = intervals
    keys = [random_streams.key(seed, 'ready phone', client) for client in range(num_clients)]
    self.phones = np.array([key % intervals.count for key in keys], np.int64)

  def at(self, seconds: float) -> np.ndarray:
    """bool [clients]: who is ready at this time of the virtual clock."""
    ready = np.zeros(self._intervals.count, bool)
    ready[self._intervals.phone[self._elapsed(seconds) < self._intervals.duration]] = True
    return ready[self.phones]

  def until(self, clients: Union[int, np.ndarray], seconds: float) -> np.ndarray:
    """When clients stop being ready that are so at `seconds`: infinity for never.

    Args:
      clients: a position, or several.
      seconds: time of the virtual clock; given back for clients that are not ready then.
    """
    i, elapsed = self._intervals, self._elapsed(seconds)
    inside = elapsed < i.duration
    ends = math.floor(seconds) - elapsed + i.duration
    until = np.full(i.count, float(seconds))
    until[i.phone[inside]] = np.where(i.duration >= i.period, np.inf, ends)[inside]
    return until[self.phones[clients]]

  def earliest(self, seconds: float, wanted: int, among: np.ndarray) -> float:
    """The first time, from `seconds` on, at which so many clients are ready at once.

    Args:
      seconds: time of the virtual clock.
      wanted: how many.
      among: bool [clients]: who counts.

    Raises:
      UsageError: it does not come in the next `DAYS_OF_PATIENCE` days.
    """
    most = int(np.count_nonzero(self.at(seconds) & among))
    if most >= wanted:
      return seconds
    weights = np.bincount(self.phones[among], minlength=self._intervals.count)
    today = math.floor(seconds)
    for start in range(today, today + DAYS_OF_PATIENCE * _DAY, _DAY):
      times, ready = self._changes(start, start + _DAY, weights)
      enough = np.flatnonzero(ready >= wanted)
      if len(enough):
        return float(times[enough[0]])
      most = max(most, int(ready.max(initial=0)))
    raise UsageError(
      f'--availability=trace: of {np.count_nonzero(among)} clients no more than {most} are ready '
      f'at once in {DAYS_OF_PATIENCE} days; --clients_per_round must not be above that'
    )

  def _elapsed(self, seconds: float) -> np.ndarray:
    """Whole seconds since each interval last began: int64 [intervals]."""
    return (math.floor(seconds) - self._intervals.begin) % self._intervals.period

  def _changes(self, start: int, end: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times in (start, end] at which phones begin or end being ready, and who is so from then on.

    Args:
      start, end: seconds.
      weights: what each phone counts: int64 [phones].

    Returns:
      Ascending times, int64 [times], and the weight of the phones that are ready then.
    """
    i = self._intervals
    begins, of_begin = _recurrences(i.begin, i.period, start, end)
    ends, of_end = _recurrences(i.begin + i.duration, i.period, start, end)
    weight = weights[i.phone]
    times, place = np.unique(np.concatenate([begins, ends]), return_inverse=True)
    steps = np.concatenate([weight[of_begin], -weight[of_end]])
    before = weight[self._elapsed(start) < i.duration].sum()
    change = np.bincount(place, steps, minlength=len(times))
    return times, before + np.cumsum(change).astype(np.int64)


def _recurrences(
  first: np.ndarray, period: np.ndarray, start: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
  """The times first + k period in (start, end] of each interval, and the interval of each."""
  before = (start - first) // period
  counts = (end - first) // period - before
  interval = np.repeat(np.arange(len(first)), counts)
  nth = np.arange(len(interval)) - np.repeat(np.cumsum(counts) - counts, counts)
  return first[interval] + (before[interval] + 1 + nth) * period[interval], interval
