"""The guard: what it lets through, and that its log and files agree whatever happens."""

import dataclasses
import hashlib
import json
import os
import time

from cryptography.hazmat.primitives.asymmetric import ed25519
import pytest

from fl_research.aggregation.privacy import accountant
from fl_research.federation import audit_log, graph_check, plain_words, requests, signing
from fl_research.federation import policy as policies
from fl_research.federation import proposal as proposals
from fl_research.federation.guard import Guard
from fl_research.federation.proposal import Experimenter, Graph, Privacy, Release
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError
from tests.federation.requested import asked, CENTRAL, unmasked

MASKED = proposals.MASKED_UPDATES
ALLOW = policies.Policy(decision=policies.DecisionRules('allow'))
LOCAL = Privacy('local', 4.0, 1.0, 9.0, 1e-5, 'availability', 1000, discrete=True)


def _log(guard):
  return list(audit_log.entries(guard.log.path))


@pytest.fixture
def guard(tmp_path):
  return Guard(tmp_path / 'site', ALLOW)


def _approved(guard, proposal):
  assert guard.propose(proposal).status == 'approved'
  return proposal.run_id


def test_a_round_from_request_to_reply(guard):
  run = _approved(guard, asked())
  guard.received(run, MASKED, 1, b'weights')
  guard.admit(run, MASKED, 1)
  guard.leaves(run, MASKED, 1, b'update')
  what = [entry['what'] for entry in _log(guard)]
  assert what == ['asked', 'received', 'admitted', 'leaves']
  last = _log(guard)[-1]
  assert last['bytes'] == 6
  assert last['sha256'] == hashlib.sha256(b'update').hexdigest()
  assert audit_log.verify(guard.log.path) is None


def test_a_person_decides_and_may_change_their_mind(tmp_path):
  guard = Guard(tmp_path, policies.Policy())
  run = asked().run_id
  assert guard.propose(asked()).status == 'waiting'
  with pytest.raises(Refused, match='is waiting'):
    guard.admit(run, MASKED, 1)
  Guard(tmp_path, policies.Policy()).approve(run, 'as agreed')
  assert guard.propose(asked()).status == 'approved'
  guard.admit(run, MASKED, 1)
  Guard(tmp_path, policies.Policy()).deny(run, 'The study is over.')
  with pytest.raises(Refused, match=r'is denied: The study is over\.'):
    guard.leaves(run, MASKED, 1, b'update')
  assert guard.propose(asked()).status == 'denied'
  assert 'leaves' not in [entry['what'] for entry in _log(guard)]


def test_an_approval_is_of_this_request_alone(tmp_path):
  guard = Guard(tmp_path, policies.Policy())
  guard.propose(asked())
  guard.approve(asked().run_id)
  longer = asked(total_rounds=11)
  assert guard.propose(longer).status == 'waiting'
  path = tmp_path / 'requests' / f'{asked().run_id}.json'
  path.rename(path.with_name(f'{longer.run_id}.json'))
  with pytest.raises(UsageError, match='another proposal than the one it is named by'):
    guard.admit(longer.run_id, MASKED, 11)


def test_withdrawn_admits_nothing_and_may_be_asked_again(guard):
  run = _approved(guard, asked())
  guard.withdraw(run)
  with pytest.raises(Refused, match='is withdrawn'):
    guard.admit(run, MASKED, 1)
  with pytest.raises(UsageError, match='has withdrawn it'):
    guard.approve(run)
  _approved(guard, asked())
  guard.admit(run, MASKED, 1)


