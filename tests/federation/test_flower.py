"""The engine's end of the way through Flower; the ServerApp's end is played."""

import threading

import pytest

from fl_research.federation import addresses, flower, local_socket, parcels
from fl_research.federation.flower import Flower
from fl_research.federation.transport import Lost
from fl_research.registry import UsageError


@pytest.fixture
def address(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  return addresses.parse('--federation', 'unix:engine')


@pytest.fixture
def engine(address):
  engine = Flower(address)
  yield engine
  engine.close()


def tell(address, message: bytes = b'', **label):
  """What the engine says to the ServerApp."""
  said, rest = parcels.unpack(local_socket.ask(address, parcels.pack(label, message), 60))
  return said, bytes(rest)


def connect(address, *sites: str) -> None:
  tell(address, operation='alive', sites=sites)


def due(address, held=(), wait=60):
  return tell(address, operation='due', held=held, wait=wait)


class Asking(threading.Thread):
  """Asks sites in a thread."""

  def __init__(self, engine, requests, deadline=None):
    super().__init__(daemon=True)
    self.answers: list = []
    self._asked = engine.ask(requests, deadline)
    self.start()

  def run(self):
    self.answers.extend(self._asked)

  def all(self) -> list:
    self.join(60)
    assert not self.is_alive()
    return self.answers


def test_requests_are_fetched_and_replies_brought(address, engine):
  connect(address, 'b', 'a')
  asking = Asking(engine, {'a': b'for a', 'b': b'for b'})
  first, request = due(address)
  assert request == b'for ' + first['site'].encode()
  second, other = due(address, held=[first['id']])
  assert {request, other} == {b'for a', b'for b'}
  nothing, _ = due(address, held=[first['id'], second['id']], wait=0)
  assert set(nothing) == {'open'} and set(nothing['open']) == {first['id'], second['id']}
  tell(address, b'late', operation='reply', id=second['id'])
  tell(address, operation='lost', id=first['id'], reason='a reason')
  expected = {second['site']: b'late', first['site']: Lost('a reason')}
  assert dict(asking.all()) == expected
  assert due(address, wait=0)[0] == {'open': []}
  assert engine.traffic()[second['site']] == {'down': 5, 'up': 4}


def test_a_new_server_app_is_given_what_is_open(address, engine):
  connect(address, 'a')
  asking = Asking(engine, {'a': b'request'})
  assert due(address) == due(address)
  key = due(address)[0]['id']
  for reply in (b'first', b'second'):
    tell(address, reply, operation='reply', id=key)
  tell(address, b'of nobody', operation='reply', id='unknown')
  assert asking.all() == [('a', b'first')]


def test_what_was_not_answered_is_the_same_request_again(address, engine):
  connect(address, 'a')
  assert Asking(engine, {'a': b'request'}, 0.1).all() == [
    ('a', Lost('there was no reply within 0.1 s'))
  ]
  asking = Asking(engine, {'a': b'request'}, 0.1)
  key = due(address)[0]['id']
  assert len(asking.all()) == 1
  asking = Asking(engine, {'a': b'request'})
  assert due(address)[0]['id'] == key
  tell(address, b'reply', operation='reply', id=key)
  assert asking.all() == [('a', b'reply')]
  asking = Asking(engine, {'a': b'request'})
  assert due(address)[0]['id'] != key
  tell(address, b'reply', operation='reply', id=due(address)[0]['id'])
  asking.all()


def test_sites_that_are_not_there(address, engine, monkeypatch):
  monkeypatch.setattr(flower, '_ABSENCE', 0.2)
  connect(address, 'a')
  asking = Asking(engine, {'b': b'request'})
  assert due(address, wait=0)[0].keys() == {'open'}
  assert asking.all() == [('b', Lost('it is not connected'))]


def test_server_app_that_is_silent(engine, monkeypatch):
  monkeypatch.setattr(flower, '_SILENCE', 0.2)
  ((site, lost),) = Asking(engine, {'a': b'request'}).all()
  assert site == 'a' and 'the ServerApp has been silent' in lost.reason


def test_sites_are_awaited(address, monkeypatch):
  monkeypatch.setattr(flower, '_SETTLING', 0.1)
  engine = Flower(address, awaited=['a', 'b'], patience=0.1)
  with pytest.raises(UsageError, match=r'--federation: a, b not connected .* connected: no site'):
    engine.sites()
  connect(address, 'a', 'c')
  with pytest.raises(UsageError, match=r'b not connected after 0\.1 s; connected: a, c'):
    engine.sites()
  connect(address, 'a', 'b', 'c')
  assert engine.sites() == ('a', 'b')
  engine.close()
  engine = Flower(address)
  connect(address, 'd', 'a')
  assert engine.sites() == ('a', 'd')
  engine.close()


def test_too_long_a_message(address):
  engine = Flower(address, limit=10)
  with pytest.raises(UsageError, match='site a: a message of 11 bytes is too long, at most 10'):
    next(engine.ask({'a': bytes(11)}, None))
  assert due(address, wait=0)[0] == {'open': []}
  engine.close()


@pytest.mark.parametrize(
  'label',
  [
    {},
    {'operation': 'other'},
    {'operation': 'due'},
    {'operation': ['due']},
    {'operation': 'due', 'held': [], 'wait': float('nan')},
    {'operation': 'due', 'held': [], 'wait': -1},
  ],
)
def test_what_no_server_app_says(address, engine, label):
  with pytest.raises(local_socket.Unanswered, match='it has failed'):
    tell(address, **label)
  connect(address, 'a')
