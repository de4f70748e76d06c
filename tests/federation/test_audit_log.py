"""The log: whatever is changed in it is found, and what a crash leaves is no change."""

import os
import pathlib
import tempfile
import threading

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from fl_research.federation import audit_log
from fl_research.registry import UsageError

LINES = 6


def _write(path, lines=LINES):
  log = audit_log.AuditLog(path)
  for number in range(lines):
    log.append('leaves', kind='updates', round=number, name='Zoë')
  return log


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  """The bytes of a log, and of its head."""
  path = tmp_path_factory.mktemp('log') / 'audit.log'
  _write(path)
  return path.read_bytes(), audit_log.head_path(path).read_bytes()


def _verify(content, head, noted=''):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'audit.log')
    path.write_bytes(content)
    audit_log.head_path(path).write_bytes(head)
    return audit_log.verify(path, noted)


def test_what_was_written_verifies_and_is_read_back(tmp_path):
  path = tmp_path / 'audit.log'
  assert audit_log.verify(path) is None
  _write(path)
  assert audit_log.verify(path) is None
  assert [entry['round'] for entry in audit_log.entries(path)] == list(range(LINES))
  assert [entry['number'] for entry in audit_log.newest(path, 2)] == [LINES, LINES - 1]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_byte_that_is_changed_is_found(written, data):
  content, head = written
  place = data.draw(st.integers(0, len(content) - 1))
  byte = data.draw(st.integers(0, 255).filter(lambda b: b != content[place]))
  changed = content[:place] + bytes([byte]) + content[place + 1 :]
  assert _verify(changed, head) is not None


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(LINES)), st.integers(0, LINES))
def test_lines_that_are_swapped_or_removed_are_found(written, order, kept):
  content, head = written
  lines = content.splitlines(keepends=True)
  chosen = order[:kept]
  fault = _verify(b''.join(lines[place] for place in chosen), head)
  assert (fault is None) == (list(chosen) == list(range(LINES)))


def test_the_first_broken_line_is_named(written):
  content, head = written
  lines = content.splitlines(keepends=True)
  lines[2] = lines[2].replace(b'"updates"', b'"updated"')
  assert _verify(b''.join(lines), head).startswith('line 4 does not follow')
  assert (
    _verify(b''.join(lines[:4]), head) == 'line 4 does not follow from the line before it, one '
    'of which was changed'
  )
  assert _verify(content[: -len(lines[5])], head) == 'line 6 is missing, and so is all up to line 6'


def test_a_last_line_of_the_same_length_is_not_taken_for_another(written):
  content, head = written
  assert _verify(content.replace(b'"round": 5', b'"round": 6'), head) == (
    'line 6 is not the one that the head file names'
  )


def test_a_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch):
  path, brought = tmp_path / 'audit.log', []
  sync = os.fsync

  def watched(descriptor):
    sync(descriptor)
    if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
      brought.append(path.read_bytes())

  monkeypatch.setattr(os, 'fsync', watched)
  audit_log.AuditLog(path).append('leaves', round=1)
  assert brought == [path.read_bytes()]


def test_a_log_made_anew_is_found_by_a_noted_hash_alone(tmp_path, written):
  path = tmp_path / 'audit.log'
  _write(path, 3)
  noted = audit_log.head_hash(path)
  _write(path, 2)
  assert audit_log.verify(path, noted) is None
  path.unlink()
  audit_log.head_path(path).unlink()
  audit_log.AuditLog(path).append('leaves', kind='counts')
  assert audit_log.verify(path) is None
  assert 'noted hash' in audit_log.verify(path, noted)


def test_a_crash_between_a_line_and_the_head_loses_nothing(tmp_path):
  path = tmp_path / 'audit.log'
  log = _write(path, 2)
  head = audit_log.head_path(path).read_bytes()
  log.append('leaves', round=2)
  audit_log.head_path(path).write_bytes(head)
  assert audit_log.verify(path) is None
  log.append('leaves', round=3)
  assert audit_log.verify(path) is None
  assert [entry.get('round') for entry in audit_log.entries(path)] == [0, 1, 2, 3]


@pytest.mark.parametrize('kept', [1, 30])
def test_a_crash_in_the_middle_of_a_line_is_said(tmp_path, kept):
  path = tmp_path / 'audit.log'
  log = _write(path, 2)
  size, head = path.stat().st_size, audit_log.head_path(path).read_bytes()
  log.append('leaves', round=2)
  os.truncate(path, size + kept)
  audit_log.head_path(path).write_bytes(head)
  assert audit_log.verify(path) is None
  log.append('leaves', round=3)
  assert audit_log.verify(path) is None
  assert [entry['what'] for entry in audit_log.entries(path)][2:] == [
    'piece of a line removed',
    'leaves',
  ]


def test_nothing_is_added_to_a_log_that_was_cut(tmp_path):
  path = tmp_path / 'audit.log'
  log = _write(path)
  os.truncate(path, 10)
  with pytest.raises(UsageError, match='lines are missing at its end'):
    log.append('leaves')
  audit_log.head_path(path).unlink()
  with pytest.raises(UsageError, match='is missing'):
    log.append('leaves')


def test_several_write_at_the_same_time(tmp_path):
  path = tmp_path / 'audit.log'
  threads = [threading.Thread(target=_write, args=(path,)) for _ in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert audit_log.verify(path) is None
  assert len(list(audit_log.entries(path))) == 4 * LINES


def test_a_log_that_has_gone_is_found_by_a_noted_hash_or_its_head(tmp_path):
  path = tmp_path / 'audit.log'
  assert audit_log.verify(path) is None
  assert audit_log.verify(path, 'f' * 64) == f'{path} is missing'
  audit_log.AuditLog(path).append('asked', run='r')
  path.unlink()
  assert audit_log.verify(path) == f'{path} is missing'
