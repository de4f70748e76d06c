"""Values get the containers that TFF gives them."""

import collections
from typing import Any

import attrs
import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research.runtime import chunks, expressions, graph_functions, python_values

Point = collections.namedtuple('Point', 'x y')


@attrs.define
class Pair:
  left: Any
  right: Any


VALUES = {
  'leaf': np.float32(1),
  'tuple': (np.float32(1), (np.int32(2), ())),
  'list': [np.float32(1), [np.float32(2)]],
  'dict': {'z': np.float32(1), 'a': np.int32(2)},
  'ordered': collections.OrderedDict(z=np.float32(1), a=[np.int32(2), np.int32(3)]),
  'named': Point(np.float32(1), (np.int32(2), np.float32(3))),
  'attrs': Pair(left=np.float32(1), right=Point(np.int32(2), np.int32(3))),
  'mixed': (Pair({'b': np.float32(1)}, [np.float32(2)]), np.float32(3)),
}


def _type_of(value):
  leaf = lambda part: tff.TensorType(part.dtype)
  return tff.types.to_type(_mapped(value, leaf))


def _mapped(value, function):
  if isinstance(value, dict):
    return type(value)((name, _mapped(part, function)) for name, part in value.items())
  if attrs.has(type(value)):
    parts = attrs.asdict(value, recurse=False).items()
    return type(value)(**{name: _mapped(part, function) for name, part in parts})
  if hasattr(value, '_fields'):
    return type(value)(*(_mapped(part, function) for part in value))
  if isinstance(value, (tuple, list)):
    return type(value)(_mapped(part, function) for part in value)
  return function(value)


@pytest.mark.parametrize('name', VALUES)
def test_containers_are_those_of_tff(name):
  kind = _type_of(VALUES[name])
  leaves = [leaf for _, leaf in chunks._named_leaves(VALUES[name])]
  assert len(leaves) == len(graph_functions.leaf_types(kind))
  expected = tff.types.type_to_py_container(expressions.pack(kind, iter(leaves)), kind)
  found = python_values.container_of(kind)(leaves)
  assert repr(found) == repr(expected) == repr(VALUES[name])
  assert [name for name, _ in chunks._named_leaves(found)] == chunks.type_names(kind)


def test_unnamed_structures_without_a_container_are_tuples():
  kind = tff.StructType([np.int32, tff.StructType([('b', np.int32), ('a', np.int32)])])
  made = python_values.container_of(kind)([1, 2, 3])
  assert made == (1, collections.OrderedDict(b=2, a=3))
