"""The benchmark of secure aggregation counts the bytes that are sent, and checks its sums."""

import pytest

from benchmarks import secure_aggregation


@pytest.mark.parametrize('graph', ['all', 'few'])
@pytest.mark.parametrize('timed', [0, 3])
def test_bytes_are_those_of_the_messages(graph, timed):
  row = secure_aggregation.measure(12, 100, graph, falls_silent=False, timed=timed)
  degree = None if graph == 'all' else row['neighbours']
  assert row['client_bytes_up'] + row['client_bytes_down'] == secure_aggregation.client_bytes(
    12, 100, degree
  )
  assert row['clients_timed'] == (timed or 12)
  assert row['client_seconds'] > 0 and row['server_seconds'] > 0


def test_who_falls_silent_is_not_in_the_sum():
  row = secure_aggregation.measure(12, 100, 'all', falls_silent=True, timed=0)
  assert (row['silent'], row['clients_timed']) == (2, 10)


def test_what_the_paper_leaves_out_of_its_messages_is_little():
  """Nonces, tags, numbers of clients and headers are 4 % at most."""
  row = secure_aggregation.expansions(*secure_aggregation.IN_ABSTRACT[0])
  assert row['paper'] == 1.734
  assert 1.734 < row['all'] < 1.04 * 1.734
  assert row['few'] < 1.734
