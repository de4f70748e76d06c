"""Who is ready when: against reading the intervals second by second."""

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from fl_research.registry import UsageError
from tests.population import trace_files

CLIENTS, HORIZON = 7, 3000


def table(readiness, records):
  """bool [clients, seconds]: who is ready, read off the records."""
  by_phone = [
    [trace_files.is_ready(record, second) for second in range(HORIZON)] for record in records
  ]
  return np.array(by_phone)[readiness.phones]


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(trace_files.timers(), st.floats(0, 200), st.integers(1, CLIENTS), st.randoms())
def test_readiness_is_what_the_intervals_say(tmp_path_factory, records, seconds, wanted, random):
  hypothesis.assume(any(trace_files.is_ready(r, s) for r in records for s in range(200)))
  readiness = trace_files.readiness_of(tmp_path_factory.mktemp('traces'), records, CLIENTS)
  ready = table(readiness, records)
  now = int(seconds)
  np.testing.assert_array_equal(readiness.at(seconds), ready[:, now])

  until = readiness.until(np.arange(CLIENTS), seconds)
  for client, row in enumerate(ready):
    ends = np.flatnonzero(~row[now:])
    expected = now + ends[0] if len(ends) else np.inf
    assert until[client] == (expected if row[now] else seconds)
    assert readiness.until(client, seconds) == until[client]

  among = np.array([random.random() < 0.7 for _ in range(CLIENTS)])
  enough = np.flatnonzero(ready[among][:, now:].sum(axis=0) >= wanted)
  if len(enough):
    expected = seconds if enough[0] == 0 else now + enough[0]
    assert readiness.earliest(seconds, wanted, among) == expected


def test_a_phone_stays_with_its_client_and_all_are_as_likely(tmp_path):
  records = [trace_files.timer(0, 10, (phone, phone + 1)) for phone in range(5)]
  readiness = trace_files.readiness_of(tmp_path, records, 5000)
  np.testing.assert_allclose(np.bincount(readiness.phones) / 5000, 0.2, atol=0.03)
  few = trace_files.readiness_of(tmp_path, records, 10)
  np.testing.assert_array_equal(few.phones, readiness.phones[:10])
  assert (
    trace_files.readiness_of(tmp_path, records, 10, seed=4).phones.tolist() != few.phones.tolist()
  )


def test_a_round_waits_for_days_but_not_for_ever(tmp_path):
  day = 86_400
  late = [trace_files.timer(0, 40 * day, (30 * day, 31 * day)), trace_files.timer(0, 10, (0, 0))]
  readiness = trace_files.readiness_of(tmp_path, late, CLIENTS)
  there = int(np.sum(readiness.phones == 0))
  everybody = np.ones(CLIENTS, bool)
  assert 0 < there < CLIENTS
  assert readiness.earliest(31.0 * day, there, everybody) == 70.0 * day
  message = f'--availability=trace: of 7 clients no more than {there} are ready at once in 100 days'
  with pytest.raises(UsageError, match=message):
    readiness.earliest(0.5, there + 1, everybody)
