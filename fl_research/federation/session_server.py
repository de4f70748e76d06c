"""Sessions of secure aggregation among sites: the engine's part, which is the protocol's server."""

from collections.abc import Callable, Mapping

from fl_research.registry import UsageError
from fl_research.secure_aggregation import parameters, server
from fl_research.secure_aggregation.steps import Step

Ask = Callable[[int, Mapping[str, bytes]], Mapping[str, bytes]]
"""(step, a message for each site) -> their answers, of those that have one."""


def all_sign(signs: Mapping[str, bool]) -> bool:
  """Whether sessions are signed: all sites do it, or none.

  Args:
    signs: which of the sites do.

  Raises:
    UsageError: some do and some do not.
  """
  if len(set(signs.values())) > 1:
    does, not_ = (next(n for n, s in signs.items() if s is each) for each in (True, False))
    raise UsageError(
      f'secure aggregation: site {does} signs and site {not_} does not; the policies of all must '
      'have the keys of all sites, or none must'
    )
  return any(signs.values())


def hold(shared: parameters.Parameters, numbers: Mapping[int, str], ask: Ask) -> server.Server:
  """Holds a session from its first message to its last; gives the server, which has the sum.

  Args:
    shared: what all know of it.
    numbers: the sites' names by their numbers in the session.
    ask: asks them.

  Raises:
    errors.Aborted: too few have come to its end; nothing was learnt.
  """
  session = server.Server(shared, numbers)
  told = dict.fromkeys(numbers, b'')
  while session.step is not Step.DONE:
    messages = {numbers[number]: message for number, message in told.items()}
    for reply in ask(int(session.step), messages).values():
      session.receive(reply)
    told = session.close()
  return session
