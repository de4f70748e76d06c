"""Sharing clients among chunks, and their arrays side by side."""

import itertools

import numpy as np
import pytest

from fl_research import (
  aligned,
  runtime,  # before TensorFlow
)
from fl_research.runtime import chunks
from tests.runtime import rounds


@pytest.mark.parametrize(
  ('weights', 'number', 'expected'),
  [
    ([1, 1, 1, 1], 2, [[0, 2], [1, 3]]),
    ([5, 1, 1, 1, 1, 1], 2, [[0], [1, 2, 3, 4, 5]]),
    ([1, 2, 3], 1, [[0, 1, 2]]),
    ([1, 2], 4, [[1], [0]]),
    ([], 2, []),
  ],
)
def test_shares(weights, number, expected):
  assert chunks.assign(weights, number) == expected


def test_chunks_weigh_about_the_same():
  weights = (1 + np.random.default_rng(0).pareto(1.3, 200)).tolist()
  shares = chunks.assign(weights, 3)
  loads = [sum(weights[position] for position in share) for share in shares]
  assert max(loads) - min(loads) <= max(weights)
  assert sorted(position for share in shares for position in share) == list(range(200))


def test_a_prepared_cohort_gives_the_bits_of_a_plain_list():
  data = rounds.clients((7, 0, 12, 3, 8, 30))
  with runtime.use_context('fused', 2):
    stack = runtime.stack_clients(data)
    assert stack.names is not None
    assert stack == data
    plain = rounds.next_round(rounds.first_weights(), data)
    assert repr(rounds.next_round(rounds.first_weights(), stack)) == repr(plain)


def test_a_prepared_cohort_is_a_plain_list_to_other_runtimes():
  data = rounds.clients((7, 3, 12))
  with runtime.use_context('fused', 2):
    stack = runtime.stack_clients(data)
  with runtime.use_context('fused', 1):
    plain = rounds.next_round(rounds.first_weights(), data)
    assert repr(rounds.next_round(rounds.first_weights(), stack)) == repr(plain)
  with runtime.use_context('native'):
    plain = rounds.next_round(rounds.first_weights(), data)
    assert repr(rounds.next_round(rounds.first_weights(), stack)) == repr(plain)


def test_preparing_copies():
  data = rounds.clients((4, 4))
  with runtime.use_context('fused', 1):
    stack = runtime.stack_clients(data)
    expected = rounds.next_round(rounds.first_weights(), rounds.clients((4, 4)))
    stack[0]['examples']['x'][:] = 100
    result = rounds.next_round(rounds.first_weights(), stack)
  assert repr(result) == repr(expected)


def in_one_array(data, first_rows=5):
  """The same clients, their examples being parts of one array of a population."""
  parts = [client['examples'] for client in data]
  pool = {}
  for key in ('x', 'y'):
    unused = np.full_like(parts[0][key][:1], 9).repeat(first_rows, axis=0)
    pool[key] = aligned.align(np.concatenate([unused, *(part[key] for part in parts)]))
  offsets = first_rows + np.cumsum([0, *(len(part['y']) for part in parts)])
  views = [{k: pool[k][a:b] for k in pool} for a, b in itertools.pairwise(offsets)]
  return pool, [{**client, 'examples': view} for client, view in zip(data, views)]


@pytest.mark.parametrize('jit', ['off', 'on'])
def test_parts_of_one_array_give_the_bits_of_arrays_of_their_own(jit):
  data = rounds.clients((7, 12, 3, 8, 30))
  pool, parts = in_one_array(data)
  with runtime.use_context('fused', 2, jit):
    stack = runtime.stack_clients(parts)
    assert np.shares_memory(stack.leaves[0].buffer, pool['x'])
    assert np.shares_memory(stack.leaves[1].buffer, pool['y'])
    expected = rounds.next_round(rounds.first_weights(), data)
    assert repr(rounds.next_round(rounds.first_weights(), stack)) == repr(expected)
    assert repr(rounds.next_round(rounds.first_weights(), parts)) == repr(expected)


def test_parts_that_tensorflow_cannot_use_are_copied():
  data = rounds.clients((7, 12, 3))
  pool, parts = in_one_array(data)
  pool['x'].flags.writeable = False
  frozen = [{**c, 'examples': {**c['examples'], 'x': c['examples']['x'].view()}} for c in parts]
  for client in frozen:
    client['examples']['x'].flags.writeable = False
  shifted = in_one_array(data, first_rows=6)[1]
  with runtime.use_context('fused', 1):
    expected = rounds.next_round(rounds.first_weights(), data)
    for clients in (frozen, [*shifted[:2], data[2]]):
      stack = runtime.stack_clients(clients)
      assert stack.leaves[0].starts is None
      assert repr(rounds.next_round(rounds.first_weights(), stack)) == repr(expected)


@pytest.mark.parametrize('clients', [[], [1.0, 2.0], [{'a': [1, 2]}]])
def test_what_cannot_be_stacked_stays_a_list(clients):
  stack = chunks.stack_clients(clients, 2)
  assert list(stack) == clients
  assert stack.names is None


def test_a_prepared_cohort_of_another_type_is_refused():
  data = rounds.clients((4, 4))
  data[1]['examples']['x'] = data[1]['examples']['x'][:, 1:]
  with runtime.use_context('fused', 2):
    stack = runtime.stack_clients(data)
    assert stack.names is not None
    with pytest.raises(TypeError, match='client 1 of the cohort'):
      rounds.next_round(rounds.first_weights(), stack)


def test_a_prepared_cohort_may_have_its_keys_in_any_order():
  data = rounds.clients((4, 5))
  turned = [dict(reversed(client.items())) for client in data]
  with runtime.use_context('fused', 1):
    expected = rounds.next_round(rounds.first_weights(), data)
    assert repr(rounds.next_round(rounds.first_weights(), turned)) == repr(expected)
    stack = runtime.stack_clients(turned)
    assert repr(rounds.next_round(rounds.first_weights(), stack)) == repr(expected)


def test_kernels_have_threads_where_clients_leave_cores_idle():
  assert [runtime.kernel_threads(clients) for clients in (0, 1, 2, 3, 4, 100)] == [4, 4, 2, 1, 1, 1]


@pytest.mark.parametrize(
  ('given', 'threads'),
  [
    ({'centralized': True}, 4),
    ({'clients_per_round': 2}, 2),
    ({'clients_per_round': 7}, 1),
    ({}, 1),
  ],
)
def test_a_runs_kernel_threads_are_a_matter_of_its_flags(monkeypatch, given, threads):
  from fl_research.settings import Settings
  from fl_research.training import assembly

  found = []
  monkeypatch.setattr(runtime, 'set_context', lambda *arguments: found.append(arguments[4]))
  assembly.set_runtime(Settings(**given), 'off')
  assert found == [threads]
