"""Keys: what each of them depends on."""

import dataclasses

import numpy as np
import pytest

from fl_research.secure_aggregation import client, keys, masks
from fl_research.secure_aggregation.errors import ProtocolError
from tests.secure_aggregation import sessions


def test_every_key_has_a_use_a_session_a_round_and_a_pair():
  one, secret = sessions.of(), bytes(32)
  derived = [
    keys.pair_mask(secret, one, 1, 2),
    keys.pair_mask(secret, one, 1, 3),
    keys.pair_mask(secret, sessions.of(round_num=6), 1, 2),
    keys.pair_mask(secret, dataclasses.replace(one, session=bytes(16)), 1, 2),
    keys.self_mask(secret, one, 1),
    keys.commitment(secret, one, 1),
  ]
  assert len(set(derived)) == len(derived)
  assert keys.pair_mask(secret, one, 2, 1) == derived[0]


def test_by_default_each_secret_has_256_bits_of_the_operating_system(monkeypatch):
  asked = []
  monkeypatch.setattr('os.urandom', lambda size: asked.append(size) or bytes([len(asked)]) * size)
  client.Client(sessions.of(), 0, entropy=client.os.urandom).advertise()
  assert asked == [32, 32, 32]


def test_seeds_that_differ_in_any_bit_give_other_masks():
  ring, session = masks.Ring(4, 64), sessions.of()
  found = set()
  for bit in range(256):
    words = ring.zeros()
    ring.mask(words, keys.self_mask((1 << bit).to_bytes(32), session, 0), 1)
    found.add(words.tobytes())
  assert len(found) == 256


def test_masks_are_even():
  ring = masks.Ring(4096, 64)
  words = ring.zeros()
  ring.mask(words, keys.self_mask(bytes(32), sessions.of(), 0), 1)
  ones = np.unpackbits(words.view(np.uint8)).mean()
  assert abs(ones - 0.5) < 0.005  # Five standard deviations of 2^18 fair bits.


def test_shares_are_read_only_as_what_they_are_bound_to():
  session, entropy = sessions.of(), sessions.entropy(0)
  bound_to = keys.context(session, b'shares', 1, 2)
  encrypted = keys.encrypt(bytes(32), b'shares', bound_to, entropy)
  assert keys.decrypt(bytes(32), encrypted, bound_to) == b'shares'
  assert len(encrypted) == len(b'shares') + keys.ENCRYPTION_BYTES
  changed = encrypted[:-1] + bytes([encrypted[-1] ^ 1])
  for secret, message, other in (
    (b'k' * 32, encrypted, bound_to),
    (bytes(32), changed, bound_to),
    (bytes(32), encrypted, keys.context(session, b'shares', 2, 1)),
    (bytes(32), encrypted, keys.context(sessions.of(round_num=6), b'shares', 1, 2)),
  ):
    with pytest.raises(ProtocolError, match='cannot be decrypted'):
      keys.decrypt(secret, message, other)


def test_two_clients_agree_and_with_a_key_of_small_order_nobody_does():
  one, other = (keys.private_key(sessions.entropy(c)) for c in (0, 1))
  assert keys.agree(one, keys.public_bytes(other)) == keys.agree(other, keys.public_bytes(one))
  with pytest.raises(ProtocolError, match='there is no secret'):
    keys.agree(one, bytes(32))
