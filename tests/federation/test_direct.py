"""Sites on this machine: every one that is asked is answered for once, and none is asked twice."""

import threading

import pytest

from fl_research.federation import addresses, local_socket
from fl_research.federation.direct import Direct
from fl_research.federation.transport import Lost
from fl_research.registry import UsageError
from tests.federation.test_local_socket import Gate


@pytest.fixture
def at(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  return {name: addresses.parse('--federation', f'unix:{name}') for name in ('b', 'a', 'c')}


def test_sites_answer_and_one_is_not_there(at):
  transport = Direct(at, patience=0)
  with local_socket.Server(at['a'], Gate()), local_socket.Server(at['b'], Gate()):
    with pytest.raises(UsageError, match='--federation: c not listening after 0 s'):
      transport.sites()
    replies = dict(transport.ask({'a': b'one', 'b': b'three', 'c': b'five'}, None))
  assert replies == {
    'a': b're: one',
    'b': b're: three',
    'c': Lost('nobody listens at unix:c'),
  }
  assert transport.traffic() == {'a': {'down': 3, 'up': 7}, 'b': {'down': 5, 'up': 9}}
  transport.close()


def test_sites_are_awaited(at):
  transport = Direct({'a': at['a']})
  servers = []
  threading.Timer(0.2, lambda: servers.append(local_socket.Server(at['a'], Gate()))).start()
  assert transport.sites() == ('a',)
  servers[0].close()


def test_deadline_and_the_same_request_again(at):
  fast, slow = Gate(), Gate(is_open=False)
  transport = Direct(at)
  with local_socket.Server(at['a'], fast), local_socket.Server(at['b'], slow):
    replies = dict(transport.ask({'a': b'one', 'b': b'one'}, 0.2))
    assert replies == {'a': b're: one', 'b': Lost('there was no reply within 0.2 s')}
    slow.opened.set()
    for _ in range(2):
      assert dict(transport.ask({'a': b'one', 'b': b'one'}, None))['b'] == b're: one'
  # What was not answered is the same request again; what was answered is a new one.
  assert len(slow.calls) == 2
  assert len(fast.calls) == 3


def test_site_that_goes_away_is_lost(at):
  slow = Gate(is_open=False)
  server = local_socket.Server(at['a'], slow)
  replies = Direct(at).ask({'a': b'one', 'c': b'one'}, None)
  assert next(replies) == ('c', Lost('nobody listens at unix:c'))
  server.close()
  assert next(replies) == ('a', Lost('it ended the connection'))
  slow.opened.set()
