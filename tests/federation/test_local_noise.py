"""Noise of sites' own, and what policy, log and budget make of it."""

import dataclasses
import functools
import math

import numpy as np
import pandas as pd
import pytest

from fl_research.aggregation.privacy import discrete_gaussian
from fl_research.federation import (
  audit_log,
  budget,
  engine_data,
  messages,
  plain_words,
  site_noise,
)
from fl_research.federation import policy as policies
from fl_research.federation.guard import Guard
from fl_research.federation.proposal import Privacy
from fl_research.federation.refusal import Refused
from fl_research.federation.site import Site
from fl_research.registry import UsageError
from fl_research.training import experiment
from tests.federation import runs
from tests.federation.requested import asked, CENTRAL, unmasked

OWN = Privacy('local', 4.0, 0.5, 9.0, 1e-5, 'availability', 1000, discrete=True)
SEEDED = dataclasses.replace(OWN, discrete=False)
ALLOW = policies.DecisionRules('allow')
LOCAL_ONLY = policies.Policy(privacy=policies.PrivacyRules(kinds=('local',)), decision=ALLOW)
LOCAL = {'dp_place': 'local', 'dp_clip_norm': 0.5, 'dp_noise_multiplier': 0.5}
NAMES = ('/client', '/message/0', '/message/1', '/weight', '/finite', '/batches', '/facts/costs')


def results(update, clients=2):
  """What a graph would have so many clients send, all of them the same update of 4 + 2 numbers."""
  rows = lambda value, dtype=np.float32: np.array([value] * clients, dtype)
  update = np.asarray(update, np.float32)
  return [
    np.arange(clients, dtype=np.int32),
    rows(update[:4].reshape(2, 2)),
    rows(update[4:]),
    rows(17.0),
    rows(False, np.bool_),
    rows([5], np.int32),
    rows([3.0, 24.0], np.float64),
  ]


def noise_of(secret=bytes(32), **changes):
  return site_noise.SiteNoise(secret, unmasked(privacy=dataclasses.replace(OWN, **changes)))


@pytest.mark.parametrize('update', [[3.0, -4.0, 0.0, 0.0, 0.0, 12.0], [0.01, 0, 0, 0, -0.02, 0]])
def test_what_leaves_is_the_cut_update_and_whole_numbers_of_noise(update):
  noise = noise_of(noise_multiplier=0.001)
  sent = noise.apply(NAMES, results(update), 1, [4, 9])
  unit = math.floor(2**20 / 0.001) * (1 - 1e-15)
  norm = float(np.linalg.norm(np.float32(update)))
  cut = np.float64(np.float32(update)) * min(1.0, 0.5 / norm)
  for row in range(2):
    left = np.concatenate([sent[1][row].ravel(), sent[2][row]])
    # z C is 0.0005: some standard deviations of it.
    assert 0 < np.abs(left - cut).max() < 0.003
  assert unit > 1e9
  assert not np.array_equal(sent[1][0], sent[1][1])
  assert sent[3].tolist() == [1.0, 1.0] and sent[4].all() and not sent[5].any()
  assert sent[0].tolist() == [0, 1] and sent[6].tolist() == [[3.0, 24.0]] * 2


def test_noise_has_the_stated_size_and_comes_again_for_the_same_question_alone():
  zeros = [np.zeros([3, 20_000], np.float32)]
  draw = lambda noise, number: noise.apply(('/message/0',), zeros, number, [1, 2, 3])[0]
  first = draw(noise_of(), 1)
  np.testing.assert_array_equal(first, draw(noise_of(), 1))
  others = [draw(noise_of(), 2), draw(noise_of(b'\x01' * 32), 1), draw(noise_of(clip_norm=0.4), 1)]
  rows = np.concatenate([first, *others])
  assert np.abs(np.corrcoef(rows) - np.eye(12)).max() < 0.05
  assert first.std() == pytest.approx(4.0 * 0.5, rel=0.02)


@pytest.mark.parametrize('value', [np.nan, np.inf, 3e38])
def test_numbers_that_are_not_finite_are_noise_about_zero(value):
  sent = noise_of(noise_multiplier=0.01).apply(NAMES, results([value, 1, 1, 1, 1, 1]), 1, [4, 9])
  assert np.isfinite(sent[1]).all() and sent[4].all()
  longest = 0.5 if value == 3e38 else 0.0
  assert np.linalg.norm(np.concatenate([sent[1][0].ravel(), sent[2][0]])) < longest + 0.04


