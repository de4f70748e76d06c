"""Updates that no site shows: the sums are those in the clear, and the engine sees nothing else."""

import dataclasses

from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
import numpy as np
import pandas as pd
import pytest

from fl_research.federation import (
  engine_data,
  messages,
  secure_rounds,
  signer,
  signing,
  site_session,
)
from fl_research.federation.messages import Message, MessageError
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError
from fl_research.secure_aggregation import keys as signatures
from fl_research.secure_aggregation import parameters, server
from fl_research.secure_aggregation.steps import Step
from fl_research.training import experiment
from tests.federation import in_process, runs

FLAGS = {'clients_per_round': 6, 'algorithm': 'scaffold', 'secure_aggregation': 'clear'}


def _deployed(tmp_path, monkeypatch, name, names='abc', **flags):
  settings = runs.settings(tmp_path, experiment_name=name, **FLAGS)
  settings = dataclasses.replace(settings, secure_aggregation='protocol', **flags)
  return runs.of_sites(settings, monkeypatch, tmp_path / name, names)


def _run(settings):
  return experiment.run(settings, lambda: '', engine_data.load(settings))


def _model(outcome):
  stored = np.load(outcome.folder.path / 'model.npz')
  return [stored[name] for name in stored.files]


@pytest.fixture(scope='module')
def in_the_clear(tmp_path_factory):
  settings = runs.settings(tmp_path_factory.mktemp('runs'), experiment_name='clear', **FLAGS)
  return experiment.run(settings, lambda: '')


def test_the_sums_in_the_clear_and_nothing_else(in_the_clear, tmp_path, monkeypatch):
  settings, transport, sites = _deployed(tmp_path, monkeypatch, 'masked')
  held, replies = [], []
  combine = site_session.SiteSession

  def remembers(run, round_num, facts, vector, *others):
    held.append(vector)
    return combine(run, round_num, facts, vector, *others)

  monkeypatch.setattr(site_session, 'SiteSession', remembers)
  monkeypatch.setattr('fl_research.federation.site.SiteSession', remembers)
  for name, site in sites.items():
    transport.handlers[name] = lambda request, site=site: (
      replies.append((messages.unpack(request).kind, site.handle(request))) or replies[-1][1]
    )
  deployed = _run(settings)
  for own, other in zip(_model(in_the_clear), _model(deployed), strict=True):
    np.testing.assert_array_equal(own, other)
  tables = [pd.read_csv(each.folder.metrics) for each in (in_the_clear, deployed)]
  common = [c for c in tables[1] if c in tables[0] and not c.startswith('seconds')]
  pd.testing.assert_frame_equal(tables[0][common], tables[1][common], rtol=1e-6)
  # In every byte the engine receives, no run of a vector that a site holds.
  everything = b''.join(reply for _, reply in replies)
  assert len(held) == 9
  for vector in held:
    for width in ('<u8', '<u4'):
      assert vector[:16].astype(width).tobytes() not in everything
  kinds = {kind for kind, _ in replies}
  assert {'work', 'combine', 'session'} <= kinds
  for kind, reply in replies:
    answer = messages.unpack(reply)
    if kind == 'work':
      assert answer.kind == 'held' and set(answer.arrays) == {'clients'}
    if kind == 'combine':
      assert max(array.size for array in answer.arrays['sent']) < held[0].size


class _Silent:
  """A site that answers no more from a step of a session on, in one round."""

  def __init__(self, site, step):
    self._site, self._step = site, step

  def is_away(self, request):
    message = messages.unpack(request)
    of_round = message.kind in ('combine', 'session') and message['round'] == 2
    step = message['step'] if message.kind == 'session' else -1
    return of_round and step >= self._step


@pytest.mark.parametrize('step', [-1, 2])
def test_a_site_that_falls_silent_is_not_in_the_sum(step, tmp_path, monkeypatch):
  settings, transport, sites = _deployed(tmp_path, monkeypatch, 'silent', 'abc', min_sites=2)
  silent = _Silent(sites['b'], step)
  ask = transport.ask

  def asks(requests, deadline):
    transport.away = {'b'} if 'b' in requests and silent.is_away(requests['b']) else set()
    return ask(requests, deadline)

  monkeypatch.setattr(transport, 'ask', asks)
  table = pd.read_csv(_run(settings).folder.metrics)
  assert table['participants'].tolist()[1:] == [6, 4, 6]
  assert table['dropouts'].tolist()[1:] == [0, 2, 0]


