"""The server answers once, whoever asks and how often, and nothing that comes ends it."""

import contextlib
import logging
import os
import threading

import pytest

from fl_research.federation import addresses, frames, local_socket
from fl_research.federation.local_socket import Connection, State
from fl_research.registry import UsageError
from tests.federation.test_addresses import free_port

KEY = bytes(16)


@pytest.fixture
def address(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  return addresses.parse('--listen', 'unix:s')


class Gate:
  """A handler that repeats what it is given, once it is let; counts its calls."""

  def __init__(self, is_open: bool = True):
    self.opened = threading.Event()
    self.calls: list[bytes] = []
    if is_open:
      self.opened.set()

  def __call__(self, request: bytes) -> bytes:
    self.calls.append(request)
    assert self.opened.wait(60)
    if request == b'fail':
      raise RuntimeError('secret of a patient')
    return b're: ' + request


def test_requests_are_answered(address):
  gate = Gate()
  with local_socket.Server(address, gate):
    assert local_socket.ask(address, b'one') == b're: one'
    with Connection(address) as connection:
      for text in (b'', b'x' * (3 << 20), b'two'):
        assert connection.ask(local_socket.new_id(), text, 60) == b're: ' + text
  assert not os.path.exists('s')
  with pytest.raises(local_socket.Unanswered, match='nobody listens at unix:s'):
    local_socket.ask(address, b'one')


def test_port_with_a_token(tmp_path):
  port = addresses.parse('--listen', f'127.0.0.1:{free_port()}')
  token, other = tmp_path / 'token', tmp_path / 'other'
  with pytest.raises(UsageError, match='a token file is needed'):
    local_socket.Server(port, Gate())
  addresses.make_token(other)
  with local_socket.Server(port, Gate(), token):
    assert local_socket.ask(port, b'one', token_file=token) == b're: one'
    with pytest.raises(local_socket.Unanswered, match='does not know the token'):
      local_socket.ask(port, b'one', token_file=other)
    assert local_socket.ask(port, b'two', token_file=token) == b're: two'


def test_a_request_that_comes_again_is_answered_and_not_computed(address):
  gate = Gate(is_open=False)
  with local_socket.Server(address, gate):
    with Connection(address) as connection:
      assert connection.ask(KEY, b'one', 0) is State.PENDING
      assert connection.ask(KEY, None, 0.01) is State.PENDING
      assert connection.ask(KEY, b'one', 0) is State.PENDING
    gate.opened.set()
    with Connection(address) as connection:
      assert connection.ask(KEY, b'one', 60) == b're: one'
      assert connection.ask(KEY, None, 0) == b're: one'
    assert gate.calls == [b'one']


def test_old_replies_are_forgotten(address):
  gate = Gate()
  with local_socket.Server(address, gate), Connection(address) as connection:
    keys = [bytes([n]) * 16 for n in range(6)]
    for key in keys:
      connection.ask(key, b'one', 60)
    assert connection.ask(keys[-1], None, 0) == b're: one'
    assert connection.ask(keys[0], None, 0) is State.UNKNOWN
    assert connection.ask(keys[0], b'one', 60) == b're: one'
    assert len(gate.calls) == 7


def test_no_reply_in_time(address):
  gate = Gate(is_open=False)
  with local_socket.Server(address, gate):
    with pytest.raises(local_socket.Unanswered, match=r'no reply within 0\.05 s'):
      local_socket.ask(address, b'one', timeout=0.05)
    gate.opened.set()


def test_failure_is_logged_here_and_not_told(address, caplog):
  with local_socket.Server(address, Gate()):
    with pytest.raises(local_socket.Unanswered, match='it has failed; its own log says why'):
      local_socket.ask(address, b'fail')
    assert 'secret of a patient' in caplog.text
    assert local_socket.ask(address, b'one') == b're: one'


def test_handler_is_called_for_one_request_at_a_time(address):
  gate = Gate(is_open=False)
  with local_socket.Server(address, gate), Connection(address) as connection:
    for key in (bytes(16), bytes([1]) * 16):
      assert connection.ask(key, b'one', 0.01) is State.PENDING
    assert gate.calls == [b'one']
    gate.opened.set()
    assert connection.ask(bytes([1]) * 16, None, 60) == b're: one'


def test_too_many_requests_at_a_time(address, caplog):
  gate = Gate(is_open=False)
  with local_socket.Server(address, gate), Connection(address) as connection:
    for number in range(16):
      assert connection.ask(bytes([number]) * 16, b'one', 0) is State.PENDING
    with pytest.raises(local_socket.Unanswered):
      connection.ask(b'another one     ', b'one', 0)
    gate.opened.set()
  assert 'a request was refused, 16 wait' in caplog.text


MALFORMED = {
  'nothing': b'',
  'HTTP': b'GET / HTTP/1.1\r\n\r\n',
  'too long': b'FLRF\x01\x10' + b'\xff' * 8,
  'part of a frame': b'FLRF\x01\x10' + bytes(7) + b'\x20abc',
}


@pytest.mark.parametrize('content', MALFORMED.values(), ids=list(MALFORMED))
def test_malformed_bytes_end_their_connection_only(address, content, caplog):
  caplog.set_level(logging.INFO)
  with local_socket.Server(address, Gate(), limit=1000):
    with addresses.connect(address, None, 10) as raw:
      raw.sendall(content)
      raw.shutdown(1)
      with contextlib.suppress(ConnectionResetError):  # what it did not read is thrown away
        assert raw.recv(1) == b''
    assert local_socket.ask(address, b'one') == b're: one'
  assert ('a connection ended' in caplog.text) == bool(content)


@pytest.mark.parametrize(
  'kind, payload', [(99, bytes(40)), (16, bytes(3)), (16, bytes(16) + b'\x7f\xf8' + bytes(6))]
)
def test_frames_that_are_no_requests(address, kind, payload):
  with local_socket.Server(address, Gate()):
    with addresses.connect(address, None, 10) as raw:
      frames.send(raw, kind, [payload])
      assert frames.receive(raw) is None
    assert local_socket.ask(address, b'one') == b're: one'


def test_server_that_goes_away_ends_the_wait(address):
  gate = Gate(is_open=False)
  server = local_socket.Server(address, gate)
  with Connection(address) as connection:
    assert connection.ask(KEY, b'one', 0) is State.PENDING
    server.close()
    with pytest.raises(local_socket.Unanswered, match='it ended the connection'):
      connection.ask(KEY, None, 60)
  gate.opened.set()


def test_closing_leaves_alone_what_took_the_place(address):
  server = local_socket.Server(address, Gate())
  os.unlink('s')
  with local_socket.Server(address, Gate()):
    server.close()
    assert local_socket.ask(address, b'one') == b're: one'
