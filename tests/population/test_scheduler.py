"""Who works when: against a priority queue of our own, and by what must hold whatever the flags."""

import collections
import math

import hypothesis
from hypothesis import strategies as st
import numpy as np
import pytest

from fl_research.population import cohorts, devices, participation, scheduler
from fl_research.registry import UsageError
from tests.oracles import asynchronous

SIZES = np.array([30, 5, 0, 12, 40, 21, 8, 17, 3, 26])
BYTES = 1000.0


def plans(seed=3, sizes=SIZES, spread=1.0, concurrency=4, availability=None, **changes):
  settings = dict(
    sampler=cohorts.CohortSampler('uniform', concurrency, sizes, seed, availability),
    wanted=0,
    epochs=2.0,
    straggler_fraction=0.0,
    keep_stragglers=True,
    dropout_probability=0.0,
    devices=devices.Devices(0.01, 1e4, 1e4, spread, seed),
    bytes_down=1000,
    bytes_up=1000,
    seed=seed,
  )
  return participation.Participation(**{**settings, **changes})


def played(trigger, steps=8, concurrency=4, max_staleness=None, upload=BYTES, **changes):
  """A scheduler, and the events of its first steps with the times of these."""
  own = scheduler.Scheduler(
    plans(concurrency=concurrency, **changes), concurrency, trigger, max_staleness
  )
  sent = lambda assignments: np.full(len(assignments), upload)
  return own, [(own.step(sent), own.seconds) for _ in range(steps)]


@pytest.mark.parametrize('size, concurrency', [(1, 4), (3, 4), (4, 2)])
def test_events_are_those_of_a_priority_queue(size, concurrency):
  given = plans(concurrency=concurrency)

  def draw(busy, count, version, draws):
    free = np.array([client not in busy for client in range(len(SIZES))])
    return given.sampler.among(free, count, version + 1, draws).tolist()

  def duration(client, number):
    assert given.luck(number) == (2.0, False, False)
    one = np.array([client])
    return given.devices.seconds(one, 2.0 * SIZES[one], 1000, BYTES).item()

  expected, times = asynchronous.schedule(12, concurrency, size, draw, duration)
  _, found = played(scheduler.Buffer(size), 12, concurrency)
  assert [seconds for _, seconds in found] == pytest.approx(times, rel=1e-12)
  for (events, _), used in zip(found, expected, strict=True):
    starts = [(each.client, each.version) for each in events.applied]
    assert starts == sorted((each.client, each.start) for each in used)
    by_client = {each.client: each.staleness for each in used}
    assert events.staleness.tolist() == [by_client[each.client] for each in events.applied]
  assert max(events.staleness.max() for events, _ in found) > 1, 'nothing was stale'


SEEDS = st.integers(0, 2**31)


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
@hypothesis.given(
  seed=SEEDS,
  trigger=st.one_of(
    st.builds(scheduler.Buffer, st.integers(1, 9)),
    st.builds(scheduler.Deadline, st.floats(0.05, 3.0), st.sampled_from([0.0, 0.5])),
  ),
  concurrency=st.integers(1, 12),
  spread=st.sampled_from([0.0, 0.5, 2.0]),
  fails=st.sampled_from([0.0, 0.4]),
  straggles=st.sampled_from([0.0, 0.5]),
  max_staleness=st.sampled_from([None, 0, 2]),
)
def test_whatever_the_flags(seed, trigger, concurrency, spread, fails, straggles, max_staleness):
  own, found = played(
    trigger,
    steps=12,
    concurrency=concurrency,
    seed=seed,
    spread=spread,
    max_staleness=max_staleness,
    dropout_probability=fails,
    straggler_fraction=straggles,
  )
  begun = [(each, version) for version, (events, _) in enumerate(found) for each in events.started]
  assert [each.number for each, _ in begun] == list(range(len(begun)))
  assert all(each.version == version for each, version in begun)
  ended = collections.Counter()
  last = -math.inf
  for step, (events, seconds) in enumerate(found):
    assert seconds >= last
    assert [each.client for each in events.applied] == sorted({e.client for e in events.applied})
    assert events.staleness.tolist() == [step - each.version for each in events.applied]
    assert all(each.arrives <= seconds for each in (*events.applied, *events.failed))
    assert not any(each.fails for each in (*events.applied, *events.discarded))
    assert all(each.fails for each in events.failed)
    if max_staleness is not None:
      assert np.all(events.staleness <= max_staleness)
      assert all(step - each.version > max_staleness for each in events.discarded)
    if isinstance(trigger, scheduler.Buffer):
      assert len(events.applied) == trigger.size
    else:
      assert seconds == (step + 1) * trigger.seconds
      assert max_staleness is not None or all(e.arrives > last for e in events.applied)
    assert 0 <= events.concurrency <= concurrency + 1e-9
    ended.update(each.number for each in (*events.applied, *events.failed, *events.discarded))
    last = seconds
  # None is lost, none counts twice: what has not ended is still at work or waits.
  saved = own.saved()
  open_ = {int(row[1]) for name in ('at_work', 'waiting') for row in saved[name]}
  assert set(ended.values()) <= {1}
  assert set(ended) | open_ == set(range(len(begun))) and not set(ended) & open_
  _check_nobody_works_twice(begun, own.seconds, concurrency)


