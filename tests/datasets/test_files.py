"""Tests of looking for, downloading and checking original files; the network is a local server."""

import gzip
import hashlib
import http.server
import lzma
import os
import pathlib
import socket
import threading

import pytest

from fl_research.datasets import files
from fl_research.registry import UsageError

_CONTENT = bytes(range(256)) * 5000
_SHA256 = hashlib.sha256(_CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
  """Serves `_CONTENT`, whole or cut short, or packed."""

  def do_GET(self):
    packed = lzma.compress(_CONTENT)
    body = {'/packed': packed, '/cut-packed': packed[:-20]}.get(self.path, _CONTENT)
    if self.path == '/missing':
      self.send_error(404)
      return
    self.send_response(200)
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    self.wfile.write(body[:1000] if self.path == '/cut' else body)

  def log_message(self, *arguments):
    del arguments  # the tests read standard error


@pytest.fixture(scope='module')
def server():
  httpd = http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
  threading.Thread(target=httpd.serve_forever, daemon=True).start()
  yield f'http://127.0.0.1:{httpd.server_address[1]}'
  httpd.shutdown()
  httpd.server_close()


def _closed_address() -> str:
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    return f'http://127.0.0.1:{free.getsockname()[1]}/file.bin'


def _all_files(folder: pathlib.Path) -> list[str]:
  return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())


def test_downloads_verifies_and_keeps(server, tmp_path):
  path = files.fetch(tmp_path, 'set', 'file.bin', f'{server}/file.bin', _SHA256)
  assert path == tmp_path / 'set' / 'file.bin'
  assert path.read_bytes() == _CONTENT
  assert _all_files(tmp_path) == ['set/file.bin']
  assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize('place', ['set/file.bin', 'file.bin'])
def test_present_file_needs_no_network(tmp_path, place):
  (tmp_path / 'set').mkdir()
  (tmp_path / place).write_bytes(_CONTENT)
  path = files.fetch(tmp_path, 'set', 'file.bin', _closed_address(), ('0' * 64, _SHA256))
  assert path == tmp_path / place


def test_wrong_download_is_thrown_away(server, tmp_path):
  with pytest.raises(UsageError) as caught:
    files.fetch(tmp_path, 'set', 'file.bin', f'{server}/file.bin', 'ab' * 32)
  message = str(caught.value)
  for part in ('file.bin', f'{server}/file.bin', _SHA256, 'ab' * 32, str(tmp_path / 'set')):
    assert part in message
  assert '\n' not in message
  assert _all_files(tmp_path) == []


def test_wrong_present_file_is_refused_and_left_alone(tmp_path):
  (tmp_path / 'file.bin').write_bytes(b'other')
  with pytest.raises(UsageError, match='is not that of the published file') as caught:
    files.fetch(tmp_path, 'set', 'file.bin', _closed_address(), _SHA256)
  assert str(tmp_path / 'file.bin') in str(caught.value)
  assert (tmp_path / 'file.bin').read_bytes() == b'other'


@pytest.mark.parametrize('name', ['cut', 'missing', 'cut-packed'])
def test_failed_downloads_leave_nothing(server, tmp_path, name):
  decompressor = lzma.LZMADecompressor() if name == 'cut-packed' else None
  with pytest.raises(UsageError, match=r'downloading .* failed') as caught:
    files.fetch(tmp_path, 'set', 'file.bin', f'{server}/{name}', decompressor=decompressor)
  assert '\n' not in str(caught.value)
  assert list(tmp_path.iterdir()) == []


def test_offline_says_what_to_do(tmp_path):
  address = _closed_address()
  with pytest.raises(UsageError) as caught:
    files.fetch(tmp_path, 'set', 'file.bin', address, _SHA256)
  message = str(caught.value)
  assert message.startswith('file.bin: not in')
  assert address in message
  assert message.endswith(f'put the file at {tmp_path / "set" / "file.bin"}')
  assert '\n' not in message


def test_folder_that_cannot_be_written(server, tmp_path):
  (tmp_path / 'set').write_text('a file where the folder should be')
  with pytest.raises(UsageError, match='cannot be written to') as caught:
    files.fetch(tmp_path, 'set', 'file.bin', f'{server}/file.bin', _SHA256)
  assert '\n' not in str(caught.value)


