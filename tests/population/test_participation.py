"""Stragglers, dropouts and over-selection, as counts and as pure functions of (seed, round)."""

import numpy as np
import pytest

from fl_research import random_streams
from fl_research.population import cohorts, devices, participation
from tests.population import trace_files


def _participation(**changes):
  sizes = np.arange(10, 210, 2)
  settings = dict(
    sampler=cohorts.CohortSampler('uniform', 20, sizes, seed=5),
    wanted=0,
    epochs=5.0,
    straggler_fraction=0.0,
    keep_stragglers=True,
    dropout_probability=0.0,
    devices=devices.Devices(0.01, 1e6, 1e6, 1.0, seed=5),
    bytes_down=1000,
    bytes_up=1000,
    seed=5,
  )
  return participation.Participation(**{**settings, **changes})


def test_without_trouble_everybody_does_everything():
  plan = _participation().plan(3)
  np.testing.assert_array_equal(plan.uploading, plan.selected)
  assert len(plan.selected) == 20 and np.all(plan.epochs == 5.0)
  assert (plan.stragglers, plan.dropouts) == (0, 0)


def test_plans_depend_on_the_round_only():
  p = _participation(straggler_fraction=0.5, dropout_probability=0.3)
  first, again, other = p.plan(4), p.plan(4), p.plan(5)
  np.testing.assert_array_equal(first.uploading, again.uploading)
  np.testing.assert_array_equal(first.epochs, again.epochs)
  assert not np.array_equal(first.selected, other.selected)


def test_stragglers_do_whole_epochs_from_one_to_all():
  p = _participation(straggler_fraction=0.9)
  epochs = np.concatenate([p.plan(r).epochs for r in range(200)])
  assert set(np.unique(epochs)) == {1.0, 2.0, 3.0, 4.0, 5.0}
  # 10 % that do not straggle, and a fifth of the others, do all five epochs.
  assert np.mean(epochs == 5.0) == pytest.approx(0.1 + 0.9 / 5, abs=0.02)
  assert all(p.plan(r).stragglers == 18 for r in range(5))


def test_stragglers_of_two_epochs_do_one_or_both():
  p = _participation(straggler_fraction=1.0, epochs=2.0)
  assert set(np.concatenate([p.plan(r).epochs for r in range(5)])) == {1.0, 2.0}


def test_stragglers_of_one_epoch_do_part_of_it():
  plan = _participation(straggler_fraction=1.0, epochs=1.0).plan(1)
  assert np.all((plan.epochs > 0) & (plan.epochs <= 1)) and plan.epochs.min() < 0.5


@pytest.mark.parametrize('epochs', [1.0, 2.0, 5.0])
def test_without_cohorts_each_client_straggles_and_fails_by_itself(epochs):
  p = _participation(epochs=epochs, straggler_fraction=0.6, dropout_probability=0.3)
  found, straggles, fails = map(np.array, zip(*(p.luck(number) for number in range(3000))))
  assert np.all(found[~straggles] == epochs)
  assert straggles.mean() == pytest.approx(0.6, abs=0.04)
  for part in (straggles, ~straggles):
    assert fails[part].mean() == pytest.approx(0.3, abs=0.06)
  slow = found[straggles]
  if epochs < 2:
    assert slow.min() > 0 and slow.max() <= 1 and slow.mean() == pytest.approx(0.5, abs=0.04)
  else:
    shares = np.bincount(slow.astype(int), minlength=int(epochs) + 1) / len(slow)
    np.testing.assert_allclose(shares, [0] + [1 / epochs] * int(epochs), atol=0.06)
    assert np.all(slow == np.round(slow))


def test_dropped_stragglers_do_not_upload():
  plan = _participation(straggler_fraction=0.5, keep_stragglers=False).plan(1)
  assert (len(plan.selected), len(plan.uploading), plan.stragglers) == (20, 10, 10)
  assert np.all(plan.epochs == 5.0)


def test_dropouts_are_as_frequent_as_they_should_be():
  p = _participation(dropout_probability=0.3)
  plans = [p.plan(r) for r in range(300)]
  assert np.mean([plan.dropouts for plan in plans]) == pytest.approx(6.0, abs=0.3)
  assert all(len(plan.uploading) == 20 - plan.dropouts for plan in plans)


def test_over_selection_keeps_the_fastest():
  p = _participation(wanted=8, bytes_down=4_000_000)  # Training and download take about as long.
  for round_num in range(5):
    plan = p.plan(round_num)
    visited = 5 * p.sampler.sizes[plan.selected]
    seconds = p.devices.seconds(plan.selected, visited, 4_000_000, 1000)
    fastest = plan.selected[np.argsort(seconds)[:8]]
    np.testing.assert_array_equal(plan.uploading, np.sort(fastest))


def test_over_selection_counts_the_examples_that_are_used():
  p = _participation(wanted=8, max_examples=30, bytes_down=0, bytes_up=0)
  for round_num in range(5):
    plan = p.plan(round_num)
    visited = 5 * np.minimum(p.sampler.sizes[plan.selected], 30)
    seconds = p.devices.seconds(plan.selected, visited, 0, 0)
    fastest = plan.selected[np.argsort(seconds)[:8]]
    np.testing.assert_array_equal(plan.uploading, np.sort(fastest))


