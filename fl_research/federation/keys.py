"""Keys and certificates of a federation, for those who have no authority of their own.

    ca.crt, ca.key                      the authority; the key stays where it was made
    superlink.crt, superlink.key        the certificate of the engine's side, signed by it
    sites/NAME, sites/NAME.pub          a site's key (ECDSA on P-384, OpenSSH), as Flower wants it
    experimenters/NAME, NAME.pub        an experimenter's key (Ed25519), see `signing`

A private key is best made on the machine that is to have it, and only its `.pub` sent about. Every
file but `.crt` and `.pub` can be read by its owner alone; nothing is ever overwritten.
"""

from collections.abc import Callable, Sequence
import datetime
import ipaddress
import os
import pathlib
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fl_research.federation import signing
from fl_research.registry import UsageError

CA, SUPERLINK = 'ca', 'superlink'
SITES, EXPERIMENTERS = 'sites', 'experimenters'

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.-]{0,63}')
_HOST = re.compile(r'(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*')
_BACKDATED = datetime.timedelta(minutes=10)
"""How far a certificate's beginning lies in the past, as clocks differ."""


def make_certificates(
  folder: pathlib.Path, hosts: Sequence[str], days: int, begin: datetime.datetime
) -> list[str]:
  """Makes an authority, unless the folder has one, and a certificate for the engine's side.

  Args:
    folder: where they go.
    hosts: names and addresses by which sites reach the engine's machine.
    days: how long the certificates are valid.
    begin: from when on.

  Returns:
    What was made, line by line.

  Raises:
    UsageError: a host is none, or there is a certificate already; nothing was written.
    OSError: the folder cannot be written to.
  """
  names = [_host(host) for host in hosts]
  if not names:
    raise UsageError('--hosts: name at least one host or address')
  _check_new(_certificate_files(folder, SUPERLINK))
  end = begin + datetime.timedelta(days=days)
  made = []
  if not (folder / f'{CA}.crt').exists():
    _check_new(_certificate_files(folder, CA))
    made.append(_make_authority(folder, begin, end))
  key = ec.generate_private_key(ec.SECP256R1())
  authority, authority_key = _read_authority(folder)
  builder = _builder('fl_research SuperLink', authority.subject, key, begin, end)
  builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
  builder = builder.add_extension(
    x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
  )
  builder = builder.add_extension(
    x509.BasicConstraints(ca=False, path_length=None), critical=True
  ).add_extension(
    x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
  )
  _write_certificate(folder, SUPERLINK, builder.sign(authority_key, hashes.SHA256()), key)
  made.append(f'{folder / SUPERLINK}.crt: for {", ".join(hosts)}, valid until {_day(end)}')
  return made


def make_key(folder: pathlib.Path, kind: str, name: str) -> str:
  """Makes a pair of keys.

  Args:
    folder: where they go, into the folder of their kind.
    kind: `SITES` or `EXPERIMENTERS`.
    name: whose key it is.

  Returns:
    What was made.

  Raises:
    UsageError: the name is none, or the key is there already; nothing was written.
    OSError: the folder cannot be written to.
  """
  check_name(f'--{kind}={name}', name)
  path = folder / kind / name
  public = path.with_name(f'{name}.pub')
  _check_new([path, public])
  path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
  if kind == EXPERIMENTERS:
    shown = signing.public_key(signing.load_key(path))
  else:
    key = ec.generate_private_key(ec.SECP384R1())
    _write(path, _private_bytes(key, serialization.PrivateFormat.OpenSSH), 0o600)
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    shown = f'{key.public_key().public_bytes(*form).decode()} {name}'
  _write(public, f'{shown}\n'.encode(), 0o644)
  return f'{path}: key of {name}, which does not end; {public} is for those who are to know it'