def test_nothing_under_the_name_until_complete(server, tmp_path, monkeypatch):
  seen = []

  def replace(source, target):
    seen.append((_all_files(tmp_path), pathlib.Path(source).read_bytes() == _CONTENT))
    raise KeyboardInterrupt

  monkeypatch.setattr(os, 'replace', replace)
  with pytest.raises(KeyboardInterrupt):
    files.fetch(tmp_path, 'set', 'file.bin', f'{server}/file.bin', _SHA256)
  [(names, complete)] = seen
  assert complete
  assert len(names) == 1 and names[0].startswith('set/.partial-')
  assert _all_files(tmp_path) == []


def test_unpacks_on_the_way(server, tmp_path):
  path = files.fetch(
    tmp_path, 'set', 'file.bin', f'{server}/packed', decompressor=lzma.LZMADecompressor()
  )
  assert path.read_bytes() == _CONTENT


def test_progress_only_on_a_terminal(server, tmp_path, monkeypatch, capfd):
  monkeypatch.delenv('FORCE_COLOR', raising=False)
  files.fetch(tmp_path / 'quiet', 'set', 'file.bin', f'{server}/file.bin')
  assert capfd.readouterr() == ('', '')
  monkeypatch.setenv('FORCE_COLOR', '1')  # makes rich take standard error for a terminal
  files.fetch(tmp_path / 'loud', 'set', 'file.bin', f'{server}/file.bin')
  output, errors = capfd.readouterr()
  assert output == ''
  assert 'downloading file.bin' in errors


def test_content_counts_not_its_packing(tmp_path):
  path = tmp_path / 'file.gz'
  path.write_bytes(gzip.compress(_CONTENT, compresslevel=1))
  published = hashlib.md5(_CONTENT).hexdigest()
  url = _closed_address()
  assert files.fetch(tmp_path, '', 'file.gz', url, _SHA256, content_md5=published) == path
  with pytest.raises(UsageError, match='is not that of the published file'):
    files.fetch(tmp_path, '', 'file.gz', url, _SHA256, content_md5='0' * 32)


@pytest.mark.parametrize('damage', [lambda packed: packed[:-30], lambda packed: b'no' + packed])
def test_damaged_gzip_names_the_file(tmp_path, damage):
  path = tmp_path / 'file.gz'
  path.write_bytes(damage(gzip.compress(_CONTENT)))
  with pytest.raises(UsageError, match='damaged, truncated or not readable') as caught:
    files.read_bytes(path)
  assert str(caught.value).startswith(str(path))
  assert '\n' not in str(caught.value)


def test_data_dir_is_flag_then_variable_then_cache(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setenv('FL_RESEARCH_DATA_DIR', str(tmp_path / 'variable'))
  assert files.data_dir(str(tmp_path / 'flag')) == str(tmp_path / 'flag')
  assert files.data_dir() == str(tmp_path / 'variable')
  assert files.data_dir('') == str(tmp_path / 'variable')
  monkeypatch.delenv('FL_RESEARCH_DATA_DIR')
  assert files.data_dir() == str(tmp_path / 'cache' / 'fl_research' / 'data')


def test_checksum_follows_the_file(tmp_path):
  path = tmp_path / 'file.bin'
  path.write_bytes(_CONTENT)
  assert files.sha256_of(path) == _SHA256
  path.write_bytes(b'abc')
  assert files.sha256_of(path) == hashlib.sha256(b'abc').hexdigest()
  with pytest.raises(UsageError, match=r'absent\.bin'):
    files.sha256_of(tmp_path / 'absent.bin')


def test_checksum_of_a_large_file_is_computed_once(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  monkeypatch.setattr(files, '_REMEMBER_FROM_BYTES', 1000)
  path = tmp_path / 'large.bin'
  path.write_bytes(_CONTENT)
  assert files.sha256_of(path) == _SHA256
  files._sha256.cache_clear()  # another process
  monkeypatch.setattr(files, '_hash_file', lambda path: 'computed again')
  assert files.sha256_of(path) == _SHA256