@pytest.mark.parametrize(
  ('names', 'clients', 'complaint'),
  [
    ((*NAMES[:-1], '/auxiliary/0'), [4, 9], 'would send auxiliary/0 besides updates'),
    ((*NAMES[:-1], '/origin/0'), [4, 9], 'would send origin/0 besides updates'),
    (('/client', *('/facts/sums' for _ in NAMES[1:])), [4, 9], 'must be sent as they are'),
    (('/message/2', *NAMES[1:]), [4, 9], 'must be sent as they are'),
    (NAMES, [4, 4], 'asked for twice in a round'),
  ],
)
def test_what_no_noise_would_cover_is_refused(names, clients, complaint):
  with pytest.raises(Refused, match=complaint):
    noise_of().apply(names, results(np.ones(6)), 1, clients)
  with pytest.raises(Refused, match='more than 64 numbers besides updates'):
    noise_of().apply(
      ('/message/0', '/facts/sums'), [np.ones([1, 3], np.float32), np.ones([1, 65])], 1, [4]
    )


def test_a_folder_has_one_secret(tmp_path):
  first = site_noise.of_site(tmp_path, unmasked(privacy=OWN))
  path = tmp_path / site_noise.KEY
  assert path.stat().st_mode & 0o777 == 0o600 and path.stat().st_size == 32
  again = site_noise.of_site(tmp_path, unmasked(privacy=OWN))
  zeros = [np.zeros([1, 5], np.float32)]
  draws = [own.apply(('/message/0',), zeros, 1, [1])[0] for own in (first, again)]
  np.testing.assert_array_equal(*draws)
  path.write_bytes(b'short')
  with pytest.raises(UsageError, match=r'noise\.key: is no secret of 32 bytes; restore it'):
    site_noise.of_site(tmp_path, unmasked(privacy=OWN))


def test_a_policy_that_demands_local_noise_takes_a_sites_own_alone(tmp_path):
  guard = Guard(tmp_path, LOCAL_ONLY)
  answers = {
    privacy: guard.propose(unmasked(privacy=privacy))
    for privacy in (OWN, SEEDED, CENTRAL, Privacy())
  }
  assert [answer.status for answer in answers.values()] == ['approved', *['denied'] * 3]
  assert 'accepted is noise that this site draws (--dp_noise=cryptographic)' in str(answers[SEEDED])
  for privacy, kind in ((CENTRAL, 'central'), (Privacy(), 'none')):
    assert f'Differential privacy is {kind}; accepted is local.' in answers[privacy].reasons
  trusting = policies.PrivacyRules(kinds=('local',), trust_seed=True)
  trusts = Guard(tmp_path / 'b', policies.Policy(privacy=trusting, decision=ALLOW))
  run = trusts.propose(unmasked(privacy=SEEDED))
  assert run.status == 'approved' and trusts.noise(unmasked(privacy=SEEDED).run_id) is None


def test_what_is_enough_noise_and_what_it_costs(tmp_path):
  least = policies.PrivacyRules(kinds=('local',), least_noise=4.5)
  found = Guard(tmp_path / 'a', policies.Policy(privacy=least)).propose(unmasked(privacy=OWN))
  assert 'The noise multiplier is 4; the least is 4.5.' in found.reasons
  # Ten rounds of z / 2 = 2.
  proposal = unmasked(privacy=OWN)
  in_full = budget.described_epsilon(proposal, 1e-5)
  most = policies.PrivacyRules(kinds=('local',), most_epsilon=in_full / 2, delta=1e-5)
  found = Guard(tmp_path / 'b', policies.Policy(privacy=most)).propose(proposal)
  assert found.status == 'denied' and 'together may cost' in str(found)
  guard = Guard(tmp_path / 'c', LOCAL_ONLY)
  guard.propose(proposal)
  guard.admit(proposal.run_id, 'updates', 1)
  guard.admit(proposal.run_id, 'updates', 3)
  spent = guard.ledger.runs(proposal.data_set)
  rho = 2 / (2 * 2.0**2)
  epsilon = budget.epsilon(spent, 1e-5)
  assert 0.7 * epsilon < rho + 2 * math.sqrt(rho * math.log(1e5))
  assert epsilon <= rho + 2 * math.sqrt(rho * math.log(1e5))
  said = ' '.join(guard.describe(proposal)['Differential privacy'])
  assert 'This site adds noise of 4 times the norm 0.5' in said
  assert 'nobody else can know the noise' in said
  assert 'from a seed that it knows' in ' '.join(
    guard.describe(unmasked(privacy=SEEDED))['Differential privacy']
  )


def test_a_request_must_ask_for_noise_that_a_site_can_draw():
  with pytest.raises(UsageError, match=r'noise of the site is a number from 0\.001 on'):
    dataclasses.replace(OWN, noise_multiplier=discrete_gaussian.SMALLEST_MULTIPLIER / 2)


def test_a_round_is_noised_once_also_where_it_is_masked(tmp_path):
  proposal = asked(privacy=OWN)
  for _ in range(2):
    guard = Guard(tmp_path, LOCAL_ONLY)
    guard.propose(proposal)
    guard.noised(proposal.run_id, 1, b'first')
    with pytest.raises(Refused, match='round 1 was answered with other bytes before'):
      guard.noised(proposal.run_id, 1, b'other')
  lines = [e for e in audit_log.entries(guard.log.path) if e['what'] == 'noised']
  assert len(lines) == 1
  assert 'noised updates, round 1' in plain_words.log_line(lines[0])


