"""Where the rows of a source go: every client's own rows one after another."""

import numpy as np

from fl_research.importing.source import Part, Source
from fl_research.registry import UsageError


class Places:
  """The next free row of every client, in training and in test examples.

  Args:
    source: whose `counts` say how many rows each client has.
  """

  def __init__(self, source: Source):
    self._ids = source.counts.ids
    sizes = {False: source.counts.train, True: source.counts.test}
    self._ends = {test: np.cumsum(own, dtype=np.int64) for test, own in sizes.items()}
    self._next = {test: ends - sizes[test] for test, ends in self._ends.items()}

  def take(self, part: Part) -> tuple[int, int]:
    """The first row of a part, and the row after its last.

    Raises:
      UsageError: the client has more rows than were counted.
    """
    following = self._next[part.test]
    first = int(following[part.client])
    last = first + len(part.examples['y'])
    if last > self._ends[part.test][part.client]:
      raise self._changed(part.client)
    following[part.client] = last
    return first, last

  def check_full(self) -> None:
    """Raises `UsageError` if a client has fewer rows than were counted."""
    for test, ends in self._ends.items():
      short = np.flatnonzero(self._next[test] < ends)
      if len(short):
        raise self._changed(int(short[0]))

  def _changed(self, client: int) -> UsageError:
    return UsageError(
      f'--data_file: the examples of client {self._ids[client]} have changed while they were read; '
      'start again'
    )
