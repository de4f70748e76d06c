"""The engine's way to the sites: who is there, what they have, and asking them all.

Every message to a site may be sent again: it is a pure function of what is in it, so that a site
that was away, or an answer that was lost, costs time and nothing else. A site that has started anew
says what it needs, a run or a graph, and is given it.
"""

from collections.abc import Callable, Mapping
import dataclasses
import time
from typing import Any, Optional

import numpy as np

from fl_research.federation import messages, session_server, shared_columns
from fl_research.federation.messages import Message, MessageError
from fl_research.federation.transport import Lost, Transport
from fl_research.importing import shared_fit
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError

PATIENCE = 2.0
"""Seconds between two attempts to reach a site."""


class SiteError(UsageError):
  """A site has refused, or answered what nobody asked; one line names it and says why."""


@dataclasses.dataclass(frozen=True)
class SiteFacts:
  """What the engine knows of a site.

  Attributes:
    name: its name.
    ids: its clients' ids.
    positions: their positions among the clients of all sites.
    sizes: how many examples each of them trains on.
    test_sizes: how many each of its tested clients has.
  """

  name: str
  ids: tuple[str, ...]
  positions: np.ndarray
  sizes: np.ndarray
  test_sizes: np.ndarray


@dataclasses.dataclass
class Contact:
  """How the engine stands with a site.

  Attributes:
    heard: when it was last heard of, by `time.monotonic`.
    there: whether it has answered when it was last asked.
    status: what became of the request there; empty before it was made.
  """

  heard: float
  there: bool = True
  status: str = ''