def _check_nobody_works_twice(begun, until, concurrency):
  """From all assignments: each client's are one after the other, and never too many at once."""
  times = [each.arrives for each, _ in begun]
  assert all(math.isfinite(time) and time > 0 for time in times)
  versions = collections.defaultdict(list)
  for each, version in begun:
    if not each.fails:
      versions[each.client].append(version)
  for of_client in versions.values():
    assert of_client == sorted(set(of_client)), 'it trained twice from one version'
  at_work = [each for each, _ in begun if each.arrives > until]
  assert len(at_work) <= concurrency
  assert len({each.client for each in at_work}) == len(at_work)
  assert all(SIZES[each.client] > 0 for each, _ in begun)


def test_devices_that_are_alike_are_synchronous_rounds():
  alike = np.full(10, 20)
  _, found = played(scheduler.Buffer(4), sizes=alike, spread=0.0)
  rounds = plans(sizes=alike)
  for number, (events, seconds) in enumerate(found, start=1):
    plan = rounds.plan(number)
    assert [each.client for each in events.applied] == plan.selected.tolist()
    assert not events.staleness.any() and events.concurrency == pytest.approx(4.0)
    assert seconds == pytest.approx(number * (0.01 * 40 + 0.2))


def test_results_that_come_together_step_one_after_the_other_before_anybody_begins():
  _, found = played(scheduler.Buffer(2), concurrency=6, sizes=np.full(10, 20), spread=0.0, steps=4)
  assert [len(events.started) for events, _ in found] == [6, 0, 0, 6]
  assert [events.staleness.tolist() for events, _ in found] == [[0, 0], [1, 1], [2, 2], [0, 0]]
  assert len({seconds for _, seconds in found[:3]}) == 1


@pytest.mark.parametrize('trigger', [scheduler.Buffer(3), scheduler.Deadline(0.5)])
def test_going_on_from_what_was_saved_changes_nothing(trigger):
  trouble = dict(dropout_probability=0.3, straggler_fraction=0.5, max_staleness=3)
  sent = lambda assignments: np.full(len(assignments), BYTES)
  _, whole = played(trigger, 10, **trouble)
  for pause in (1, 4, 9):
    before, _ = played(trigger, pause, **trouble)
    after, _ = played(trigger, 0, **trouble)
    after.resume({name: array.copy() for name, array in before.saved().items()})
    for events, seconds in whole[pause:]:
      again = after.step(sent)
      assert again.started == events.started and again.applied == events.applied
      assert (again.failed, again.discarded) == (events.failed, events.discarded)
      assert (again.concurrency, after.seconds) == (events.concurrency, seconds)


def test_a_deadline_may_find_nobody():
  _, found = played(scheduler.Deadline(0.01), steps=30)
  counts = [len(events.applied) for events, _ in found]
  assert counts[0] == 0 and sum(counts) > 0


