"""Random schedules of a session, as hypothesis draws them, against sums by whole numbers.

In every step some clients are heard, in any order, and others are not; between them come messages
that were sent before, come from another round or are cut off, and calls that are not their turn.
The session must end with the exact sum of the survivors, or be aborted exactly when too few are
left; what is refused must change nothing.
"""

import dataclasses

from hypothesis import event
from hypothesis import strategies as st
import pytest

from fl_research.secure_aggregation import neighbours, parameters
from fl_research.secure_aggregation.errors import Aborted, ProtocolError
from fl_research.secure_aggregation.steps import Step
from tests.secure_aggregation import sessions

_CALLS = {
  Step.ADVERTISE: lambda client: client.advertise(),
  Step.SHARE: lambda client: client.share(b''),
  Step.MASK: lambda client: client.mask(b'', sessions.vectors([0])[0]),
  Step.CONSENT: lambda client: client.consent(b''),
  Step.REVEAL: lambda client: client.reveal(b''),
}


class Schedule:
  """One session, and what happens in it."""

  def __init__(self, draw):
    """Prepares it.

    Args:
      draw: from a hypothesis strategy to a value.
    """
    self._draw = draw
    count = draw(st.integers(3, 8))
    self._session = self._drawn_session(count)
    self._parties = sessions.Parties(self._session, count)
    self._server = self._parties.server
    self._sent: list[bytes] = []
    self._graph: dict[int, list[int]] = {}
    self._sharing: set[int] = set()

  def _drawn_session(self, count: int) -> parameters.Parameters:
    signed = self._draw(st.booleans())
    degree = None if signed else self._draw(st.sampled_from([None, 2, 4]))
    least = 2 * count // 3 + 1 if signed else 2
    most = count if degree is None else min(count, degree + 1)
    return sessions.of(
      self._draw(st.integers(least, most)),
      bits=self._draw(st.sampled_from([1, 13, 32, 64])),
      degree=degree,
      signed=signed,
    )

  def play(self) -> None:
    """Goes through it to its end."""
    while self._server.step < Step.DONE:
      step, heard = self._server.step, self._hear()
      if not self._are_enough(step, heard):
        with pytest.raises(Aborted):
          self._server.close()
        with pytest.raises(ProtocolError):
          self._server.sum()
        event(f'aborted in {step.name}')
        return
      self._parties.told = self._server.close()
    event('came to its end')
    survivors = self._server.survivors
    expected = sessions.clear_sum(self._parties.vectors, survivors, self._session.bits)
    assert self._server.sum().tolist() == expected

  def _hear(self) -> set[int]:
    """A step's messages of some clients, with others between them; returns who was heard."""
    told = sorted(self._parties.told)
    few = st.sets(st.sampled_from(told), max_size=2)
    silent = self._draw(st.one_of(st.just(set()), st.just(set()), few))
    heard = self._draw(st.permutations([client for client in told if client not in silent]))
    disturbed = self._draw(st.sampled_from([None, *told]))
    for client in heard:
      if client == disturbed:
        self._disturb(self._parties.clients[client])
      message = self._parties.answer(client)
      assert self._server.receive(message) == client
      self._sent.append(message)
    return set(heard)

  def _disturb(self, client) -> None:
    before = self._server.step, client.step
    step = self._draw(st.sampled_from([step for step in _CALLS if step is not client.step]))
    with pytest.raises(ProtocolError):
      _CALLS[step](client)
    if self._sent:
      with pytest.raises(ProtocolError):
        self._server.receive(self._junk())
    assert (self._server.step, client.step) == before

  def _junk(self) -> bytes:
    message = self._draw(st.sampled_from(self._sent))
    change = self._draw(st.sampled_from(['again', 'torn', 'other round']))
    if change == 'torn':
      return message[: self._draw(st.integers(0, len(message) - 1))]
    if change == 'other round':
      other = dataclasses.replace(self._session, round_num=self._session.round_num + 1)
      return sessions.Parties(other, 3).clients[0].advertise()
    return message

  def _are_enough(self, step: Step, left: set[int]) -> bool:
    if step is Step.ADVERTISE:
      self._graph = neighbours.graph(left, self._session)
    if step is Step.SHARE:
      self._sharing = left
    whose = self._sharing or left
    holding = [len(left & {client, *self._graph[client]}) for client in whose]
    return len(left) >= self._session.threshold <= min(holding, default=0)