def _falling_silent(monkeypatch, transport, away):
  """Has sites fall silent in round 2; `away` is given attempt and step. Gives the attempts."""
  monkeypatch.setattr(secure_rounds.engine_lib, 'PATIENCE', 0.01)
  ask, attempts = transport.ask, []

  def asks(requests, deadline):
    first = messages.unpack(next(iter(requests.values())))
    of_round = first.kind in ('combine', 'session') and first['round'] == 2
    if of_round and first.kind == 'combine':
      attempts.append(first['session']['attempt'])
    session = of_round and first.kind == 'session'
    transport.away = away(attempts[-1], first['step']) if session else set()
    return ask(requests, deadline)

  monkeypatch.setattr(transport, 'ask', asks)
  return attempts


@pytest.mark.parametrize('step', [Step.MASK, Step.REVEAL])
def test_a_session_that_too_few_come_to_the_end_of_is_held_again(
  step, in_the_clear, tmp_path, monkeypatch, capfd
):
  settings, transport, _ = _deployed(tmp_path, monkeypatch, 'again')
  away = lambda attempt, at: {'b', 'c'} if (attempt, at) == (0, step) else set()
  attempts = _falling_silent(monkeypatch, transport, away)
  deployed = _run(settings)
  assert attempts == [0, 1]
  assert 'round 2: secure aggregation aborted' in capfd.readouterr().err
  # Nothing of the first attempt counts, and nobody is missing.
  for own, other in zip(_model(in_the_clear), _model(deployed), strict=True):
    np.testing.assert_array_equal(own, other)
  sessions = [messages.unpack(request) for _, request in transport.asked]
  masked = {
    message.array('payload').tobytes()
    for message in sessions
    if (message.kind, message.fields.get('round')) == ('session', 2)
    and message['step'] == Step.SHARE
  }
  # With other keys: shares of one session are of no use in another.
  assert len(masked) == 6


def test_held_again_without_a_site_that_was_in_the_first_sum(tmp_path, monkeypatch):
  settings, transport, _ = _deployed(tmp_path, monkeypatch, 'fewer', min_sites=2)
  # Site a has given its shares for the sum with c; the engine may have c's late ones too.
  away = lambda attempt, at: [set('bc') if at == Step.REVEAL else set(), set('c')][attempt]
  _falling_silent(monkeypatch, transport, away)
  with pytest.raises(UsageError, match=r'site a refuses: .* two sums would tell'):
    _run(settings)


@pytest.mark.parametrize('is_signed', [False, True])
def test_two_sums_that_differ_by_a_site_are_refused(is_signed):
  names = 'abcdef'
  own = _signers(names) if is_signed else {}
  vectors = {name: np.full(3, number, np.uint64) for number, name in enumerate(names)}

  def hold(attempt, silent, told_of):
    """A whole session, of which some fall silent before they are in the sum."""
    facts = {'bits': 8, 'threshold': 5, 'attempt': attempt, 'sites': list(names) * is_signed}
    sessions = {
      number: site_session.SiteSession(
        'run', 1, {**facts, 'number': number}, vectors[name], 1, own.get(name), told_of.get(name)
      )
      for number, name in enumerate(names)
    }
    shared = parameters.session_of(f'run/{attempt}')
    held = server.Server(
      parameters.Parameters(shared, 1, 3, 8, 5, signed=is_signed), range(len(names))
    )
    told = dict.fromkeys(sessions, b'')
    while held.step is not Step.DONE:
      for number, message in told.items():
        if held.step < Step.MASK or names[number] not in silent:
          held.receive(sessions[number].step(int(held.step), message))
      told = held.close()
    return held.sum(), {names[n]: s.told_of for n, s in sessions.items() if s.told_of}

  total, told_of = hold(0, 'f', {})
  np.testing.assert_array_equal(total, np.full(3, 10))
  assert len(set(told_of.values())) == 1 and set(told_of) == set('abcde')
  total, again = hold(1, 'f', told_of)
  np.testing.assert_array_equal(total, np.full(3, 10))
  assert again == told_of
  for silent in ('', 'e'):
    with pytest.raises(Refused, match='two sums would tell what those have sent'):
      hold(2, silent, told_of)


def test_two_sites_are_too_few(tmp_path, monkeypatch):
  settings, _, _ = _deployed(tmp_path, monkeypatch, 'two', 'ab')
  with pytest.raises(UsageError, match='2 sites take part in a round; needed are 3'):
    _run(settings)


def test_a_smaller_sum_than_was_asked_for_is_refused():
  facts = {'bits': 40, 'threshold': 2, 'attempt': 0, 'number': 0, 'sites': []}
  vector = np.zeros(3, np.uint64)
  with pytest.raises(Refused, match='a sum of 2 sites may come out, and the request says 3'):
    site_session.SiteSession('run', 1, facts, vector, least_others=2)
  session = site_session.SiteSession('run', 1, facts, vector, least_others=1)
  first = session.step(0, b'')
  assert session.step(0, b'') == first
  with pytest.raises(Refused, match='step 0 was asked for before'):
    session.step(0, b'else')
  with pytest.raises(Refused, match='was asked to reveal'):
    session.step(4, b'')


