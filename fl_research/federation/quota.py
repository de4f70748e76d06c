"""How often something may happen in a while, and how often it would have happened besides."""

from collections.abc import Callable
import threading
import time


class Quota:
  """So many events in a window of time, which begins with the first of them; the rest are counted.

  Args:
    most: events in a window.
    seconds: how long a window is.
    clock: the time in seconds.
  """

  def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic):
    self._most, self._seconds, self._clock = most, seconds, clock
    self._lock = threading.Lock()
    self._begin = clock()
    self._taken = self._missed = 0

  def take(self) -> bool:
    """Whether one more event is within the quota; else it is counted as missed."""
    with self._lock:
      now = self._clock()
      if now >= self._begin + self._seconds:
        self._begin, self._taken = now, 0
      within = self._taken < self._most
      self._taken += within
      self._missed += not within
      return within

  def missed(self, now: bool = False) -> int:
    """How many were missed since this was last asked; 0 before the window has ended.

    Args:
      now: whether not to wait for that.
    """
    with self._lock:
      if not now and self._clock() < self._begin + self._seconds:
        return 0
      missed, self._missed = self._missed, 0
      return missed
