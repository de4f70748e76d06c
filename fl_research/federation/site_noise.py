"""Noise of a site's own: local differential privacy that trusts neither engine nor program.

What clients would send of their updates is cut and noised here, after the engine's graph has made
it and before anything leaves, whatever the graph has done to it. With the norm C and z of the
request that the owner approved, the update Δ of a client becomes

    C / s · ( [s / C · Δ min(1, C / ‖Δ‖)] + N_Z(0, σ² I) ),    s = ⌊σ / z⌋, σ = 2^20,

[·] dropping what follows the point and N_Z being the discrete Gaussian (Canonne, Kamath, Steinke
2020, "The Discrete Gaussian for Differential Privacy"), sampled exactly. Its Rényi divergences are
no larger than those of the Gaussian mechanism (`fl_research.aggregation.privacy.discrete_mean`).
Two updates of a client are at most 2 s apart, so that a round is one of multiplier z / 2 or more
(`fl_research.aggregation.privacy.local_noise`).

Random bits are AES-256 in counter mode, as good as the operating system's to whoever lacks the
key: it is derived (HKDF) from a secret that the site has drawn from that generator, the run, the
round and the client. So a round that is asked for again, as by an engine that has died, is answered
with the same bytes. Other weights in the same round would be another question under the same noise,
and are refused (`Guard.noised`).

What else is sent of a client is little: that it weighs 1 and that its numbers were finite, whatever
they were; counts (its number, its examples, batches and steps, bytes), and training metrics where
request and policy release them, as the request's program says, and no more than a few dozen numbers
of them. A program that sends anything else is refused.
"""

from collections.abc import Sequence
import fractions
import math
import os
import pathlib
import struct

from cryptography.hazmat.primitives.ciphers import algorithms, Cipher, modes
import numpy as np

from fl_research.aggregation.privacy import discrete_gaussian
from fl_research.federation import proposal as proposals
from fl_research.federation.refusal import Refused
from fl_research.registry import UsageError
from fl_research.secure_aggregation import keys

KEY = 'noise.key'
"""The secret, in the site's folder."""

_SCALE = discrete_gaussian.LARGEST_SCALE
_UPDATE, _FACTS = '/message/', '/facts/'
_INSTEAD = {'/weight': 1.0, '/finite': True, '/batches': 0}
"""What is said of every client; of batches how many there are is told by how long they are."""

_COUNTS = ('/client', '/num_examples')
_MOST_NUMBERS = 64


class SiteNoise:
  """The noise of one run.

  Args:
    secret: of the site.
    asked: the run.
  """

  def __init__(self, secret: bytes, asked: proposals.Proposal):
    self._secret, self._run = secret, bytes.fromhex(asked.run_id)
    self._clip_norm = asked.privacy.clip_norm
    # Exact, as floats are fractions.
    self._unit = math.floor(_SCALE / fractions.Fraction(asked.privacy.noise_multiplier))

  def apply(
    self,
    names: Sequence[str],
    sent: Sequence[np.ndarray],
    round_num: int,
    clients: Sequence[int],
  ) -> list[np.ndarray]:
    """What clients may send, from what they would.

    Args:
      names: of the arrays.
      sent: arrays whose rows are clients.
      round_num: the round.
      clients: whose rows they are.

    Raises:
      Refused: clients would send numbers that no noise covers, or updates that are no floats; or
        one of them is asked for twice.
    """
    update = [place for place, name in enumerate(names) if name.startswith(_UPDATE)]
    self._check(names, sent, update, clients)
    released = [
      np.full_like(array, _INSTEAD[name]) if name in _INSTEAD else np.array(array)
      for name, array in zip(names, sent, strict=True)
    ]
    for row, client in enumerate(clients):
      own = self._noised([sent[place][row] for place in update], round_num, int(client))
      for place, tensor in zip(update, own):
        released[place][row] = tensor
    return released

  def _check(
    self,
    names: Sequence[str],
    sent: Sequence[np.ndarray],
    update: Sequence[int],
    clients: Sequence[int],
  ) -> None:
    if len(set(clients)) < len(clients):
      raise Refused('a client is asked for twice in a round, which would have the same noise twice')
    numbers = 0
    for name, array in zip(names, sent):
      if name.startswith(_FACTS):
        numbers += array.size
      elif not (name.startswith(_UPDATE) or name in _INSTEAD or name in _COUNTS):
        raise Refused(f'clients would send {name[1:]} besides updates, which no noise covers')
    if numbers > _MOST_NUMBERS * len(clients):
      raise Refused(f'clients would send more than {_MOST_NUMBERS} numbers besides updates')
    if not update or any(sent[place].dtype.kind != 'f' for place in update):
      raise Refused('updates must be sent as they are, for noise to be added to them')

  def _noised(self, update: Sequence[np.ndarray], round_num: int, client: int) -> list[np.ndarray]:
    """One client's update, cut and noised."""
    flat = np.concatenate([np.asarray(tensor, np.float64).ravel() for tensor in update])
    whole = self._whole(flat) + self._draw(flat.size, round_num, client)
    ends = np.cumsum([tensor.size for tensor in update])[:-1]
    parts = np.split(whole * (self._clip_norm / self._unit), ends)
    return [part.reshape(tensor.shape) for part, tensor in zip(parts, update)]

  def _whole(self, update: np.ndarray) -> np.ndarray:
    """The update in whole numbers, together no longer than s."""
    with np.errstate(over='ignore', invalid='ignore'):
      norm = np.sqrt(np.sum(update**2))
    if not np.isfinite(norm):
      return np.zeros(update.size, np.int64)
    whole = (update * (self._unit / max(norm, self._clip_norm))).astype(np.int64)
    return whole if np.sum(whole**2) <= self._unit**2 else np.zeros_like(whole)

  def _draw(self, count: int, round_num: int, client: int) -> np.ndarray:
    info = b'local noise' + self._run + struct.pack('!QQ', round_num, client)
    key = keys.derive(self._secret, info)
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return discrete_gaussian.sample(count, _SCALE, lambda size: stream.update(bytes(size)))


def of_site(folder: pathlib.Path, asked: proposals.Proposal) -> SiteNoise:
  """The noise of a run, by the folder's secret, which is made when there is none.

  Raises:
    UsageError: the file of the secret holds something else.
  """
  path = folder / KEY
  if not path.exists():
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, 'wb') as file:
      file.write(os.urandom(keys.SECRET_BYTES))
  secret = path.read_bytes()
  if len(secret) != keys.SECRET_BYTES:
    raise UsageError(f'{path}: is no secret of {keys.SECRET_BYTES} bytes; restore it from a copy')
  return SiteNoise(secret, asked)
