"""What becomes of the columns of a table whose rows are at several sites: the engine's part.

The sites are asked in the rounds of `fl_research.importing.shared_fit`, and their numbers are added
up here; or, where the policy of a site wants it, by the protocol of secure aggregation, and then
only the sums are known here. Names of columns and of categories are always told as they are.
"""

from collections.abc import Mapping, Sequence
import secrets
import time
from typing import Any, Protocol

import numpy as np

from fl_research.federation import fixed_point, session_server
from fl_research.federation.messages import Message
from fl_research.importing import shared_fit
from fl_research.registry import UsageError
from fl_research.secure_aggregation import errors, parameters

SUMS = ('sums', 'squares')
"""What is added up, of what sites are asked."""

SESSION = 'session'
"""What sites are asked for in a step of a session."""

_PATIENCE = 2.0


class Ask(Protocol):
  """(requests by site, kind of the answers) -> answers by site."""

  def __call__(
    self, requests: Mapping[str, Message], kind: str, *, once: bool = False
  ) -> Mapping[str, Message]:
    """See `Engine.ask`."""


class _Asked:
  """Asks all sites."""

  def __init__(self, sites: Sequence[str], ask: Ask):
    self.sites, self.ask = sorted(sites), ask

  def request(self, what: str, facts: Mapping[str, Any], *numbers: np.ndarray) -> Message:
    return Message('statistics', {'what': what, 'facts': dict(facts)}, {'numbers': list(numbers)})

  def facts(self, what: str, facts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What each says."""
    answers = self.ask(dict.fromkeys(self.sites, self.request(what, facts)), 'numbers')
    return {name: answers[name]['facts'] for name in self.sites}

  def total(self, what: str, facts: Mapping[str, Any], *numbers: np.ndarray) -> np.ndarray:
    """The sum of what each gives."""
    request = self.request(what, facts, *numbers)
    answers = self.ask(dict.fromkeys(self.sites, request), 'numbers')
    return np.sum([answers[name].array('numbers') for name in self.sites], axis=0)


class _ByProtocol(_Asked):
  """Asks for sums in sessions, of all sites; one that falls silent has the session held again."""

  def __init__(self, sites: Sequence[str], ask: Ask, signed: bool):
    super().__init__(sites, ask)
    self._signed, self._name, self._attempts = signed, secrets.token_hex(16), 0

  def total(self, what, facts, *numbers):
    while True:
      try:
        return self._total(what, facts, numbers)
      except errors.Aborted:
        time.sleep(_PATIENCE)

  def _total(self, what, facts, numbers) -> np.ndarray:
    self._attempts += 1
    session = {
      'name': self._name,
      'bits': fixed_point.BITS,
      'threshold': len(self.sites),
      'attempt': self._attempts,
      'sites': self.sites if self._signed else [],
    }
    requests = {
      name: self.request(what, {**facts, SESSION: {**session, 'number': number}}, *numbers)
      for number, name in enumerate(self.sites)
    }
    sizes = {answer['facts']['size'] for answer in self.ask(requests, 'numbers').values()}
    if len(sizes) > 1:
      raise UsageError(f'sites: sums of {what} are of {sorted(sizes)} numbers at different ones')
    size = sizes.pop()
    if not size:
      return np.zeros(0)
    shared = parameters.Parameters(
      parameters.session_of(f'{self._name}/{self._attempts}'),
      SUMS.index(what),
      size,
      fixed_point.BITS,
      len(self.sites),
      signed=self._signed,
    )
    held = session_server.hold(shared, dict(enumerate(self.sites)), self._step)
    return fixed_point.from_words(held.sum())

  def _step(self, step: int, messages: Mapping[str, bytes]) -> dict[str, bytes]:
    requests = {
      name: self.request(SESSION, {'step': step}, np.frombuffer(message, np.uint8))
      for name, message in messages.items()
    }
    answers = self.ask(requests, 'numbers', once=True)
    return {name: answer.array('numbers').tobytes() for name, answer in answers.items()}


def find_out(
  sites: Sequence[str], ask: Ask, by_protocol: Sequence[str] = (), signed: bool = False
) -> dict[str, Any]:
  """What all sites need to know before they make their data, as JSON has it.

  Args:
    sites: their names.
    ask: asks them.
    by_protocol: those that give sums by secure aggregation only.
    signed: whether sites sign in its sessions.

  Raises:
    UsageError: their columns do not fit together; one line that names the column and the sites. Or
      there are too few for secure aggregation.
  """
  if by_protocol and len(sites) < parameters.LEAST_CLIENTS:
    raise UsageError(
      f'site {by_protocol[0]} gives sums of its columns by secure aggregation only, which needs '
      f'{parameters.LEAST_CLIENTS} sites; there are {len(sites)}'
    )
  asked = _ByProtocol(sites, ask, signed) if by_protocol else _Asked(sites, ask)
  agreement = shared_fit.Agreement(asked.facts('facts', {}))
  columns = {'columns': agreement.columns}
  named = asked.facts('categories', columns)
  agreement.name_categories(list(named.values()))
  sums = asked.total('sums', {**columns, 'categories': agreement.categories})
  squares = asked.total('squares', columns, agreement.means(sums))
  return agreement.preprocessing(sums, squares).to_data()
