"""The pipe before a site counts every byte, and changes none."""

from benchmarks import federation_traffic
from fl_research.federation import addresses, local_socket


def test_a_pipe_counts_what_crosses(tmp_path):
  behind = addresses.parse('--listen', f'unix:{tmp_path}/s')
  request, reply = bytes(1000), bytes(300_000)
  with local_socket.Server(behind, lambda asked: reply if asked == request else b''):
    pipe = federation_traffic.CountingPipe(tmp_path / 'p', behind)
    front = addresses.parse('--federation', f'unix:{tmp_path}/p')
    assert [local_socket.ask(front, request) for _ in range(3)] == [reply] * 3
    pipe.close()
  # A frame's header and checksum are 18 bytes; a request also has its id and how long it waits.
  assert (pipe.down, pipe.up) == (3 * (1000 + 18 + 24), 3 * (300_000 + 18))
