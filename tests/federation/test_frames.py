"""Frames arrive as they were sent, and what is no frame is refused in a line."""

import socket
import struct
import threading
import tracemalloc

import pytest

from fl_research.federation import frames


def sent(*frames_sent: tuple[int, list[bytes]]) -> bytes:
  """What goes over a socket."""
  ours, theirs = socket.socketpair()
  with ours, theirs:
    for kind, pieces in frames_sent:
      frames.send(ours, kind, pieces)
    ours.shutdown(socket.SHUT_WR)
    return b''.join(iter(lambda: theirs.recv(1 << 16), b''))


def received(content: bytes, limit: int = frames.LIMIT):
  """What a program makes of it that it receives, until the connection is closed."""
  ours, theirs = socket.socketpair()
  with ours, theirs:
    ours.sendall(content)
    ours.shutdown(socket.SHUT_WR)
    found = []
    while (frame := frames.receive(theirs, limit)) is not None:
      found.append((frame.kind, bytes(frame.payload)))
    return found


def test_frames_arrive_as_sent():
  content = sent((7, [b'one', b'', b' piece']), (0, []), (255, [bytearray(1000)]))
  assert received(content) == [(7, b'one piece'), (0, b''), (255, bytes(1000))]
  assert received(b'') == []


def test_large_frame_of_many_pieces():
  payload = bytes(range(256)) * (3 << 12) + b'end'
  ours, theirs = socket.socketpair()
  with ours, theirs:
    thread = threading.Thread(target=frames.send, args=(ours, 3, [b'begin', payload]))
    thread.start()
    frame = frames.receive(theirs)
    thread.join()
  assert bytes(frame.payload) == b'begin' + payload


def test_layout_is_as_documented():
  content = sent((5, [b'abc']))
  assert struct.unpack('!4sBBQ3s', content[:-4]) == (b'FLRF', 1, 5, 3, b'abc')


@pytest.mark.parametrize('length', range(1, 21))
def test_truncated(length):
  content = sent((5, [b'abc']))
  assert len(content) == 21
  what = f'{length} of 14 bytes of a header' if length < 14 else f'{length - 14} of 3 bytes'
  with pytest.raises(frames.FrameError, match=what if length < 17 else 'before the checksum'):
    received(content[:length])


@pytest.mark.parametrize('position', range(21))
def test_a_changed_byte_is_noticed(position):
  content = bytearray(sent((5, [b'abc'])))
  content[position] ^= 1
  with pytest.raises(frames.FrameError) as caught:
    received(bytes(content), limit=3)
  assert '\n' not in str(caught.value)


def test_too_long_is_refused_before_memory_is_taken():
  header = struct.pack('!4sBBQ', b'FLRF', 1, 5, 1 << 40)
  tracemalloc.start()
  try:
    with pytest.raises(frames.FrameError, match='1,099,511,627,776 bytes was announced, at most'):
      received(header)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
  finally:
    tracemalloc.stop()
  assert received(sent((5, [b'abc'])), limit=3) == [(5, b'abc')]
  with pytest.raises(frames.FrameError, match='at most 2'):
    received(sent((5, [b'abc'])), limit=2)


def test_other_version():
  content = sent((5, [b'abc'])).replace(b'FLRF\x01', b'FLRF\x02')
  with pytest.raises(frames.FrameError, match='version 2 has come, this program knows 1'):
    received(content)
