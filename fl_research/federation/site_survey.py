"""What a site says of its data before any run is asked for: a request cannot be made without it."""

from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from fl_research.federation import fixed_point, proposal, shared_columns, site_session
from fl_research.federation import signer as signer_lib
from fl_research.federation.guard import Guard
from fl_research.federation.messages import Message, MessageError
from fl_research.federation.refusal import Refused
from fl_research.federation.site_data import SiteData
from fl_research.federation.site_session import SiteSession


class SiteSurvey:
  """Answers such messages.

  Args:
    name: of the site.
    data: what it has.
    guard: who decides.
    signer: what it signs with in sums by the protocol; None where nobody signs.
  """

  def __init__(self, name: str, data: SiteData, guard: Guard, signer: Optional[signer_lib.Signer]):
    self._name, self._data, self._guard, self._signer = name, data, guard, signer
    # Of (which sums, the hash of what this site adds to them), for all sessions.
    self._told_of: dict[tuple[int, str], frozenset] = {}
    self._session: Optional[SiteSession] = None

  def statistics(self, message: Message) -> Message:
    """Answers about the columns of the site's table."""
    self._guard.survey(proposal.COLUMN_STATISTICS)
    what, facts = message['what'], dict(message['facts'])
    if what == shared_columns.SESSION:
      return self._step(facts, message.array('numbers'))
    session = facts.pop(shared_columns.SESSION, None)
    answer, numbers = self._data.answer(what, facts, message.arrays['numbers'])
    if what in shared_columns.SUMS and session is not None:
      [own] = numbers
      return self._begin_session(shared_columns.SUMS.index(what), session, own)
    if what in shared_columns.SUMS and self._guard.sums_by_protocol:
      raise Refused('sums of columns are given by secure aggregation only')
    return Message('numbers', {'facts': answer}, {'numbers': numbers})

  def _begin_session(self, number: int, facts: Any, own: np.ndarray) -> Message:
    """Begins a session in which sums of columns are added up, of which nothing else is told."""
    if not isinstance(facts, dict) or facts.get('bits') != fixed_point.BITS:
      raise MessageError('statistics: facts of no session')
    if not own.size:
      return Message('numbers', {'facts': {'size': 0}}, {'numbers': []})
    words, least_others = fixed_point.to_words(own), self._guard.least_others_of_surveys
    told_of = self._told_of.get((number, site_session.hash_of(words)))
    name = str(facts.get('name'))
    self._session = SiteSession(name, number, facts, words, least_others, self._signer, told_of)
    return Message('numbers', {'facts': {'size': len(words)}}, {'numbers': []})

  def _step(self, facts: Mapping[str, Any], payload: np.ndarray) -> Message:
    if self._session is None:
      return Message('needs', {'what': 'round'})
    try:
      step = int(facts['step'])
    except (KeyError, TypeError, ValueError) as error:
      raise MessageError('statistics: a session without its step') from error
    session = self._session
    answer = session.step(step, payload.tobytes())
    if session.told_of is not None:
      self._told_of[session.round_num, session.content] = session.told_of
    return Message('numbers', {'facts': {}}, {'numbers': [np.frombuffer(answer, np.uint8)]})

  def describe(self, message: Message) -> Message:
    """How many clients and examples there are, of what form."""
    self._guard.survey(proposal.COUNTS)
    self._data.load(message['shared'])
    train, tests = self._data.train, self._data.tests
    fields = {
      'spec': self._data.spec.to_data(),
      'facts': self._data.facts(),
      'ids': [self._id(own) for own in train.ids],
    }
    arrays = {
      'sizes': [np.asarray(train.sizes, np.int64)],
      'test_sizes': [np.asarray(tests.sizes, np.int64)],
    }
    return Message('data', fields, arrays)

  def _id(self, own: str) -> str:
    """A client's name among those of all sites."""
    return own if own == self._name else f'{self._name}/{own}'
