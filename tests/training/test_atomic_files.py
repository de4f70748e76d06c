"""Files have their old content or all of the new one."""

from concurrent import futures
import errno
import os

import pytest

from fl_research.training.atomic_files import rename, write_atomically


@pytest.mark.parametrize('function', ['fsync', 'replace'])
def test_a_full_disk_leaves_what_was_there(function, monkeypatch, tmp_path):
  target = tmp_path / 'file'
  write_atomically(target, b'old')

  def refuse(*arguments):
    raise OSError(errno.ENOSPC, 'No space left on device')

  monkeypatch.setattr(os, function, refuse)
  with pytest.raises(OSError, match=r'No space left on device: .*file'):
    write_atomically(target, b'new')
  assert target.read_bytes() == b'old'
  assert list(tmp_path.iterdir()) == [target]


def test_writers_of_one_file_do_not_meet(tmp_path):
  target = tmp_path / 'file'
  contents = [bytes([writer]) * 2000 * (writer + 1) for writer in range(4)]

  def write(content):
    for _ in range(25):
      write_atomically(target, content)
      assert target.read_bytes() in contents

  with futures.ThreadPoolExecutor(len(contents)) as pool:
    list(pool.map(write, contents))
  assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_on_the_disk_before_it_has_its_name(monkeypatch, tmp_path):
  """So that a loss of power leaves the old content or the new, and no empty file."""
  events = []
  fsync, replace = os.fsync, os.replace
  inode = lambda descriptor: os.fstat(descriptor).st_ino
  monkeypatch.setattr(os, 'fsync', lambda d: (events.append(inode(d)), fsync(d))[1])
  monkeypatch.setattr(os, 'replace', lambda a, b: (events.append('rename'), replace(a, b))[1])
  temporary, target = tmp_path / 'model.tmp.keras', tmp_path / 'model.keras'
  temporary.write_bytes(b'weights')
  rename(temporary, target)
  assert events == [target.stat().st_ino, 'rename', tmp_path.stat().st_ino]
