"""What floods a site is counted, and does not fill its disk."""

import pytest

from fl_research.federation import audit_log, guard_log, plain_words, policy, requests
from fl_research.federation.guard import Guard
from fl_research.federation.quota import Quota
from fl_research.federation.refusal import Refused
from tests.federation.requested import asked

_NO_FEDPROX = policy.Policy(training=policy.Training(algorithms=(), beyond='deny'))


def test_so_many_in_a_window_and_the_rest_counted():
  now = [100.0]
  quota = Quota(2, 10.0, lambda: now[0])
  assert [quota.take() for _ in range(5)] == [True, True, False, False, False]
  assert quota.missed() == 0
  now[0] = 110.0
  assert quota.missed() == 3 and quota.missed() == 0
  assert [quota.take() for _ in range(3)] == [True, True, False]
  assert quota.missed(now=True) == 1


def test_a_flood_of_refused_messages(tmp_path):
  now = [0.0]
  own = Guard(tmp_path, policy.Policy())
  own._log._refusals = Quota(5, 3600.0, lambda: now[0])
  for number in range(300):
    with pytest.raises(Refused, match='was never asked for'):
      own.received(f'{number:064d}', 'work', 1, b'x' * 100)
    with pytest.raises(Refused, match='was never asked for'):
      own.withdraw('x' * 100_000)
  assert own.log.path.stat().st_size < 15_000
  now[0] = 3600.0
  own.survey('counts')
  own.surveyed('counts', b'12')
  entries = list(audit_log.entries(own.log.path))
  assert [e['what'] for e in entries] == 5 * ['refused'] + ['refused without a line', 'surveyed']
  assert entries[5]['count'] == 595
  assert 'refused without a line: 595 messages' in plain_words.log_line(entries[5])
  assert audit_log.verify(own.log.path) is None
  for _ in range(7):
    with pytest.raises(Refused):
      own.withdraw('nobody')
  own.close()
  assert audit_log.newest(own.log.path, 1)[0]['count'] == 2
  own.close()
  assert audit_log.newest(own.log.path, 1)[0]['number'] == 13


def test_a_flood_of_requests_and_surveys(tmp_path, monkeypatch):
  monkeypatch.setattr(guard_log, 'MOST_ASKED', 20)
  monkeypatch.setattr(requests, 'MOST_SETTLED', 3)
  own = Guard(tmp_path, _NO_FEDPROX)
  runs = [asked(flags={'seed': seed}) for seed in range(12)]
  kept = runs[0].run_id
  own.propose(runs[0])
  own.deny(kept, 'No.')
  for run in runs[1:]:
    assert own.propose(run).status == 'denied'
  left = {request.run_id for request in own.requests.all()}
  assert len(left) == 4 and kept in left  # What the owner has decided stays.
  for _ in range(8):
    own.survey('counts')
  for asks in (lambda: own.survey('counts'), lambda: own.propose(asked(flags={'seed': 99}))):
    with pytest.raises(Refused, match='more than 20 things were asked for in an hour'):
      asks()
  assert len(own.requests.all()) == 4


def test_an_approved_run_has_so_many_lines(tmp_path, monkeypatch):
  monkeypatch.setattr(guard_log, 'MOST_LINES', 5)
  monkeypatch.setattr(guard_log, 'MOST_LINES_OF_A_ROUND', 2)
  allow = policy.Policy(decision=policy.DecisionRules('allow'))
  run, rounds = asked().run_id, asked().total_rounds
  Guard(tmp_path, allow).propose(asked())  # A line.
  for _ in range(2):  # What was written before the program was started again counts.
    own = Guard(tmp_path, allow)
    with pytest.raises(Refused, match='is none of those that run'):
      own.check_graph(run, b'')  # What is refused has a limit of its own.
    for _ in range((5 + 2 * rounds - 1) // 2):
      own.received(run, 'work', 1, b'x')
  for last in (own, Guard(tmp_path, allow)):
    with pytest.raises(Refused, match='has 25 lines in the log, more than 10 rounds need'):
      last.received(run, 'work', 1, b'x')
  assert own.requests.get(run).status == 'approved'