def test_seeded_noise_is_the_simulations(tmp_path, monkeypatch):
  settings = runs.settings(tmp_path, experiment_name='simulated', **LOCAL)
  simulated = experiment.run(settings, lambda: '')
  deployed, _, sites = runs.of_sites(settings, monkeypatch, tmp_path)
  deployed = dataclasses.replace(deployed, experiment_name='deployed')
  at_sites = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  first, second = (np.load(o.folder.path / 'model.npz') for o in (simulated, at_sites))
  for weight in first.files:
    np.testing.assert_array_equal(first[weight], second[weight])
  tables = [pd.read_csv(o.folder.metrics).drop(columns='seconds') for o in (simulated, at_sites)]
  pd.testing.assert_frame_equal(*tables, rtol=1e-6)
  privacy = sites['a']._guard.asked.privacy
  assert privacy.kind == 'local' and not privacy.site_draws
  # The request's is of a client that is asked in all three rounds.
  assert tables[0]['privacy/epsilon'].iloc[-1] <= privacy.epsilon


def _guarded(monkeypatch, tmp_path, settings):
  """Sites whose guards are real ones, of owners who demand local noise, and what they refuse.

  Every round's work is asked for twice, as by an engine that has died, and then of other weights.
  """
  deployed, transport, sites = runs.of_sites(settings, monkeypatch, tmp_path, 'abc')
  refused, guards = [], {}

  def handle(own, request):
    answer, message = own(request), messages.unpack(request)
    if message.kind == 'work' and messages.unpack(answer).kind != 'needs':
      assert own(request) == answer
      server = [np.array(a * 1.5, a.dtype) if a.ndim else a for a in message.arrays['server']]
      other = dataclasses.replace(message, arrays={**message.arrays, 'server': server})
      refused.append(messages.unpack(own(messages.pack(other)))['reason'])
    return answer

  for name, site in sites.items():
    guards[name] = Guard(tmp_path / 'owners' / name, LOCAL_ONLY)
    own = Site(name, site._data, guards[name], tmp_path / 'kept' / name)
    transport.handlers[name] = functools.partial(handle, own.handle)
  return deployed, guards, refused


@pytest.mark.parametrize('secure_aggregation', ['none', 'protocol'])
def test_a_run_with_noise_of_the_sites(secure_aggregation, tmp_path, monkeypatch):
  # Hardly any, so that the simulation without noise is near.
  given = {**LOCAL, 'dp_noise_multiplier': 0.002, 'total_rounds': 2, 'clients_per_round': 6}
  settings = runs.settings(tmp_path, experiment_name='simulated', **given)
  deployed, guards, refused = _guarded(monkeypatch, tmp_path, settings)
  deployed = dataclasses.replace(
    deployed,
    experiment_name='deployed',
    dp_noise='cryptographic',
    secure_aggregation=secure_aggregation,
  )
  outcome = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  cut = experiment.run(dataclasses.replace(settings, dp_noise_multiplier=0.0), lambda: '')
  first, second = (np.load(o.folder.path / 'model.npz') for o in (cut, outcome))
  for weight in first.files:
    assert 0 < np.abs(first[weight] - second[weight]).mean() < 0.003
  assert len(refused) == 6
  assert set(refused) == {f'round {n} was answered with other bytes before' for n in (1, 2)}
  log = list(audit_log.entries(guards['a'].log.path))
  noised = [entry['round'] for entry in log if entry['what'] == 'noised']
  assert noised == [1, 2]
  asked_for = guards['a'].requests.all()[0].proposal
  assert asked_for.privacy.site_draws
  row = pd.read_csv(outcome.folder.metrics).iloc[-1]
  # All clients take part in all rounds.
  assert row['privacy/epsilon'] == asked_for.privacy.epsilon
  spent = guards['a'].ledger.runs('synthetic')
  assert budget.epsilon(spent, asked_for.privacy.delta) == pytest.approx(asked_for.privacy.epsilon)


def test_what_is_withheld_does_not_leave(tmp_path, monkeypatch):
  settings = runs.settings(
    tmp_path, experiment_name='x', **LOCAL, total_rounds=1, private_metrics='withhold'
  )
  deployed, guards, _ = _guarded(monkeypatch, tmp_path, settings)
  deployed = dataclasses.replace(deployed, dp_noise='cryptographic', site_metrics='withhold')
  outcome = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  left = [e for e in audit_log.entries(guards['a'].log.path) if e['what'] == 'leaves']
  assert {(entry['kind'], *entry['beside']) for entry in left} <= {('updates', 'counts')}
  assert set(pd.read_csv(outcome.folder.metrics)) == {'round', 'privacy/epsilon', 'privacy/delta'}