def test_clock_adds_up():
  clock = devices.Devices(0.01, 1000.0, 500.0, 0.0, seed=1)
  seconds = clock.seconds(np.array([3, 4]), np.array([100, 200]), 2000, np.array([500, 1000]))
  np.testing.assert_allclose(seconds, [2 + 1 + 1, 2 + 2 + 2])


def test_spread_is_lognormal_and_belongs_to_the_client():
  clock = devices.Devices(1.0, 1e9, 1e9, 0.5, seed=1)
  clients = np.arange(4000)
  seconds = clock.seconds(clients, np.ones(4000), 0, 0)
  assert np.std(np.log(seconds)) == pytest.approx(0.5, abs=0.02)
  assert np.median(seconds) == pytest.approx(1.0, abs=0.03)
  alone = clock.seconds(np.array([17]), np.ones(1), 0, 0)
  assert alone[0] == seconds[17]


def test_speed_and_connection_have_a_draw_each():
  clock = devices.Devices(2.0, 10.0, 5.0, 0.5, seed=1)
  seconds = clock.seconds(np.array([16, 17]), np.array([3, 3]), 20, 10)
  z = [random_streams.generator(1, 'device', client).normal(size=2) for client in (16, 17)]
  np.testing.assert_allclose(seconds, [6 * np.exp(a / 2) + 4 * np.exp(b / 2) for a, b in z])


@pytest.fixture
def ready(tmp_path):
  """Phones that are ready for 3, 6, 9 or 12 s of a minute, and one that always is."""
  times = [(s, s + 3 * (s + 1)) for s in range(4)]
  records = [trace_files.timer(0, 60, pair) for pair in (*times, (0, 60))]
  return trace_files.readiness_of(tmp_path, records, 100)


@pytest.mark.parametrize('wanted, per_round', [(0, 12), (12, 18)])
@pytest.mark.parametrize('seconds', [0.0, 7.5, 130.0])
def test_a_phone_that_stops_being_ready_drops_out(ready, wanted, per_round, seconds):
  sizes = np.arange(10, 210, 2)
  sampler = cohorts.CohortSampler('uniform', per_round, sizes, seed=5)
  p = _participation(sampler=sampler, wanted=wanted, readiness=ready, straggler_fraction=0.5)
  plans = [p.plan(round_num, seconds) for round_num in range(1, 6)]
  for round_num, plan in enumerate(plans, 1):
    assert plan.begins == ready.earliest(seconds, 12, sizes > 0)
    assert ready.at(plan.begins)[plan.selected].all()
    assert len(plan.selected) == min(per_round, ready.at(plan.begins).sum())
    epochs, _ = p._straggle(len(plan.selected), round_num)
    takes = p.devices.seconds(plan.selected, epochs * sizes[plan.selected], 1000, 1000)
    left = ready.until(plan.selected, plan.begins) - plan.begins
    late = takes > left
    able = np.flatnonzero(~late)
    if wanted:
      able = np.sort(able[np.argsort(takes[able])][:wanted])
    np.testing.assert_array_equal(plan.uploading, plan.selected[able])
    assert plan.dropouts == late.sum()
    enough = wanted and len(able) == wanted
    assert plan.last_dropout == (0.0 if enough else max(left[late], default=0.0))
  assert sum(plan.dropouts for plan in plans) > 0
  assert any(plan.last_dropout for plan in plans) or wanted


@pytest.mark.parametrize('over', [False, True])
def test_a_round_waits_until_as_many_are_ready_as_are_wanted(over, tmp_path):
  times = [(10, 20), (15, 60)]
  phones = trace_files.readiness_of(tmp_path, [trace_files.timer(0, 60, t) for t in times], 12)
  sizes = np.where(np.arange(12) % 3 == 1, 0, 1)
  first, both = np.sum((phones.phones == 0) & (sizes == 1)), np.sum(sizes == 1)
  assert 0 < first < both < 12
  for enough, seconds, begins in ((first, 2.0, 10.0), (first + 1, 2.0, 15.0), (both, 16.5, 16.5)):
    sampler = cohorts.CohortSampler('uniform', int(2 * enough if over else enough), sizes, seed=5)
    p = _participation(sampler=sampler, wanted=int(enough) if over else 0, readiness=phones)
    plan = p.plan(1, seconds)
    assert plan.begins == begins
    ready = int(np.sum(phones.at(begins) & (sizes == 1)))
    assert len(plan.selected) == min(sampler.clients_per_round, ready)


def test_the_same_plans_where_all_phones_are_always_ready(tmp_path):
  always = trace_files.readiness_of(tmp_path, [trace_files.timer(0, 60, (0, 60))], 100)
  trouble = dict(straggler_fraction=0.4, dropout_probability=0.2, wanted=9)
  one, other = _participation(**trouble), _participation(**trouble, readiness=always)
  for round_num in range(4):
    a, b = one.plan(round_num), other.plan(round_num, 17.5)
    assert (a.begins, b.begins) == (0.0, 17.5)
    for name in ('selected', 'uploading', 'epochs'):
      np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert (a.stragglers, a.dropouts, a.last_dropout) == (b.stragglers, b.dropouts, b.last_dropout)