def test_what_a_killed_engine_leaves_open_is_withdrawn(tmp_path):
  rules = policies.Policy(decision=policies.DecisionRules('allow', silent_days=2.0))
  proposals_of = [asked(privacy=CENTRAL, flags={'seed': seed}) for seed in (1, 2, 3)]
  guard = Guard(tmp_path, rules)
  runs = [_approved(guard, proposal) for proposal in proposals_of]
  waits = Guard(tmp_path, policies.Policy()).propose(asked(flags={'seed': 4}))
  assert waits.status == 'waiting'
  days_ago = lambda days: time.time() - 86_400 * days
  silent = [*runs, asked(flags={'seed': 4}).run_id]
  for run, days in zip(silent, (1.9, 2.1, 2.1, 2.1), strict=True):
    os.utime(guard.requests.folder / f'{run}.json', (days_ago(days),) * 2)
  guard.received(runs[2], MASKED, 1, b'still here')
  reserved = guard.history(asked()).rounds
  again = Guard(tmp_path, rules)
  found = [again.requests.get(run).status for run in silent]
  assert found == ['approved', 'withdrawn', 'approved', 'withdrawn']
  assert again.history(asked()).rounds == reserved - 10
  with pytest.raises(Refused, match='is withdrawn: Nothing was heard of its program for 2 days'):
    guard.admit(runs[1], MASKED, 1)
  # A program that asks again is heard of, and one that comes back is decided on anew.
  os.utime(guard.requests.folder / f'{runs[0]}.json', (days_ago(1.9),) * 2)
  assert again.propose(proposals_of[0]).status == 'approved'
  assert time.time() - again.requests.last_heard(runs[0]) < 3600
  assert again.propose(proposals_of[1]).status == 'approved'
  assert [e['by'] for e in _log(again) if e['what'] == 'withdrawn'] == ['policy'] * 2


def test_decisions_are_in_the_log_with_who_made_them(tmp_path):
  guard = Guard(tmp_path / 'a' / 'b', policies.Policy())
  run = asked().run_id
  guard.propose(asked())
  guard.approve(run, 'as agreed')
  guard.withdraw(run)
  guard.propose(asked())
  guard.deny(run, 'No.')
  guard.withdraw(run)  # Changes nothing: the owner has the last word.
  assert guard.requests.get(run).status == 'denied'
  made = [(entry['what'], entry.get('by')) for entry in _log(guard)]
  assert made == [
    ('asked', None),
    ('approved', 'owner'),
    ('withdrawn', 'experimenter'),
    ('asked', None),
    ('denied', 'owner'),
  ]
  assert _log(guard)[1]['note'] == 'as agreed'
  assert _log(guard)[4]['why'] == 'No.'


def test_what_has_gone_before_is_all_other_runs(guard):
  first, second, third = (asked(privacy=CENTRAL, flags={'seed': seed}) for seed in (1, 2, 3))
  before = guard.history(third)
  run = _approved(guard, first)
  assert guard.history(third).rounds == 10
  guard.admit(run, MASKED, 1)
  guard.admit(run, MASKED, 2)
  assert guard.history(first) == before  # Of itself nothing counts.
  _approved(guard, second)
  assert guard.history(third).rounds == 20
  guard.deny(run, 'Enough.')
  assert guard.history(third).rounds == 12
  assert guard.history(third).epsilon_after > before.epsilon_after


@pytest.mark.parametrize(
  'kind, round_num, message',
  [
    ('updates', 1, 'updates may not leave'),
    ('rows', 1, 'rows may not leave'),
    (MASKED, 0, 'has 1 to 10'),
    (MASKED, 11, 'has 1 to 10'),
    ('training metrics', -1, 'has 0 to 10'),
  ],
)
def test_what_was_not_asked_for_is_refused_and_logged(guard, kind, round_num, message):
  run = _approved(guard, asked())
  with pytest.raises(Refused, match=message):
    guard.admit(run, kind, round_num)
  assert _log(guard)[-1]['what'] == 'refused'
  assert message in _log(guard)[-1]['why']


def test_what_was_not_admitted_does_not_leave(guard):
  run = _approved(guard, asked())
  guard.admit(run, MASKED, 1)
  for kind, round_num in ((MASKED, 2), ('training metrics', 1)):
    with pytest.raises(Refused, match='were not admitted'):
      guard.leaves(run, kind, round_num, b'')
  with pytest.raises(Refused, match='never asked for'):
    guard.admit('00' * 32, MASKED, 1)
  with pytest.raises(Refused, match='never asked for'):
    guard.admit('../../x', MASKED, 1)


def test_no_more_bytes_leave_than_the_request_says(guard):
  run = _approved(guard, asked())
  guard.admit(run, MASKED, 1)
  guard.leaves(run, MASKED, 1, b'x' * 900)
  with pytest.raises(Refused, match=r'1001 bytes of masked updates in round 1; the request says'):
    guard.leaves(run, MASKED, 1, b'x' * 101)


def test_what_leaves_beside_updates_is_in_the_log_and_must_be_admitted_too(guard):
  run = _approved(guard, asked())
  guard.admit(run, MASKED, 1)
  with pytest.raises(Refused, match='training metrics of round 1 were not admitted'):
    guard.leaves(run, MASKED, 1, b'both', ('training metrics',))
  guard.admit(run, 'training metrics', 1)
  guard.leaves(run, MASKED, 1, b'both', ('training metrics',))
  assert _log(guard)[-1]['beside'] == ['training metrics']
  assert 'masked updates with training metrics, round 1' in plain_words.log_line(_log(guard)[-1])


