"""Messages come through whole; what is none is refused in a line, whatever it is."""

import io
import json
import zipfile

import hypothesis
from hypothesis import strategies
from hypothesis.extra import numpy as numpy_arrays
import numpy as np
import pytest

from fl_research.federation import messages
from fl_research.federation.messages import Message, MessageError

WORK = Message(
  'work',
  {'run': 'r', 'graph': 'g', 'round': 3, 'applied': {'2': [1, 5]}, 'hold': False},
  {
    'server': [np.float32(2.5), np.arange(6, dtype=np.float32).reshape(2, 3)],
    'clients': [np.array([1, 5])],
    'epochs': [np.ones(2)],
  },
)

_TYPES = strategies.one_of(
  numpy_arrays.integer_dtypes(endianness='<'),
  numpy_arrays.unsigned_integer_dtypes(endianness='<'),
  numpy_arrays.floating_dtypes(endianness='<'),
  numpy_arrays.boolean_dtypes(),
)


def test_what_is_packed_comes_out():
  found = messages.unpack(messages.pack(WORK))
  assert (found.kind, found.fields) == (WORK.kind, WORK.fields)
  assert set(found.arrays) == set(WORK.arrays)
  np.testing.assert_array_equal(found.array('clients'), [1, 5])
  with pytest.raises(MessageError, match='work: 2 arrays of server, expected 1'):
    found.array('server')
  for group, members in WORK.arrays.items():
    for own, other in zip(members, found.arrays[group], strict=True):
      np.testing.assert_array_equal(own, other)
      assert np.asarray(own).dtype == other.dtype


@hypothesis.settings(deadline=None)
@hypothesis.given(numpy_arrays.arrays(_TYPES, numpy_arrays.array_shapes(min_dims=0, min_side=0)))
def test_every_array_comes_through(array):
  for own in (array, np.asfortranarray(array)):
    sent = Message('statistics', {'what': '', 'facts': {}}, {'numbers': [own]})
    found = messages.unpack(messages.pack(sent)).array('numbers')
    assert (found.dtype, found.shape) == (own.dtype, own.shape)
    assert found.tobytes('A') == own.tobytes('A')


def test_messages_are_read_without_pythons_parser(monkeypatch):
  # CPython 3.11 cannot parse in two threads at once: python/cpython issue 106905.
  monkeypatch.setattr('ast.parse', None)
  assert messages.unpack(messages.pack(WORK)).fields == WORK.fields


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(strategies.data())
def test_damaged_messages_are_refused_or_read(data):
  packed = bytearray(messages.pack(WORK))
  for _ in range(data.draw(strategies.integers(1, 4))):
    place = data.draw(strategies.integers(0, len(packed) - 1))
    packed[place] = data.draw(strategies.integers(0, 255))
  cut = data.draw(strategies.integers(0, len(packed)))
  for damaged in (bytes(packed), bytes(packed[:cut])):
    try:
      messages.unpack(damaged)
    except MessageError as error:
      assert '\n' not in str(error)


def _archive(members, compression=zipfile.ZIP_STORED):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w', compression) as archive:
    for name, array in members.items():
      content = io.BytesIO()
      np.lib.format.write_array(content, array, allow_pickle=True)
      archive.writestr(f'{name}.npy', content.getvalue())
  return buffer.getvalue()


def _of_another_size():
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, 'w') as archive:
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
      content, {'shape': (10**12,), 'fortran_order': False, 'descr': '<f8'}
    )
    archive.writestr('message.npy', content.getvalue())
  return buffer.getvalue()


def _head(kind='hello', **fields):
  text = json.dumps({'kind': kind, 'fields': fields})
  return {'message': np.frombuffer(text.encode(), np.uint8)}


@pytest.mark.parametrize(
  ('data', 'words'),
  [
    (b'', 'not a message'),
    (_archive({}), 'without a head'),
    (_archive({'message': np.zeros(3)}), 'without a head'),
    (_archive({'message': np.frombuffer(b'{', np.uint8)}), 'not JSON'),
    (_archive({'message': np.frombuffer(b'[]', np.uint8)}), 'head is not one'),
    (_archive({'message': np.frombuffer(b'{"kind": "hello"}', np.uint8)}), 'head is not one'),
    (
      _archive({'message': np.frombuffer(b'{"kind": "hello", "fields": {}, "x": 1}', np.uint8)}),
      'head is not one',
    ),
    (_archive(_head('nonsense')), "unknown kind 'nonsense'"),
    (_archive(_head(protocol='1')), 'protocol is str, expected int'),
    (_archive(_head(protocol=1, more=2)), "has the fields ['more', 'protocol']"),
    (_archive({**_head(protocol=1), 'x/0': np.zeros(1)}), "arrays ['x/0'] that do not belong"),
    (_archive({**_head(protocol=1), 'x/0': np.array([{}], object)}), 'not a message'),
    (_archive({**_head(protocol=1), 'x/0': np.array(['text'])}), 'an array of <U4'),
    (_archive({**_head(protocol=1), 'x/0': np.zeros(1, 'i4,f4')}), 'array whose head is not one'),
    (_of_another_size(), 'another size than its head says'),
    (_archive(_head(protocol=1), zipfile.ZIP_DEFLATED), 'it is compressed'),
  ],
)
def test_what_is_none_is_refused(data, words):
  with pytest.raises(MessageError) as caught:
    messages.unpack(data)
  assert words in str(caught.value)


def test_nothing_beyond_the_limit_is_looked_at():
  packed = messages.pack(WORK)
  with pytest.raises(MessageError, match=f'of {len(packed)} bytes; accepted are 100'):
    messages.unpack(packed, 100)