class Engine:
  """Asks sites.

  Args:
    transport: the way to them.
    min_sites: how many of those that are asked must answer; 0 for all.
    deadline: after how many seconds a round goes on without those that have not answered; None to
      wait for them.
    say: is told, in a line, when something takes long or goes wrong without ending the run.

  Attributes:
    sites: what is known of each.
    task: what they have.
    spec, class_names: what a model must accept, and what its classes are called.
    preprocessing: what the sites have found out together of their columns; {} without any.
    contacts: how it stands with each.
    signs: whether each signs in sums by the protocol.
    refusals: (site, reason) of all so far.
    interrupted: asked while a person at a site is waited for; a reason to stop, or nothing.
  """

  def __init__(
    self,
    transport: Transport,
    min_sites: int,
    deadline: Optional[float],
    say: Callable[[str], None],
  ):
    self._transport, self.min_sites, self._deadline = transport, min_sites, deadline
    self.say = say
    self.task = ''
    self.sites: dict[str, SiteFacts] = {}
    self.spec: ModelSpec
    self.class_names: tuple[str, ...] = ()
    self.preprocessing: dict[str, Any] = {}
    self.contacts: dict[str, Contact] = {}
    self.signs: dict[str, bool] = {}
    self.refusals: list[tuple[str, str]] = []
    self.interrupted: Callable[[], str] = str

  def traffic(self) -> dict:
    """Bytes to and from each site so far."""
    return self._transport.traffic()

  def close(self) -> None:
    """Ends the connection."""
    self._transport.close()

  def meet(self, task: str) -> None:
    """Finds out who is there, and what data they have.

    Args:
      task: what sites must have; empty where anything will do.

    Raises:
      SiteError: a site refuses, or sites have data of different kinds.
    """
    names = self._transport.sites()
    if not names:
      raise UsageError('--federation: no site is there')
    hello = Message('hello', {'protocol': messages.PROTOCOL})
    greetings = self.ask({name: hello for name in names}, 'site')
    for name, answer in greetings.items():
      if answer['name'] != name:
        raise SiteError(f'site {name}: answers as {answer["name"]}; one of the names is wrong')
    self.signs = {name: answer['signs'] for name, answer in greetings.items()}
    self.preprocessing = self._shared(greetings)
    describe = Message('describe', {'shared': self.preprocessing})
    answers = self.ask({name: describe for name in names}, 'data')
    self._check_task(answers, task)
    self._take(answers)

  def _shared(self, greetings: Mapping[str, Message]) -> dict[str, Any]:
    """What the sites must find out together before they make their data; {} where it is nothing."""
    asked_for = {tuple(answer['statistics']) for answer in greetings.values()}
    if asked_for == {()}:
      return {}
    if asked_for != {shared_fit.ROUNDS}:
      raise SiteError('sites: some have tables and others have not; all must have data of one kind')
    by_protocol = sorted(name for name, answer in greetings.items() if answer['sums_by_protocol'])
    signed = bool(by_protocol) and session_server.all_sign(self.signs)
    return shared_columns.find_out(sorted(greetings), self.ask, by_protocol, signed)

  def _check_task(self, answers: Mapping[str, Message], task: str) -> None:
    for name, answer in answers.items():
      has = str(answer['facts'].get('task'))
      if (task or self.task or has) != has:
        raise SiteError(f'--task={task or self.task}: site {name} has {has}')
      self.task = has

  def _take(self, answers: Mapping[str, Message]) -> None:
    specs, begin = {}, 0
    for name in sorted(answers):
      answer = answers[name]
      try:
        specs[name] = ModelSpec.from_stored(answer['spec'])
      except (KeyError, TypeError, ValueError) as error:
        raise SiteError(f'site {name}: describes its data in a way that cannot be read') from error
      count = len(answer['ids'])
      sizes, test_sizes = answer.array('sizes'), answer.array('test_sizes')
      if sizes.shape != (count,):
        raise SiteError(f'site {name}: has {count} clients and sizes of {sizes.shape}')
      positions = np.arange(begin, begin + count)
      ids = tuple(map(str, answer['ids']))
      self.sites[name] = SiteFacts(name, ids, positions, sizes, test_sizes)
      begin += count
    first = next(iter(specs))
    for name, spec in specs.items():
      if spec.to_data() != specs[first].to_data():
        raise SiteError(
          f'site {name}: its data are {spec.describe()}, those of {first} are '
          f'{specs[first].describe()}; all sites must have data of one kind'
        )
    self.spec = specs[first]
    self.class_names = tuple(map(str, answers[first]['facts'].get('class_names', ())))

  def ask(
    self,
    requests: Mapping[str, Message],
    kind: str,
    *,
    recover: Optional[Callable[[str, str], None]] = None,
    all_of_them: bool = True,
    once: bool = False,
  ) -> dict[str, Message]:
    """What the sites answer.

    Args:
      requests: what each is asked.
      kind: of the answers.
      recover: `(site, what)`, gives a site what it needs before it can answer.
      all_of_them: whether to wait for all; else as many as `min_sites` says are enough once the
        deadline has passed, or the others are known to be gone.
      once: whether a site that is gone, or has started anew since, is not asked again.

    Raises:
      SiteError: a site refuses.
    """
    packed = {name: messages.pack(message) for name, message in requests.items()}
    least = len(packed)
    if not all_of_them and self.min_sites:
      least = min(self.min_sites, least)
    answers: dict[str, Message] = {}
    complained: set[str] = set()
    while True:
      waiting = {name: packed[name] for name in packed if name not in answers}
      deadline = None if all_of_them and not once else self._deadline
      for name, reply in self._transport.ask(waiting, deadline):
        if isinstance(reply, Lost):
          if name in self.contacts:
            self.contacts[name].there = False
          if name not in complained:
            self.say(f'site {name}: {reply.reason}')
            complained.add(name)
          continue
        answer = self._read(name, reply)
        if answer.kind == 'needs' and once:
          self.say(f'site {name}: has lost what the round was about')
        elif answer.kind == 'needs' and recover is not None:
          recover(name, answer['what'])
        elif answer.kind == kind:
          answers[name] = answer
        else:
          raise SiteError(f'site {name}: answers with {answer.kind}, where {kind} was asked for')
      if once or len(answers) >= least:
        return answers
      if complained - set(answers):
        time.sleep(PATIENCE)

  def _read(self, name: str, reply: bytes) -> Message:
    contact = self.contacts.setdefault(name, Contact(0.0))
    contact.heard, contact.there = time.monotonic(), True
    try:
      answer = messages.unpack(reply)
    except MessageError as error:
      raise SiteError(f'site {name}: {error}') from error
    if answer.kind == 'refused':
      self.refusals.append((name, answer['reason']))
      raise SiteError(f'site {name} refuses: {answer["reason"]}')
    return answer
