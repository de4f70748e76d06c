"""Ed25519 keys of experimenters, and what they sign.

Bernstein, Duif, Lange, Schwabe, Yang 2011, "High-speed high-security signatures"; by the library
cryptography. A public key is written as 64 hexadecimal digits.
"""

import os
import pathlib

from cryptography import exceptions
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from fl_research.registry import UsageError


def load_key(path: pathlib.Path) -> ed25519.Ed25519PrivateKey:
  """The private key in a file, which is made when it is not there, for its owner's eyes only.

  Raises:
    UsageError: the file holds something else.
  """
  if not path.exists():
    _write_new_key(path)
  try:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
  except (ValueError, TypeError, exceptions.UnsupportedAlgorithm) as error:
    raise UsageError(f'{path}: is not an Ed25519 private key without password') from error
  if not isinstance(key, ed25519.Ed25519PrivateKey):
    raise UsageError(f'{path}: is a private key of another kind; accepted is Ed25519')
  return key


def _write_new_key(path: pathlib.Path) -> None:
  content = ed25519.Ed25519PrivateKey.generate().private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
  )
  descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
  with open(descriptor, 'wb') as file:
    file.write(content)


def public_key(key: ed25519.Ed25519PrivateKey) -> str:
  """The public key in hexadecimal."""
  return key.public_key().public_bytes_raw().hex()


def is_signed(content: bytes, signature: bytes, key: str) -> bool:
  """Whether the owner of a public key, in hexadecimal, signed this content."""
  try:
    ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, content)
  except (exceptions.InvalidSignature, ValueError):
    return False
  return True