def test_metrics_that_the_owner_withholds_are_asked_for_in_vain(tmp_path):
  told = lambda guard: ' '.join(guard.describe(asked())['What leaves the site'])
  kinds = (MASKED,)
  strict = Guard(
    tmp_path / 'strict', dataclasses.replace(ALLOW, release=policies.ReleaseRules(kinds))
  )
  assert strict.propose(asked()).reasons == ('Training metrics must not leave the site.',)
  assert 'how many steps it has made, its training metrics.' in told(strict)
  withholds = dataclasses.replace(ALLOW, release=policies.ReleaseRules(kinds, metrics='withheld'))
  guard = Guard(tmp_path / 'withholds', withholds)
  answer = guard.propose(asked())
  assert (answer.status, answer.withheld) == ('approved', ('training metrics',))
  assert guard.propose(asked()).withheld == answer.withheld
  assert guard.reports(asked().run_id) == ('counts',)
  assert 'Training metrics: asked for, and withheld by the policy' in told(guard)
  assert 'how many steps it has made.' in told(guard)
  plainly = ' '.join(plain_words.describe_policy(withholds)['release'])
  assert 'Training metrics are withheld' in plainly


def test_few_clients_or_rows_behind_a_number_are_refused(tmp_path):
  rules = dataclasses.replace(ALLOW, release=policies.ReleaseRules(least_clients=5, least_rows=50))
  guard = Guard(tmp_path, rules)
  run = _approved(guard, asked())
  guard.admit(run, MASKED, 1, clients=5, rows=50)
  for clients, rows, message in (
    (4, 50, 'too few clients'),
    (5, 49, 'too few rows'),
    (None, 50, 'how many clients'),
    (5, None, 'how many rows'),
  ):
    with pytest.raises(Refused, match=message) as raised:
      guard.admit(run, MASKED, 1, clients, rows)
    assert '49' not in str(raised.value)


def _private(most_epsilon):
  return dataclasses.replace(ALLOW, privacy=policies.PrivacyRules(most_epsilon=most_epsilon))


def test_a_round_is_paid_for_once_also_after_a_restart(tmp_path):
  rules = _private(3.0)
  run = _approved(Guard(tmp_path, rules), asked(privacy=CENTRAL))
  for _ in range(3):
    Guard(tmp_path, rules).admit(run, MASKED, 1)
    Guard(tmp_path, rules).admit(run, 'training metrics', 1)
  [spent] = Guard(tmp_path, rules).ledger.runs('heart_disease').values()
  assert spent.rounds == (1,)


def test_approved_runs_count_in_full_before_they_are_made(tmp_path):
  guard = Guard(tmp_path, _private(100.0))
  alone = guard.history(asked(privacy=CENTRAL)).epsilon_after
  guard = Guard(tmp_path, _private(alone * 1.01))
  run = _approved(guard, asked(privacy=CENTRAL))
  second = asked(privacy=CENTRAL, flags={'seed': 2})
  answer = guard.propose(second)
  assert answer.status == 'denied'
  assert 'together may cost epsilon' in answer.reasons[0]
  with pytest.raises(UsageError, match='the policy denies it'):
    guard.approve(second.run_id)
  guard.withdraw(run)  # No round of it was made: all is there for the next.
  assert guard.propose(second).status == 'approved'


def test_sampling_that_is_not_trusted_makes_epsilon_no_smaller(tmp_path):
  trusting, wary = (
    Guard(tmp_path, policies.Policy(privacy=policies.PrivacyRules(trust_sampling=trust)))
    for trust in (True, False)
  )
  proposal = asked(privacy=CENTRAL)
  everybody = asked(privacy=dataclasses.replace(CENTRAL, sampling='availability'))
  assert wary.history(proposal).run_epsilon == trusting.history(everybody).run_epsilon
  assert wary.history(proposal).run_epsilon > 5 * trusting.history(proposal).run_epsilon
  assert wary.decide(proposal).verdict == policies.ASK
  said = ' '.join(trusting.describe(proposal)['Differential privacy'])
  assert '20 of 1,000 clients are drawn at random' in said
  assert 'at random' not in ' '.join(wary.describe(proposal)['Differential privacy'])


