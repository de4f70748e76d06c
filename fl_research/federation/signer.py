"""Who a site is to the other sites, so that the engine can pretend to be none of them.

Owners give each other their sites' public keys by another way than the engine's, and write them
into their policies. In a session of secure aggregation the sites then sign the keys that they draw
for it, and who is left (Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving
Machine Learning", figure 4, what is underlined).
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib

from cryptography.hazmat.primitives.asymmetric import ed25519

from fl_research.federation import signing
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError
from fl_research.secure_aggregation import keys

KEY = 'session.key'
"""The private key, in the site's folder."""


@dataclasses.dataclass(frozen=True)
class Signer:
  """A site among those whose keys its owner knows.

  Attributes:
    name: the site's.
    key: its private key.
    sites: the public keys of all, itself included, in hexadecimal, by name.
  """

  name: str
  key: ed25519.Ed25519PrivateKey
  sites: Mapping[str, str]

  def identity(self, names: Sequence[str], number: int) -> keys.Identity:
    """What it signs with in a session, and whose signatures it knows.

    Args:
      names: of the sites that take part, in the order of their numbers.
      number: what the engine says is this one's.

    Raises:
      Refused: there is one whose key the policy has not, or the numbers are not right.
    """
    unknown = sorted(set(names) - self.sites.keys())
    if unknown:
      raise Refused(f'secure aggregation: the policy has no key of site {unknown[0]}')
    if len(set(names)) < len(names) or list(names[number : number + 1]) != [self.name]:
      raise Refused('secure aggregation: the engine gives this site the number of another')
    known = {place: bytes.fromhex(self.sites[name]) for place, name in enumerate(names)}
    public = ed25519.Ed25519PublicKey.from_public_bytes
    return keys.Identity(self.key, {place: public(key) for place, key in known.items()})


def of_site(name: str, folder: pathlib.Path, sites: Mapping[str, str]) -> Signer:
  """The signer of a site, whose key is made when the folder has none.

  Raises:
    UsageError: the policy lacks this site, or has another key for it.
  """
  key = signing.load_key(folder / KEY)
  own = signing.public_key(key)
  if sites.get(name) != own:
    stands = 'another key' if name in sites else 'no key'
    raise UsageError(f'policy: secure_aggregation.sites has {stands} for {name}; its own is {own}')
  return Signer(name, key, sites)
