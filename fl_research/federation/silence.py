"""Requests whose experimenter's program is gone: it was killed, and has withdrawn nothing.

A program asks again and again while a request waits, and sends messages while a run goes on. When
one was last heard of is the time of its request's file, which every process of the site sees; what
the owner decides counts as well, so that an experimenter has as long after an approval as before.
"""

import time
from typing import Optional

from fl_research.federation import guard_log, requests

_DAY = 86_400.0


def withdraw(store: requests.Store, log: guard_log.GuardLog, days: Optional[float]) -> None:
  """Withdraws requests that wait, and runs that were approved, of which nothing was heard so long;
  none when None.

  What an approved run has not used of the data's privacy and rounds is then free again. The same
  request may be made anew, and is decided anew.
  """
  if days is None:
    return
  reason = f'Nothing was heard of its program for {days:g} days.'
  for request in store.all():
    is_open = request.status in (requests.WAITING, requests.APPROVED)
    if is_open and time.time() - store.last_heard(request.run_id) > days * _DAY:
      log.write('withdrawn', run=request.run_id, by=requests.BY_POLICY, why=reason)
      store.put(request.changed(requests.WITHDRAWN, requests.BY_POLICY, (reason,)))
