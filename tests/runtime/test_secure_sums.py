"""Secure sums that a summer takes: the same to the bit as in the clear, and it sees every term."""

import collections

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import runtime
from fl_research.registry import UsageError
from fl_research.runtime import protocol_sums

TERMS = tff.FederatedType(
  tff.StructType([('a', tff.TensorType(np.int32, (3,))), ('b', np.int64)]), tff.CLIENTS
)
ADD = tff.tensorflow.computation(lambda x, total: x + total, np.int64, np.int64)
NEGATE = tff.tensorflow.computation(lambda x: -x, np.int64)


@tff.federated_computation(TERMS)
def two_steps(x):
  """Sums of every kind, then one of terms that the first is part of."""
  first = tff.federated_secure_sum(x, collections.OrderedDict(a=100, b=200))
  by_bits = tff.federated_secure_sum_bitwidth(x, 8)
  count = tff.federated_secure_sum_bitwidth(tff.federated_value(1, tff.CLIENTS), 1)
  again = tff.federated_map(ADD, (x.b, tff.federated_broadcast(first.b)))
  return first, by_bits, count, tff.federated_sum(x.a), tff.federated_secure_sum(again, 10_000)


@tff.federated_computation(tff.FederatedType(np.int64, tff.CLIENTS))
def negated(x):
  return tff.federated_secure_sum(tff.federated_map(NEGATE, x), 10)


MODULAR = tff.aggregators.SecureModularSumFactory(7).create(tff.TensorType(np.int32)).next


def _clients(number):
  return [
    collections.OrderedDict(a=np.array([i, 2 * i, 100], np.int32), b=np.int64(i * i))
    for i in range(number)
  ]


class Recorder(protocol_sums.ProtocolSums):
  """The protocol, which keeps what it is given."""

  def __init__(self):
    super().__init__('tests', 1)
    self.given = []

  def __call__(self, vectors, size, bits):
    self.given.append(({client: vectors[client].tolist() for client in vectors}, size, bits))
    return super().__call__(vectors, size, bits)


@pytest.mark.parametrize('number', [3, 7])
def test_to_the_bit_what_is_summed_in_the_clear(number):
  clients, summer = _clients(number), Recorder()
  with runtime.use_context('fused'):
    clear = two_steps(clients)
  with runtime.use_context('fused', summer=summer) as context:
    assert repr(two_steps(clients)) == repr(clear)
    assert context.report()['fallbacks'] == []
  (first, size, bits), (second, *_) = summer.given
  assert (size, bits) == (9, (number * 255).bit_length())
  assert first[2] == [2, 4, 100, 4, 2, 4, 100, 4, 1]
  total = sum(i * i for i in range(number))
  assert second == {i: [i * i + total] for i in range(number)}


def test_sums_modulo_a_number():
  with runtime.use_context('fused', summer=protocol_sums.ProtocolSums('tests', 1)):
    assert MODULAR((), [3, 6, 5, 6]).result == 20 % 7


def test_nobody_is_asked_for_a_sum_without_terms():
  summer = Recorder()
  with runtime.use_context('fused', summer=summer):
    first, _, count, *_ = two_steps([])
  assert (first['a'].tolist(), first['b'], count) == ([0, 0, 0], 0, 0)
  assert summer.given == []


def test_a_term_that_is_out_of_bounds_is_named_and_added_to_nothing():
  with runtime.use_context('fused', summer=protocol_sums.ProtocolSums('tests', 1)):
    for term in (1, -11):
      with pytest.raises(runtime.ComputationError, match='client 2 of the cohort: a term of a sec'):
        negated([0, -10, term])


def test_too_few_clients():
  summer = protocol_sums.ProtocolSums('tests', 1)
  summer.begin(8)
  refused = pytest.raises(UsageError, match='2 clients take part in round 8; needed are 3 at least')
  with runtime.use_context('fused', summer=summer), refused:
    negated([0, -1])


def test_what_the_fused_runtime_leaves_to_native_is_not_summed_in_the_clear_instead():
  @tff.federated_computation(
    tff.FederatedType(np.int64, tff.CLIENTS), tff.FunctionType(None, np.int64)
  )
  def with_a_function(x, _):
    return tff.federated_secure_sum(x, 10)

  refused = pytest.raises(runtime.ComputationError, match='its secure sums cannot be kept')
  summer = protocol_sums.ProtocolSums('tests', 1)
  with runtime.use_context('fused', summer=summer) as context, refused:
    context.invoke(with_a_function, None)


def test_native_takes_none():
  with pytest.raises(ValueError, match='summer: not with native'):
    runtime.set_context('native', summer=protocol_sums.ProtocolSums('tests', 1))


def test_sessions_of_a_round_differ_and_repeat():
  vectors = {client: np.zeros(2, np.uint64) for client in range(3)}
  sums = protocol_sums.ProtocolSums('tests', 1)
  sent = []
  for round_num in (1, 1, 2):
    sums.begin(round_num)
    sums(vectors, 2, 8)
    once = sums.bytes_up
    sums(vectors, 2, 8)
    assert sums.bytes_up == 2 * once
    sent.append(sums._parameters(3, 2, 8, 0))
  assert sent[0] == sent[1] != sent[2]
  assert sums._parameters(3, 2, 8, 0) != sums._parameters(3, 2, 8, 1)