def test_clients_can_be_done_at_a_deadline():
  trigger = scheduler.Deadline(0.5, least_epochs=0.25)
  given = plans()
  _, found = played(trigger, steps=20)
  begun = [each for events, _ in found for each in events.started]
  full = [each for each in begun if each.epochs == 2.0]
  fitted = [each for each in begun if each.epochs < 2.0]
  assert len(fitted) > 10 and full
  assert min(each.epochs for each in fitted) >= 0.25 * (1 - 1e-6)
  for each in fitted:
    # It arrives at a deadline, and would be late for the one before with the least that it may do.
    number = round(each.arrives / 0.5)
    assert 0 <= number * 0.5 - each.arrives < 1e-6
    one = np.array([each.client])
    visited = np.array([each.epochs, 0.25]) * SIZES[one]
    took, least = given.devices.seconds(one.repeat(2), visited, 1000, BYTES)
    assert each.arrives - took + least > (number - 1) * 0.5 - 1e-6
  assert all(events.concurrency == pytest.approx(4.0) for events, _ in found)


def test_larger_messages_take_longer():
  _, small = played(scheduler.Buffer(3), upload=10.0)
  _, large = played(scheduler.Buffer(3), upload=1e5)
  assert large[-1][1] > small[-1][1] + 10


def test_who_fails_sends_nothing_and_is_asked_for_no_bytes():
  own = scheduler.Scheduler(plans(dropout_probability=0.5), 4, scheduler.Buffer(2))
  asked = []

  def sent(assignments):
    asked.extend(each.number for each in assignments)
    return np.full(len(assignments), BYTES)

  started = [each for _ in range(10) for each in own.step(sent).started]
  assert asked == [each.number for each in started if not each.fails]
  assert 0.25 < len(asked) / len(started) < 0.75


class Shifts:
  """Clients with even positions are ready in the first 10 s, none until 1000 s, then the others."""

  def at(self, seconds):
    even = np.arange(len(SIZES)) % 2 == 0
    if seconds >= 1000:
      return ~even
    return even & (seconds < 10)

  def until(self, clients, seconds):
    assert np.all(self.at(seconds)[clients])
    return np.full(len(clients), math.inf if seconds >= 1000 else 10.0)

  def earliest(self, seconds, wanted, among):
    assert wanted == 1 and not (self.at(seconds) & among).any()
    return 1000.0


def test_only_who_is_ready_is_given_work_and_who_stops_being_so_falls_silent():
  _, found = played(scheduler.Buffer(1), steps=400, readiness=Shifts())
  clients = lambda among: {each.client for events in among for each in events.started}
  early = [events for events, seconds in found if seconds < 10]
  late = [events for events, seconds in found if seconds >= 1000][1:]
  assert clients(early) == {0, 4, 6, 8} and clients(late) == {1, 3, 5, 7, 9}
  failed = [each for events, _ in found for each in events.failed]
  assert 1 <= len(failed) <= 4 and {each.arrives for each in failed} == {10.0}


def test_a_trace_by_rounds_is_one_by_versions(tmp_path):
  path = tmp_path / 'trace.csv'
  lines = [f'{client},{1 + 4 * (client % 2)},{4 + 96 * (client % 2)}' for client in range(10)]
  path.write_text('\n'.join(['client_id,first_round,last_round', *lines]))
  trace = cohorts.AvailabilityTrace(str(path), [str(client) for client in range(10)])
  _, found = played(scheduler.Buffer(2), steps=10, availability=trace)
  for events, _ in found:
    assert all((each.version >= 4) == (each.client % 2 == 1) for each in events.started)


def test_nobody_who_is_available_is_an_error(tmp_path):
  path = tmp_path / 'trace.csv'
  path.write_text('client_id,first_round,last_round\n0,1,9\n')
  trace = cohorts.AvailabilityTrace(str(path), [str(client) for client in range(10)])
  with pytest.raises(UsageError, match=r'nobody is available for round 1, .* only 1 results wait'):
    played(scheduler.Buffer(2), availability=trace)
