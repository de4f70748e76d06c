"""Keys that two clients agree on, and what is derived from them.

Agreement is X25519, derivation HKDF-SHA256 (Krawczyk, Eronen 2010, RFC 5869), encryption AES-GCM,
signatures Ed25519, all by the library cryptography. What a key is for, the session, the round and
the two clients are in HKDF's `info`: a key of one use is no key of another.
"""

from collections.abc import Callable, Mapping
import dataclasses
import struct

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers import aead
from cryptography.hazmat.primitives.kdf import hkdf

from fl_research.secure_aggregation.errors import ProtocolError
from fl_research.secure_aggregation.parameters import Parameters

SECRET_BYTES = 32
"""Bytes of every seed, and of every private, public and derived key."""

SIGNATURE_BYTES = 64

_NONCE_BYTES = 12
_TAG_BYTES = 16

ENCRYPTION_BYTES = _NONCE_BYTES + _TAG_BYTES
"""By how many bytes an encrypted message is longer than the message."""

Entropy = Callable[[int], bytes]
"""Gives so many bytes that nobody else knows, as `os.urandom` does."""


@dataclasses.dataclass(frozen=True)
class Identity:
  """Who a client is to others, where keys are signed.

  Attributes:
    key: its own signing key.
    directory: the public keys of all clients that there are; not learnt from the server.
  """

  key: ed25519.Ed25519PrivateKey
  directory: Mapping[int, ed25519.Ed25519PublicKey]


def context(parameters: Parameters, label: bytes, first: int, second: int) -> bytes:
  """What a key or a ciphertext is bound to: use, session, round and the two clients, in order."""
  pair = struct.pack('!QII', parameters.round_num, first, second)
  return label + parameters.session + pair


def private_key(entropy: Entropy) -> x25519.X25519PrivateKey:
  """A new private key of 256 bits."""
  return x25519.X25519PrivateKey.from_private_bytes(entropy(SECRET_BYTES))


def public_bytes(key: x25519.X25519PrivateKey) -> bytes:
  """Its public key."""
  return key.public_key().public_bytes_raw()


def agree(key: x25519.X25519PrivateKey, others: bytes) -> bytes:
  """The secret of this private key's owner and that public key's.

  Raises:
    ProtocolError: the public key is one with which everybody agrees on zero.
  """
  try:
    return key.exchange(x25519.X25519PublicKey.from_public_bytes(others))
  except ValueError as error:
    raise ProtocolError('a public key is one with which there is no secret') from error


def derive(secret: bytes, info: bytes) -> bytes:
  """A key of 32 bytes for one use."""
  return hkdf.HKDF(hashes.SHA256(), SECRET_BYTES, salt=None, info=info).derive(secret)


def pair_mask(secret: bytes, parameters: Parameters, first: int, second: int) -> bytes:
  """The key of two clients' mask, the same for both."""
  return derive(secret, context(parameters, b'pair', min(first, second), max(first, second)))


def self_mask(seed: bytes, parameters: Parameters, client: int) -> bytes:
  """The key of a client's own mask."""
  return derive(seed, context(parameters, b'self', client, client))


def commitment(seed: bytes, parameters: Parameters, client: int) -> bytes:
  """What a client says of its seed beforehand, by which a wrong one is known."""
  return derive(seed, context(parameters, b'commitment', client, client))


def encrypt(secret: bytes, message: bytes, bound_to: bytes, entropy: Entropy) -> bytes:
  """The message, readable only for whoever knows the secret, and only as what it is bound to."""
  nonce = entropy(_NONCE_BYTES)
  return nonce + aead.AESGCM(derive(secret, bound_to)).encrypt(nonce, message, bound_to)


def decrypt(secret: bytes, encrypted: bytes, bound_to: bytes) -> bytes:
  """What was encrypted.

  Raises:
    ProtocolError: it was encrypted by another secret, bound to something else, or changed.
  """
  nonce, message = encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:]
  try:
    return aead.AESGCM(derive(secret, bound_to)).decrypt(nonce, message, bound_to)
  except exceptions.InvalidTag as error:
    raise ProtocolError('the shares cannot be decrypted') from error


def check_signature(identity: Identity, client: int, signature: bytes, content: bytes) -> None:
  """Raises `ProtocolError` unless that client has signed this content."""
  if client not in identity.directory:
    raise ProtocolError(f'client {client} is not in the directory')
  try:
    identity.directory[client].verify(signature, content)
  except exceptions.InvalidSignature as error:
    raise ProtocolError(f"client {client}'s signature is not its own") from error