def test_a_request_for_other_data_does_not_get_a_budget_of_its_own(tmp_path):
  guard = Guard(tmp_path, ALLOW, 'heart_disease')
  answer = guard.propose(asked(data_set='heart_disease_2'))
  assert answer.status == 'denied'
  assert answer.reasons == (
    'The data set here is heart_disease, and the request is for heart_disease_2.',
  )
  _approved(guard, asked())


def test_without_noise_nothing_runs_where_there_is_a_budget(tmp_path):
  answer = Guard(tmp_path, _private(3.0)).propose(asked())
  assert answer.status == 'denied'
  assert 'more than any number' in answer.reasons[0]


def test_a_stated_epsilon_that_is_too_small_is_denied(guard):
  dreamt = dataclasses.replace(CENTRAL, epsilon=0.1)
  answer = guard.propose(asked(privacy=dreamt))
  assert answer.status == 'denied'
  assert answer.reasons[0].startswith('The request states epsilon 0.1; what it describes has')


def test_an_epsilon_by_loss_distributions_is_no_understatement(tmp_path):
  drawing = accountant.Sampling('poisson', 1000, 20)
  by = {
    name: accountant.Accountant(name, drawing, 1.1, 1e-5).epsilon(10) for name in ('pld', 'rdp')
  }
  assert by['pld'] < 0.95 * by['rdp']
  stating = lambda epsilon: asked(privacy=dataclasses.replace(CENTRAL, epsilon=epsilon))
  guard = Guard(tmp_path, ALLOW)
  assert guard.propose(stating(by['pld'])).status == 'approved'
  dreamt = guard.propose(stating(0.95 * by['pld']))
  assert dreamt.status == 'denied'
  assert f'what it describes has {by["pld"]:.4g}' in dreamt.reasons[0]
  # The budget of all runs is by Rényi's divergence all the same.
  assert guard.history(stating(by['pld'])).run_epsilon == pytest.approx(by['rdp'])


def test_a_stated_epsilon_is_held_against_the_delta_that_it_was_stated_for(tmp_path):
  epsilons = []
  for number, policys in enumerate((1e-8, 1e-3)):
    rules = policies.Policy(privacy=policies.PrivacyRules(delta=policys))
    found = Guard(tmp_path / str(number), rules).history(asked(privacy=CENTRAL))
    epsilons.append((found.described_epsilon, found.epsilon_after))
  (stated, strict), (again, loose) = epsilons
  assert stated == again
  assert strict > stated > loose


def test_a_stricter_policy_holds_for_what_was_approved_before(tmp_path):
  run = _approved(Guard(tmp_path, ALLOW), asked())
  stricter = Guard(tmp_path, policies.Policy(data=policies.Data(sets=())))
  with pytest.raises(Refused, match='approved under another policy: The data set'):
    stricter.admit(run, MASKED, 1)
  asks = Guard(tmp_path, policies.Policy())
  with pytest.raises(Refused, match='under another policy'):
    asks.admit(run, MASKED, 1)
  asks.approve(run)
  asks.admit(run, MASKED, 1)


def test_with_noise_of_its_own_a_site_answers_a_round_once(tmp_path):
  proposal = unmasked(privacy=LOCAL)
  run = _approved(Guard(tmp_path, ALLOW), proposal)
  for _ in range(2):
    guard = Guard(tmp_path, ALLOW)
    guard.admit(run, 'updates', 1)
    guard.leaves(run, 'updates', 1, b'update')
    with pytest.raises(Refused, match='answered with other bytes'):
      guard.leaves(run, 'updates', 1, b'other')


def test_signatures(guard):
  key = ed25519.Ed25519PrivateKey.generate()
  signed = asked(experimenter=Experimenter('Ada', signing.public_key(key)))
  assert guard.propose(signed, key.sign(signed.canonical())).status == 'approved'
  other = dataclasses.replace(signed, total_rounds=9)
  for wrong in (b'', b'x' * 64, key.sign(signed.canonical())):
    with pytest.raises(Refused, match='is not signed by the key that it names'):
      guard.propose(other, wrong)
  with pytest.raises(Refused, match='was never asked for'):
    guard.admit(other.run_id, MASKED, 1)


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path):
  path = tmp_path / 'key.pem'
  key = signing.load_key(path)
  assert signing.public_key(signing.load_key(path)) == signing.public_key(key)
  assert path.stat().st_mode & 0o777 == 0o600
  path.write_text('no key')
  with pytest.raises(UsageError, match='is not an Ed25519 private key'):
    signing.load_key(path)


