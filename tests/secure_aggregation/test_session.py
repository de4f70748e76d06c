"""Whole sessions: the sum of the survivors to the bit, or nothing."""

import pytest

from fl_research.secure_aggregation import session
from fl_research.secure_aggregation.errors import Aborted
from fl_research.secure_aggregation.steps import Step
from tests.secure_aggregation import sessions

SIX = range(6)
STEPS = (Step.ADVERTISE, Step.SHARE, Step.MASK, Step.REVEAL)


@pytest.mark.parametrize('degree', [None, 4])
@pytest.mark.parametrize('bits', [1, 20, 64])
@pytest.mark.parametrize('step', STEPS)
def test_who_falls_silent_is_in_the_sum_only_if_its_vector_had_come(step, bits, degree):
  vectors = sessions.vectors(SIX, bits=bits)
  gone = {1: step, 4: step}
  outcome = session.run(sessions.of(bits=bits, degree=degree), vectors, gone)
  survivors = set(SIX) if step is Step.REVEAL else {0, 2, 3, 5}
  assert outcome.survivors == survivors
  assert outcome.sum.tolist() == sessions.clear_sum(vectors, survivors, bits)


@pytest.mark.parametrize('step', STEPS)
def test_one_more_and_the_session_is_aborted(step):
  vectors = sessions.vectors(SIX)
  gone = dict.fromkeys(range(3), step)
  assert session.run(sessions.of(3), vectors, gone).sum.shape == (9,)
  with pytest.raises(Aborted, match='3 clients are left; needed are 4'):
    session.run(sessions.of(4), vectors, gone)


@pytest.mark.parametrize('step', [*STEPS, Step.CONSENT])
def test_so_it_is_with_signatures(step):
  vectors, own = sessions.vectors(SIX), sessions.identities(SIX)
  signed = sessions.of(5, signed=True)
  outcome = session.run(signed, vectors, {2: step}, identities=own)
  assert outcome.sum.tolist() == sessions.clear_sum(vectors, outcome.survivors)
  with pytest.raises(Aborted, match='4 clients are left; needed are 5'):
    session.run(signed, vectors, {2: step, 3: step}, identities=own)


def test_the_sum_does_not_depend_on_what_is_secret_and_all_else_does():
  vectors = sessions.vectors(SIX)
  runs = [
    session.run(sessions.of(), vectors, entropy=lambda c, s=s: sessions.entropy(c, s))
    for s in (0, 1)
  ]
  assert runs[0].sum.tolist() == runs[1].sum.tolist() == sessions.clear_sum(vectors, SIX)
  sent = []
  for seed in (0, 0, 1):
    parties = sessions.Parties(sessions.of(), 3)
    client = parties.clients[0]
    client._entropy = sessions.entropy(0, seed)
    sent.append(client.advertise())
  assert sent[0] == sent[1] != sent[2]


def test_bytes_by_hand():
  """Five clients, vectors of nine 20-bit entries: 18 + 4 * 2 bytes."""
  outcome = session.run(sessions.of(), sessions.vectors(range(5)))
  header, others = 33, 4
  up = 64 + 32 + others * (4 + 28 + 66) + 26 + 5 * (4 + 1 + 33)
  down = others * (4 + 64) + others * (4 + 28 + 66) + 5 * 4
  assert set(outcome.bytes_up.values()) == {4 * header + up}
  assert set(outcome.bytes_down.values()) == {3 * header + down}
