"""What is changed of TFF's own."""

import gc

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.python.aggregators import primitives
from tensorflow_federated.python.core.impl.types import type_serialization

from fl_research import tff_private

PAIR = tff.StructWithPythonType([('x', np.float32), ('y', np.int32)], dict)
TYPES = [
  tff.TensorType(np.float32, (None, 3)),
  tff.StructType([('a', tff.TensorType(np.int32)), (None, PAIR)]),
  tff.SequenceType(PAIR),
  tff.FederatedType(PAIR, tff.CLIENTS),
  tff.FederatedType(np.float32, tff.CLIENTS, all_equal=True),
  tff.FunctionType(None, np.int32),
  tff.FunctionType(PAIR, np.int32),
]


@pytest.mark.parametrize('type_spec', TYPES, ids=str)
def test_types_are_read_once_and_as_they_were_written(type_spec):
  tff_private.read_types_once()
  read = type_serialization.deserialize_type
  message = type_serialization.serialize_type(type_spec)
  again = type(message).FromString(message.SerializeToString())
  assert read(message) is read(again)
  assert read(message) == read.kept.__wrapped__(message.SerializeToString(deterministic=True))
  assert type_spec.is_equivalent_to(read(message))


def test_noise_that_clients_add_can_be_built():
  """Of TFF's factories the one whose computations are nested deepest; protobuf refuses them."""
  tff_private.read_deep_messages()
  factory = tff.learning.ddp_secure_aggregator(0.1, 3)
  process = factory.create(tff.TensorType(np.float32, (2,)))
  assert isinstance(process, tff.templates.AggregationProcess)


def test_nothing_is_left_of_a_process_with_secure_sums():
  tff_private.trace_secure_sums_apart()
  value_type = tff.to_type([tff.TensorType(np.float32, (2, k)) for k in range(1, 4)])
  found = []
  for _ in range(3):
    tff.aggregators.SecureSumFactory(1.0).create(value_type)
    found.append(_number_of_graphs())
  assert found[2] == found[1] == found[0]


def _number_of_graphs():
  gc.collect()
  return sum(isinstance(value, tf.Graph) for value in gc.get_objects())


@pytest.mark.parametrize(
  ('change', 'place', 'name'),
  [
    (tff_private.read_types_once, type_serialization, 'deserialize_type'),
    (tff_private.trace_secure_sums_apart, primitives, '_server_tensor_shift_for_secure_sum'),
  ],
)
def test_a_second_call_changes_nothing(change, place, name):
  change()
  first = getattr(place, name)
  change()
  assert getattr(place, name) is first
