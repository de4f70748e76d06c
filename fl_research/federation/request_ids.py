"""Ids for what sites are asked: the same again as long as there was no answer."""

import hashlib

from fl_research.federation import local_socket


class RequestIds:
  """Remembers of every site the last request that it has not answered.

  An engine that goes on without a site asks it the same again later; by the same id the site finds
  what it is working on, or has done. What was answered and is asked once more is a new request.
  """

  def __init__(self):
    self._open: dict[str, tuple[bytes, bytes]] = {}

  def of(self, site: str, request: bytes) -> bytes:
    """The id for a request."""
    digest = hashlib.sha256(request).digest()
    if self._open.get(site, (b'',))[0] != digest:
      self._open[site] = digest, local_socket.new_id()
    return self._open[site][1]

  def answered(self, site: str) -> None:
    """There is an answer to the site's last request."""
    self._open.pop(site, None)
