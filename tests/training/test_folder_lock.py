"""One process at a time in a folder, on whichever host."""

import fcntl
import os
import time

import pytest

from fl_research.registry import UsageError
from fl_research.training import folder_lock
from fl_research.training.folder_lock import FILE, FolderLock, SILENT_SECONDS

FLAG = '--experiment_name=run'
ELSEWHERE = {'host': 'elsewhere', 'boot': 'b'}


def on(monkeypatch, host):
  """From here on this process looks like one on another host, which sees no `flock` of this one."""
  monkeypatch.setattr(folder_lock, '_here', lambda: host)
  monkeypatch.setattr(fcntl, 'flock', lambda *arguments: None)


def let_pass(path, seconds):
  """Makes it look as if the last heartbeat had been so long ago."""
  then = time.time() - seconds
  os.utime(path / FILE, (then, then))


def refused(path, match):
  with pytest.raises(UsageError, match=match) as raised:
    FolderLock(path, FLAG)
  assert str(raised.value).startswith(FLAG) and '\n' not in str(raised.value)


def test_another_host_is_kept_out_though_it_sees_no_flock(tmp_path, monkeypatch):
  held = FolderLock(tmp_path, FLAG)
  with monkeypatch.context() as patched:
    on(patched, ELSEWHERE)
    refused(tmp_path, f'process {os.getpid()} on host .* is at work in {tmp_path}; wait')
  held.release()
  assert not list(tmp_path.iterdir())
  FolderLock(tmp_path, FLAG).release()


def test_one_long_not_heard_of_is_said_to_be_with_what_to_do(tmp_path, monkeypatch):
  FolderLock(tmp_path, FLAG)
  let_pass(tmp_path, 2 * SILENT_SECONDS)
  on(monkeypatch, ELSEWHERE)
  refused(
    tmp_path, f'not been heard of for 2[34]. s; if it has ended, remove {tmp_path / FILE} and'
  )
  (tmp_path / FILE).unlink()
  FolderLock(tmp_path, FLAG).release()


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path):
  left = FolderLock(tmp_path, FLAG)
  os.close(left._descriptor)  # As the kernel does.
  FolderLock(tmp_path, FLAG).release()
  assert not (tmp_path / FILE).exists()


def test_what_a_host_left_that_has_restarted_is_in_nobodys_way(tmp_path, monkeypatch):
  on(monkeypatch, {'host': 'here', 'boot': 'one'})
  FolderLock(tmp_path, FLAG)
  on(monkeypatch, {'host': 'here', 'boot': 'two'})
  refused(tmp_path, 'is at work')
  let_pass(tmp_path, 2 * SILENT_SECONDS)
  FolderLock(tmp_path, FLAG).release()


def test_the_heartbeat_renews_the_file_until_the_end(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(folder_lock, 'HEARTBEAT_SECONDS', 0.01)
  held = FolderLock(tmp_path, FLAG)
  let_pass(tmp_path, 1000)
  for _ in range(200):
    time.sleep(0.01)
    if folder_lock._silence(tmp_path / FILE) < 500:
      break
  assert folder_lock._silence(tmp_path / FILE) < 500
  held.release()
  assert capsys.readouterr().err == ''


def test_a_disk_without_flock_has_the_file(tmp_path, monkeypatch):
  def no_locks(*arguments):
    raise OSError('no locks available')

  monkeypatch.setattr(fcntl, 'flock', no_locks)
  held = FolderLock(tmp_path, FLAG)
  refused(tmp_path, 'is at work')
  held.release()


def test_half_a_file_is_somebody(tmp_path):
  (tmp_path / FILE).write_text('{"ho')
  refused(tmp_path, r'process \? on host \? is at work')


def of_a_sweep(monkeypatch, name):
  monkeypatch.setenv(folder_lock.SWEEP_VARIABLE, name)
  monkeypatch.setattr(folder_lock, '_LOOK_SECONDS', 0.01)


def test_what_a_sweeps_lost_node_left_is_gone_on_with_once_it_is_silent(
  tmp_path, monkeypatch, capsys
):
  of_a_sweep(monkeypatch, 'mine')
  FolderLock(tmp_path, FLAG)._ended.set()
  let_pass(tmp_path, SILENT_SECONDS - 0.3)
  on(monkeypatch, ELSEWHERE)
  FolderLock(tmp_path, FLAG).release()
  assert 'waiting whether it is at work' in capsys.readouterr().err


def test_a_sweeps_run_that_is_at_work_after_all_is_not_joined(tmp_path, monkeypatch):
  monkeypatch.setattr(folder_lock, 'HEARTBEAT_SECONDS', 0.2)
  of_a_sweep(monkeypatch, 'mine')
  held = FolderLock(tmp_path, FLAG)
  on(monkeypatch, ELSEWHERE)
  refused(tmp_path, 'is at work')
  held.release()


def test_another_sweeps_run_is_not_waited_for(tmp_path, monkeypatch):
  of_a_sweep(monkeypatch, 'theirs')
  FolderLock(tmp_path, FLAG)._ended.set()
  let_pass(tmp_path, 2 * SILENT_SECONDS)
  of_a_sweep(monkeypatch, 'mine')
  on(monkeypatch, ELSEWHERE)
  refused(tmp_path, 'has not been heard of')