def _signers(names):
  own = {name: ed25519.Ed25519PrivateKey.generate() for name in names}
  public = {name: signing.public_key(key) for name, key in own.items()}
  return {name: signer.Signer(name, key, public) for name, key in own.items()}


def _signing(monkeypatch, who):
  monkeypatch.setattr(in_process.Anything, 'signer', lambda guard, name: who.get(name))


def test_a_signed_session_has_the_same_sum(in_the_clear, tmp_path, monkeypatch):
  _signing(monkeypatch, _signers('abc'))
  settings, transport, _ = _deployed(tmp_path, monkeypatch, 'signed')
  deployed = _run(settings)
  for own, other in zip(_model(in_the_clear), _model(deployed), strict=True):
    np.testing.assert_array_equal(own, other)
  asked = [messages.unpack(request) for _, request in transport.asked]
  assert Step.CONSENT in {each['step'] for each in asked if each.kind == 'session'}


def test_an_engine_that_makes_keys_of_its_own_is_found_out(tmp_path, monkeypatch):
  _signing(monkeypatch, _signers('abc'))
  settings, transport, sites = _deployed(tmp_path, monkeypatch, 'lies', min_sites=3)
  own = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()
  ask = sites['a'].handle

  def handle(request):
    message = messages.unpack(request)
    if message.kind == 'session' and message['step'] == Step.SHARE:
      payload = message.array('payload').tobytes()
      at = len(payload) - signatures.SIGNATURE_BYTES - len(own)
      forged = payload[:at] + own + payload[at + len(own) :]
      changed = [np.frombuffer(forged, np.uint8)]
      request = messages.pack(Message('session', message.fields, {'payload': changed}))
    return ask(request)

  transport.handlers['a'] = handle
  with pytest.raises(UsageError, match=r"site a refuses: .*client 2's signature is not its own"):
    _run(settings)


def test_sites_of_which_some_sign_are_refused(tmp_path, monkeypatch):
  _signing(monkeypatch, {'a': _signers('a')['a']})
  settings, _, _ = _deployed(tmp_path, monkeypatch, 'some')
  with pytest.raises(UsageError, match='site a signs and site b does not'):
    _run(settings)


def test_what_a_signed_session_must_say():
  facts = {'bits': 40, 'threshold': 3, 'attempt': 0, 'number': 1, 'sites': ['a', 'b', 'c']}
  begin = lambda who, **other: site_session.SiteSession(
    'run', 1, {**facts, **other}, np.zeros(3, np.uint64), 1, who
  )
  own = _signers('abc')['b']
  begin(own)
  for other, complaint in (
    ({'sites': []}, 'is not signed'),
    ({'sites': ['a', 'b', 'd']}, 'no key of site d'),
    ({'number': 2}, 'the number of another'),
    ({'sites': ['b', 'b', 'c']}, 'the number of another'),
  ):
    with pytest.raises(Refused, match=complaint):
      begin(own, **other)
  with pytest.raises(Refused, match='the policy has no keys'):
    begin(None)


def test_a_policy_has_the_sites_own_key(tmp_path):
  with pytest.raises(UsageError, match='has no key for b; its own is ') as raised:
    signer.of_site('b', tmp_path, {'a': 64 * '0'})
  own = str(raised.value).split()[-1]
  assert signer.of_site('b', tmp_path, {'b': own}).sites == {'b': own}
  with pytest.raises(UsageError, match='has another key for b'):
    signer.of_site('b', tmp_path, {'b': 64 * '0'})


@pytest.mark.parametrize(
  ('sites', 'is_signed', 'expected'), [(3, True, 3), (6, True, 5), (4, 0, 3)]
)
def test_thresholds(sites, is_signed, expected):
  assert secure_rounds.threshold(sites, 2, is_signed) == expected


def test_terms_are_within_their_bounds():
  terms = [np.array([[1, 2], [3, 4]]), np.array([5, 6], np.int32)]
  np.testing.assert_array_equal(site_session.summed(terms, (4, 6), 4), [4, 6, 11])
  with pytest.raises(MessageError, match='not from 0 to 5'):
    site_session.summed(terms, (4, 5), 4)
  with pytest.raises(MessageError, match='sums of 2 clients do not fit into 3 bits'):
    site_session.summed(terms, (4, 6), 3)


def test_a_session_that_a_site_does_not_know(tmp_path, monkeypatch):
  _, _, sites = _deployed(tmp_path, monkeypatch, 'unknown')
  message = Message(
    'session', {'run': 'r', 'round': 1, 'step': 0}, {'payload': [np.zeros(0, np.uint8)]}
  )
  answer = messages.unpack(sites['a'].handle(messages.pack(message)))
  assert (answer.kind, answer['what']) == ('needs', 'round')
