"""How many bytes have crossed, by site."""

import threading


class Traffic:
  """Counts bytes of messages: `down` to the sites, `up` from them."""

  def __init__(self):
    self._lock = threading.Lock()
    self._counts: dict[str, dict[str, int]] = {}

  def down(self, site: str, count: int) -> None:
    """So many bytes went to a site."""
    self._add(site, 'down', count)

  def up(self, site: str, count: int) -> None:
    """So many bytes came from a site."""
    self._add(site, 'up', count)

  def _add(self, site: str, direction: str, count: int) -> None:
    with self._lock:
      counts = self._counts.setdefault(site, {'down': 0, 'up': 0})
      counts[direction] += count

  def so_far(self) -> dict[str, dict[str, int]]:
    """`{site: {'down': bytes, 'up': bytes}}`."""
    with self._lock:
      return {site: dict(counts) for site, counts in sorted(self._counts.items())}