def _private_bytes(key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> bytes:
  return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def check_name(where: str, name: str) -> None:
  """Raises `UsageError`, beginning with where it stands, when a name is not one of a site."""
  if not _NAME.fullmatch(name):
    raise UsageError(f'{where}: accepted are names of letters, digits, "_", "." and "-"')


def check_valid(path: pathlib.Path, now: datetime.datetime) -> str:
  """Looks whether a certificate can be used.

  Returns:
    A warning, where it ends within a month; else ''.

  Raises:
    UsageError: the file is no certificate, or this is not its time.
  """
  try:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
  except (OSError, ValueError) as error:
    raise UsageError(f'{path}: is no certificate that can be read') from error
  begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
  if not begin <= now <= end:
    raise UsageError(
      f'{path}: is valid from {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, and by the clock '
      f'of this machine it is {now:%Y-%m-%d %H:%M}'
    )
  if end - now < datetime.timedelta(days=30):
    return f'{path}: ends on {_day(end)}; make a new one before that'
  return ''


def _make_authority(folder: pathlib.Path, begin: datetime.datetime, end: datetime.datetime) -> str:
  key = ec.generate_private_key(ec.SECP256R1())
  subject = _subject('fl_research federation')
  builder = _builder('fl_research federation', subject, key, begin, end)
  builder = builder.add_extension(
    x509.BasicConstraints(ca=True, path_length=0), critical=True
  ).add_extension(_SIGNS_CERTIFICATES, critical=True)
  _write_certificate(folder, CA, builder.sign(key, hashes.SHA256()), key)
  return f'{folder / CA}.crt: the authority, valid until {_day(end)}; every site needs this file'


_SIGNS_CERTIFICATES = x509.KeyUsage(
  digital_signature=False,
  content_commitment=False,
  key_encipherment=False,
  data_encipherment=False,
  key_agreement=False,
  key_cert_sign=True,
  crl_sign=True,
  encipher_only=False,
  decipher_only=False,
)


def _read_authority(folder: pathlib.Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
  try:
    certificate = x509.load_pem_x509_certificate((folder / f'{CA}.crt').read_bytes())
    key = serialization.load_pem_private_key((folder / f'{CA}.key').read_bytes(), None)
  except (OSError, ValueError) as error:
    raise UsageError(f'{folder}: the authority (ca.crt, ca.key) cannot be read') from error
  if not isinstance(key, ec.EllipticCurvePrivateKey):
    raise UsageError(f'{folder / CA}.key: is no ECDSA key')
  return certificate, key


def _builder(
  name: str,
  issuer: x509.Name,
  key: ec.EllipticCurvePrivateKey,
  begin: datetime.datetime,
  end: datetime.datetime,
) -> x509.CertificateBuilder:
  return (
    x509.CertificateBuilder()
    .subject_name(_subject(name))
    .issuer_name(issuer)
    .public_key(key.public_key())
    .serial_number(x509.random_serial_number())
    .not_valid_before(begin - _BACKDATED)
    .not_valid_after(end)
    .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
  )


def _subject(name: str) -> x509.Name:
  return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(text: str) -> x509.GeneralName:
  try:
    return x509.IPAddress(ipaddress.ip_address(text))
  except ValueError:
    pass
  if not _HOST.fullmatch(text):
    raise UsageError(f'--hosts={text}: accepted are names of hosts and IP addresses')
  return x509.DNSName(text)


def _write_certificate(
  folder: pathlib.Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
) -> None:
  shown, hidden = _certificate_files(folder, name)
  _write(hidden, _private_bytes(key, serialization.PrivateFormat.PKCS8), 0o600)
  _write(shown, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _certificate_files(folder: pathlib.Path, name: str) -> list[pathlib.Path]:
  return [folder / f'{name}.crt', folder / f'{name}.key']


def _check_new(paths: Sequence[pathlib.Path]) -> None:
  for path in paths:
    if path.exists():
      raise UsageError(f'{path}: is there already, and keys are never overwritten; remove it first')


def _write(path: pathlib.Path, content: bytes, mode: int) -> None:
  path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
  opener: Callable[[str, int], int] = lambda name, flags: os.open(name, flags, mode)
  with open(path, 'xb', opener=opener) as file:
    file.write(content)


def _day(moment: datetime.datetime) -> str:
  return f'{moment:%Y-%m-%d}'