def test_columns_that_were_not_named_are_not_used(guard):
  run = _approved(guard, asked())
  guard.check_columns(run, ('sick', 'age'))
  with pytest.raises(Refused, match='would use column name, which it does not name'):
    guard.check_columns(run, ('age', 'name'))
  assert _log(guard)[-1]['what'] == 'refused'


def test_a_graph_must_be_one_that_was_named_and_be_what_was_said(guard, monkeypatch):
  library = b'library'
  monkeypatch.setattr(graph_check, 'check', lambda _: ('Add', 'MatMul'))
  named = Graph(hashlib.sha256(library).hexdigest(), 'work', ('Add', 'MatMul'))
  run = _approved(guard, asked(graphs=(named,)))
  guard.check_graph(run, library)
  with pytest.raises(Refused, match='is none of those that run'):
    guard.check_graph(run, b'another')
  fewer = _approved(guard, asked(graphs=(dataclasses.replace(named, operations=('Add',)),)))
  with pytest.raises(Refused, match='other operations than the request says'):
    guard.check_graph(fewer, library)
  assert _log(guard)[-1]['graph'] == named.sha256


def test_requests_do_not_fill_the_disk(tmp_path, monkeypatch):
  monkeypatch.setattr(requests, 'MOST_WAITING', 2)
  guard = Guard(tmp_path, policies.Policy())
  for seed in (1, 2):
    guard.propose(asked(flags={'seed': seed}))
  with pytest.raises(Refused, match='2 requests are waiting already'):
    guard.propose(asked(flags={'seed': 3}))
  assert len(guard.requests.all()) == 2


def test_what_does_not_fit_together_is_not_worked_with(tmp_path):
  run = _approved(Guard(tmp_path, ALLOW), asked(privacy=CENTRAL))
  Guard(tmp_path, ALLOW).admit(run, MASKED, 1)
  ledger = tmp_path / 'budget.json'
  paid = ledger.read_bytes()
  ledger.unlink()
  with pytest.raises(UsageError, match=r'budget.json: lacks round 1'):
    Guard(tmp_path, ALLOW)
  ledger.write_bytes(paid)
  log = tmp_path / 'audit.log'
  written = log.read_bytes()
  log.write_bytes(written.replace(b'approved', b'denied..'))
  with pytest.raises(UsageError, match='line 2 does not follow'):
    Guard(tmp_path, ALLOW)
  log.unlink()
  with pytest.raises(UsageError, match=r'audit.log is missing'):
    Guard(tmp_path, ALLOW)
  audit_log.head_path(log).unlink()
  with pytest.raises(UsageError, match='is missing, and there are requests or a budget'):
    Guard(tmp_path, ALLOW)
  log.write_bytes(written)
  with pytest.raises(UsageError, match='head is missing'):
    Guard(tmp_path, ALLOW)


def test_a_damaged_request_is_named(guard):
  run = _approved(guard, asked())
  path = guard.requests.folder / f'{run}.json'
  path.write_text(json.dumps({'status': 'approved'}))
  with pytest.raises(UsageError, match='proposal is missing'):
    guard.admit(run, MASKED, 1)
  path.write_text('{')
  with pytest.raises(UsageError, match='is not JSON'):
    guard.requests.all()


def test_a_request_is_found_by_the_beginning_of_its_run_id(guard):
  run = _approved(guard, asked())
  assert guard.requests.find(run[:8]).run_id == run
  for beginning in ('', run[:3], 'zzzz'):
    with pytest.raises(UsageError, match='no request begins so'):
      guard.requests.find(beginning)


def test_releases_are_found_by_kind():
  assert asked().release(MASKED) == Release(MASKED, 1000)
  assert asked().release('counts') is None


def test_what_is_said_before_any_run_is_in_the_log(tmp_path):
  guard = Guard(tmp_path, policies.Policy(survey=policies.SurveyRules(('counts',))))
  guard.survey('counts')
  guard.surveyed('counts', b'12 rows')
  with pytest.raises(Refused, match='does not let column statistics be known'):
    guard.survey('column statistics')
  assert [entry['what'] for entry in _log(guard)] == ['surveyed', 'refused']
  assert _log(guard)[0]['sha256'] == hashlib.sha256(b'12 rows').hexdigest()
