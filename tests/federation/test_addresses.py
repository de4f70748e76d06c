"""Addresses are read, places are taken and given up, and tokens keep others out."""

import os
import pathlib
import socket
import stat
import threading

import pytest

from fl_research.federation import addresses, frames
from fl_research.registry import UsageError


@pytest.fixture
def at(tmp_path, monkeypatch):
  """Addresses of sockets in a new folder, which is the working one so that paths are short."""
  monkeypatch.chdir(tmp_path)
  return lambda name: addresses.parse('--listen', f'unix:{name}')


def free_port() -> int:
  with socket.create_server(('127.0.0.1', 0)) as probe:
    return probe.getsockname()[1]


def test_addresses_are_read():
  path = addresses.parse('--listen', 'unix:/run/site.sock')
  assert path.target == pathlib.Path('/run/site.sock') and path.is_path
  port = addresses.parse('--listen', '127.0.0.1:7000')
  assert port.target == 7000 and not port.is_path


@pytest.mark.parametrize(
  'text', ['', 'unix:', '/run/site.sock', '0.0.0.0:7000', '127.0.0.1:0', '127.0.0.1:65536', ':1']
)
def test_other_addresses_are_refused(text):
  with pytest.raises(UsageError, match=r'--listen=.*: accepted is unix:/path'):
    addresses.parse('--listen', text)


def test_a_path_too_long_for_a_socket():
  assert addresses.parse('--listen', 'unix:/' + 'x' * 106).is_path
  with pytest.raises(UsageError, match='the path has 108 bytes, a socket takes at most 107'):
    addresses.parse('--listen', 'unix:/' + 'é' * 53 + 'x')


def test_only_the_owner_may_connect(at):
  with addresses.listen(at('s')):
    assert stat.S_IMODE(os.stat('s').st_mode) == 0o600


def test_stale_socket_is_replaced_and_a_live_one_is_not(at):
  addresses.listen(at('s')).close()
  assert os.path.exists('s')
  with (
    addresses.listen(at('s')),
    pytest.raises(UsageError, match='unix:s: another process listens there'),
  ):
    addresses.listen(at('s'))


def test_places_that_cannot_be_used(at):
  pathlib.Path('file').write_text('mine')
  with pytest.raises(UsageError, match='unix:file: there is a file that is no socket'):
    addresses.listen(at('file'))
  assert pathlib.Path('file').read_text() == 'mine'
  with pytest.raises(UsageError, match=r'cannot listen there \(No such file or directory\)'):
    addresses.listen(at('nowhere/s'))
  with socket.create_server(('127.0.0.1', 0)) as other:
    port = addresses.parse('--listen', f'127.0.0.1:{other.getsockname()[1]}')
    with pytest.raises(UsageError, match='Address already in use'):
      addresses.listen(port)


def test_token_files(tmp_path):
  port = addresses.parse('--listen', '127.0.0.1:7000')
  path = tmp_path / 'token'
  with pytest.raises(UsageError, match='a token file is needed'):
    addresses.read_token(port, None)
  with pytest.raises(UsageError, match='cannot be read'):
    addresses.read_token(port, path)
  addresses.make_token(path)
  token = addresses.read_token(port, path)
  assert len(token) == 64
  addresses.make_token(path)
  assert addresses.read_token(port, path) == token
  path.chmod(0o640)
  with pytest.raises(UsageError, match='others may read this token'):
    addresses.read_token(port, path)
  path.write_text('short')
  path.chmod(0o600)
  with pytest.raises(UsageError, match='at least 32 characters, this one has 5'):
    addresses.read_token(port, path)


def meet(server_token: bytes, client_token: bytes) -> tuple[list[str], list[str]]:
  """What goes wrong at the server and at the client."""
  address = addresses.parse('--listen', f'127.0.0.1:{free_port()}')
  at_server: list[str] = []
  at_client: list[str] = []

  def serve(listening):
    connection, _ = listening.accept()
    with connection:
      try:
        addresses.prove_as_server(connection, server_token)
      except (OSError, frames.FrameError) as error:
        at_server.append(str(error))

  with addresses.listen(address) as listening:
    thread = threading.Thread(target=serve, args=(listening,))
    thread.start()
    try:
      addresses.connect(address, client_token, 10).close()
    except frames.FrameError as error:
      at_client.append(str(error))
    thread.join()
  return at_server, at_client


def test_both_ends_must_know_the_token():
  assert meet(b'a' * 32, b'a' * 32) == ([], [])
  at_server, at_client = meet(b'a' * 32, b'b' * 32)
  assert at_client == ['who listens there does not know the token']
  assert len(at_server) == 1


def test_a_client_that_only_says_that_it_knows_is_refused():
  ours, theirs = socket.socketpair()
  with ours, theirs:
    ours.settimeout(10)
    frames.send(ours, 1, [bytes(32)])
    frames.send(ours, 2, [bytes(32)])
    with pytest.raises(frames.FrameError, match='who has connected does not know the token'):
      addresses.prove_as_server(theirs, b'a' * 32)
