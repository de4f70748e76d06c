"""Keys are made once, for their owner's eyes, and certificates for the hosts that were named."""

import datetime
import ssl
import stat

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
import pytest

from fl_research.federation import keys, signing
from fl_research.registry import UsageError

NOON = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)


def content(folder) -> dict[str, bytes]:
  return {str(path): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_certificates(tmp_path):
  folder = tmp_path / 'keys'
  said = keys.make_certificates(folder, ['engine.example.org', '127.0.0.1', '::1'], 365, NOON)
  assert said[0].endswith('valid until 2031-01-01; every site needs this file')
  authority = x509.load_pem_x509_certificate((folder / 'ca.crt').read_bytes())
  certificate = x509.load_pem_x509_certificate((folder / 'superlink.crt').read_bytes())
  certificate.verify_directly_issued_by(authority)
  names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
  assert names.get_values_for_type(x509.DNSName) == ['engine.example.org']
  assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ['127.0.0.1', '::1']
  assert certificate.not_valid_after_utc == NOON + datetime.timedelta(days=365)
  context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
  context.load_cert_chain(folder / 'superlink.crt', folder / 'superlink.key')
  for name in ('ca.key', 'superlink.key'):
    assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600


def test_validity(tmp_path):
  keys.make_certificates(tmp_path, ['localhost'], 100, NOON)
  path = tmp_path / 'superlink.crt'
  assert keys.check_valid(path, NOON) == ''
  assert 'ends on 2030-04-11' in keys.check_valid(path, NOON + datetime.timedelta(days=80))
  for days in (-1, 101):
    with pytest.raises(UsageError, match=r'is valid from 2030-01-01 .* and by the clock of this'):
      keys.check_valid(path, NOON + datetime.timedelta(days=days))
  (tmp_path / 'text').write_text('text')
  with pytest.raises(UsageError, match='is no certificate'):
    keys.check_valid(tmp_path / 'text', NOON)


def test_nothing_is_overwritten(tmp_path):
  keys.make_certificates(tmp_path, ['localhost'], 100, NOON)
  keys.make_key(tmp_path, keys.SITES, 'north')
  before = content(tmp_path)
  with pytest.raises(UsageError, match=r'superlink\.crt: is there already'):
    keys.make_certificates(tmp_path, ['localhost'], 100, NOON)
  with pytest.raises(UsageError, match='north: is there already'):
    keys.make_key(tmp_path, keys.SITES, 'north')
  assert content(tmp_path) == before
  for name in ('superlink.crt', 'superlink.key'):
    (tmp_path / name).unlink()
  keys.make_certificates(tmp_path, ['localhost'], 100, NOON)
  assert content(tmp_path)[f'{tmp_path}/ca.crt'] == before[f'{tmp_path}/ca.crt']


def test_site_keys_are_those_of_flower(tmp_path):
  keys.make_key(tmp_path, keys.SITES, 'north')
  path = tmp_path / 'sites' / 'north'
  key = serialization.load_ssh_private_key(path.read_bytes(), None)
  assert isinstance(key.curve, ec.SECP384R1)
  public = (tmp_path / 'sites' / 'north.pub').read_bytes()
  assert public.startswith(b'ecdsa-sha2-nistp384 ') and public.endswith(b' north\n')
  assert serialization.load_ssh_public_key(public) == key.public_key()
  assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_experimenters_keys_are_those_that_sign(tmp_path):
  keys.make_key(tmp_path, keys.EXPERIMENTERS, 'ada')
  key = signing.load_key(tmp_path / 'experimenters' / 'ada')
  public = (tmp_path / 'experimenters' / 'ada.pub').read_text().strip()
  assert public == signing.public_key(key)
  assert signing.is_signed(b'text', key.sign(b'text'), public)
  assert stat.S_IMODE((tmp_path / 'experimenters' / 'ada').stat().st_mode) == 0o600


@pytest.mark.parametrize('host', ['', 'a b', '-a', 'a/b', 'ä'])
def test_hosts_that_are_none(tmp_path, host):
  with pytest.raises(UsageError, match='--hosts='):
    keys.make_certificates(tmp_path / 'new', [host], 100, NOON)
  assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('name', ['', '../a', 'a b', '.a'])
def test_names_that_are_none(tmp_path, name):
  with pytest.raises(UsageError, match='--sites='):
    keys.make_key(tmp_path / 'new', keys.SITES, name)
  assert not (tmp_path / 'new').exists()
