"""Parcels arrive as they were sent, and what is none is refused in a line."""

import struct

import pytest

from fl_research.federation import parcels


def test_label_and_message():
  label, message = parcels.unpack(parcels.pack({'id': 'ä', 'wait': 0.2}, b'\x00\x01'))
  assert label == {'id': 'ä', 'wait': 0.2}
  assert bytes(message) == b'\x00\x01'
  label, message = parcels.unpack(parcels.pack({}))
  assert label == {} and bytes(message) == b''


@pytest.mark.parametrize(
  'parcel, reason',
  [
    (b'', 'has no label'),
    (b'abc', 'has no label'),
    (struct.pack('!I', 5) + b'{}', 'of 5 bytes was announced, 2 have come'),
    (struct.pack('!I', 1 << 31) + b'{}', 'was announced'),
    (struct.pack('!I', (1 << 20) + 1) + bytes(2 << 20), 'of 1,048,577 bytes was announced'),
    (struct.pack('!I', 2) + b'[}', 'no JSON'),
    (struct.pack('!I', 2) + b'[]', 'no JSON object'),
    (struct.pack('!I', 100_000) + b'[' * 100_000, 'no JSON'),
  ],
)
def test_what_is_no_parcel(parcel, reason):
  with pytest.raises(parcels.ParcelError, match=reason):
    parcels.unpack(parcel)
