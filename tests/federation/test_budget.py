"""The ledger of privacy: what is spent, once, and never more than the limit."""

import math
import pathlib
import tempfile
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from fl_research.aggregation.privacy import accountant
from fl_research.federation import budget
from fl_research.federation.budget import Ledger, Mechanism, Spent
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError
from fl_research.training import atomic_files
from tests.federation.requested import asked, CENTRAL

DELTA = 1e-5
POISSON = Mechanism(1.0, 'poisson', 100, 10)
LOCAL = Mechanism(4.0, 'availability', 100, 10)
EVERYBODY = Mechanism(2.0, 'uniform', 10, 10)
NONE = Mechanism(0.0, 'availability', 1, 1)


@pytest.mark.parametrize('mechanism', [POISSON, LOCAL, EVERYBODY])
@pytest.mark.parametrize('discrete', [False, True])
def test_one_run_costs_what_the_accountant_says(mechanism, discrete):
  mechanism = Mechanism(
    mechanism.noise_multiplier,
    mechanism.sampling,
    mechanism.num_clients,
    mechanism.cohort_size,
    discrete,
  )
  alone = accountant.Accountant(
    'rdp', mechanism.drawing, mechanism.noise_multiplier, DELTA, discrete
  )
  spent = Spent(mechanism).in_full(7)
  assert budget.epsilon({'a': spent}, DELTA) == pytest.approx(alone.epsilon(7))


def test_two_runs_cost_what_one_of_their_rounds_does():
  halves = {'a': Spent(LOCAL).in_full(3), 'b': Spent(LOCAL).in_full(5)}
  assert budget.epsilon(halves, DELTA) == budget.epsilon({'a': Spent(LOCAL).in_full(8)}, DELTA)
  apart = sum(budget.epsilon({'a': run}, DELTA) for run in halves.values())
  assert budget.epsilon(halves, DELTA) < apart


def test_a_run_without_noise_has_no_bound():
  assert budget.epsilon({'a': Spent(NONE)}, DELTA) == 0.0
  assert budget.epsilon({'a': Spent(NONE, (1,)), 'b': Spent(LOCAL, (1,))}, DELTA) == math.inf


def test_rounds_without_this_site_cost_where_sampling_protects():
  assert Spent(POISSON).steps == 0
  assert Spent(POISSON, (2, 9)).steps == 9
  assert Spent(LOCAL, (2, 9)).steps == 2
  assert Spent(EVERYBODY, (2, 9)).steps == 2


def test_what_a_request_describes():
  proposal = asked(privacy=CENTRAL)
  assert budget.mechanism_of(proposal) == Mechanism(1.1, 'poisson', 1000, 20)
  assert budget.mechanism_of(proposal, False) == Mechanism(1.1, 'availability', 1000, 20)
  assert budget.mechanism_of(asked()) == NONE


def test_promises_about_different_neighbours_are_not_added_up(tmp_path):
  ledger = Ledger(tmp_path / 'budget.json')
  ledger.spend('heart', 'a', POISSON, 1, DELTA)
  with pytest.raises(Refused, match='cannot be added up') as raised:
    ledger.spend('heart', 'b', LOCAL, 1, DELTA)
  for said in ('about clients replaced, earlier', 'about clients added or removed: their'):
    assert said in str(raised.value)
  ledger.spend('other', 'b', LOCAL, 1, DELTA)
  assert set(ledger.runs('heart')) == {'a'}


def test_a_damaged_file_is_named(tmp_path):
  path = tmp_path / 'budget.json'
  for content in ('{', '{"data_sets": {"a": {"b": {"rounds": [1]}}}}'):
    path.write_text(content)
    with pytest.raises(UsageError, match=r'budget.json: '):
      Ledger(path).data_sets()


_STEPS = st.lists(
  st.tuples(
    st.sampled_from(['a', 'b']), st.integers(1, 6), st.sampled_from(['', 'before', 'after'])
  ),
  max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(_STEPS, st.sampled_from([POISSON, LOCAL]), st.floats(1.0, 3.0))
def test_no_order_of_crashes_and_repetitions_exceeds_the_limit(steps, mechanism, most):
  """A crash comes before or after the file is in its place; the step is then made again or not."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'budget.json')
    let_through = set()
    for run, round_num, crash in steps:
      try:
        with _crashing(crash):
          # As after a restart: nothing is kept in memory.
          Ledger(path).spend('heart', run, mechanism, round_num, DELTA, most)
        let_through.add((run, round_num))
      except (Refused, InterruptedError):
        pass
      runs = Ledger(path).runs('heart')
      assert let_through <= {(name, n) for name, spent in runs.items() for n in spent.rounds}
      assert budget.epsilon(runs, DELTA) <= most
    for run, round_num in let_through:  # What was let through is paid for, for good.
      before = path.read_bytes()
      Ledger(path).spend('heart', run, mechanism, round_num, DELTA, 0.0)
      assert path.read_bytes() == before


def _crashing(crash):
  write = atomic_files.write_atomically

  def killed(path, content):
    if crash != 'before':
      write(path, content)
    if crash:
      raise InterruptedError

  return mock.patch.object(budget.atomic_files, 'write_atomically', killed)


def test_the_ledger_lets_through_exactly_what_fits(tmp_path):
  ledger = Ledger(tmp_path / 'budget.json')
  most = budget.epsilon({'a': Spent(LOCAL).in_full(5)}, DELTA)
  for round_num in range(1, 6):
    after = ledger.spend('heart', 'a', LOCAL, round_num, DELTA, most)
  assert after == most
  with pytest.raises(Refused, match=r'round 6 would bring epsilon of heart to .*; the most is'):
    ledger.spend('heart', 'a', LOCAL, 6, DELTA, most)
  with pytest.raises(Refused, match='round 1 would bring'):
    ledger.spend('heart', 'b', LOCAL, 1, DELTA, most)
  assert ledger.runs('heart') == {'a': Spent(LOCAL, (1, 2, 3, 4, 5))}
