"""The program of a site: opens its data, and answers until it is told to stop."""

from collections.abc import Callable, Sequence
import contextlib
import pathlib
import signal
import threading
from typing import Optional

from fl_research.federation import addresses, local_socket
from fl_research.federation.guard import Guard
from fl_research.registry import UsageError
from fl_research.settings import Settings


def serve(
  name: str,
  folder: pathlib.Path,
  listen: str,
  guard: Guard,
  settings: Settings,
  clients: Sequence[str],
  token_file: Optional[pathlib.Path],
  say: Callable[[str], None],
) -> None:
  """Answers engines until SIGTERM or SIGINT.

  Args:
    name: of the site.
    folder: what must outlast the process.
    listen: the address, as `addresses.parse` takes it.
    guard: decides for the owner.
    settings: the data.
    clients: the task's clients that are this site's; all when empty.
    token_file: of a port.
    say: is told when it listens, and when it stops.

  Raises:
    UsageError: the data cannot be used, or nothing can listen at the address.
  """
  from fl_research.federation import site as site_lib
  from fl_research.federation import site_data

  address = addresses.parse('--listen', listen)
  if settings.task == 'tabular':
    if clients:
      raise UsageError('--clients: a table of the site holds the rows of its own clients only')
    least = guard.policy.survey.least_rows
    data: site_data.SiteData = site_data.TableData(name, settings, least)
  else:
    data = site_data.SiteData(settings, clients)
    data.load({})
  site = site_lib.Site(name, data, guard, folder)
  stop = threading.Event()
  with contextlib.ExitStack() as stack:
    for number in (signal.SIGTERM, signal.SIGINT):
      before = signal.signal(number, lambda *_: stop.set())
      stack.callback(signal.signal, number, before)
    stack.callback(site.close)
    stack.enter_context(local_socket.Server(address, site.handle, token_file))
    say(f'site {name}: listens at {address.text}')
    stop.wait()
  say(f'site {name}: stopped')
