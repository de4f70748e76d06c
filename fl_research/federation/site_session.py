"""A site's part in a session of secure aggregation, in which sites are the clients."""

from collections.abc import Mapping, Sequence, Set
import hashlib
from typing import Any, Optional

import numpy as np

from fl_research.federation.messages import MessageError
from fl_research.federation.refusal import Refused
from fl_research.federation.signer import Signer
from fl_research.secure_aggregation import client, errors, keys, parameters
from fl_research.secure_aggregation.steps import Step


class SiteSession:
  """One session; a message that comes again is answered as before.

  Args:
    run: the run's name.
    round_num: the round.
    facts: `bits`, `threshold`, `attempt`, the site's `number` in the session, and the names of all
      `sites` of it where it is signed.
    vector: what the site adds to the sum, uint64.
    least_others: with how many others at least it is added up.
    signer: what the site signs with; None where it does not.
    told_of: for a sum with which sites it has given its shares when it added the same vector in
      this round before; None where it has not. What two such sums differ by is what a site adds.

  Attributes:
    told_of: the same, this session included.
    content: the vector's hash.
    round_num: the round.

  Raises:
    Refused: the sum could be one of fewer, or the session is signed otherwise than the policy says.
    MessageError: the facts are none of a session.
  """

  def __init__(
    self,
    run: str,
    round_num: int,
    facts: Mapping[str, Any],
    vector: np.ndarray,
    least_others: int,
    signer: Optional[Signer] = None,
    told_of: Optional[frozenset] = None,
  ):
    self.told_of, self.content, self.round_num = told_of, hash_of(vector), round_num
    try:
      identity = _identity(facts, signer)
      bits, threshold, attempt, number = (
        int(facts[name]) for name in ('bits', 'threshold', 'attempt', 'number')
      )
      shared = parameters.Parameters(
        parameters.session_of(f'{run}/{attempt}'),
        round_num,
        len(vector),
        bits,
        threshold,
        signed=identity is not None,
      )
    except Refused:
      raise
    except (KeyError, TypeError, ValueError) as error:
      raise MessageError(f'combine: {error}') from error
    if threshold <= least_others:
      raise Refused(
        f'a sum of {threshold} sites may come out, and the request says {least_others + 1} at least'
      )
    self._client = client.Client(shared, number, identity=identity)
    self._names = dict(enumerate(map(str, facts['sites'])))
    self._vector = vector
    self._said: dict[int, tuple[bytes, bytes]] = {}

  def step(self, step: int, payload: bytes) -> bytes:
    """The answer to the message of a step.

    Raises:
      Refused: the protocol does not allow what the engine sends, or too few are left.
    """
    if step in self._said:
      before, answer = self._said[step]
      if before != payload:
        raise Refused(f'secure aggregation: step {step} was asked for before, with another message')
      return answer
    try:
      answer = self._answer(step, payload)
    except errors.ProtocolError as error:
      raise Refused(f'secure aggregation: {error}') from error
    self._said[step] = payload, answer
    return answer

  def _answer(self, step: int, payload: bytes) -> bytes:
    if step == Step.ADVERTISE:
      return self._client.advertise()
    if step == Step.SHARE:
      return self._client.share(payload)
    if step == Step.MASK:
      return self._client.mask(payload, self._vector)
    if step == Step.CONSENT:
      return self._client.consent(payload)
    if step == Step.REVEAL:
      answer = self._client.reveal(payload)
      self._agree_to({self._names.get(number, number) for number in self._client.survivors})
      return answer
    raise errors.ProtocolError(f'step {step} is none of a session')

  def _agree_to(self, sites: Set[str | int]) -> None:
    if self.told_of not in (None, sites):
      raise Refused(
        'secure aggregation: the sum of this round was one of other sites before, and two sums '
        'would tell what those have sent that are not in both; have the same sites take part, or '
        'begin anew with another --seed'
      )
    self.told_of = frozenset(sites)


def _identity(facts: Mapping[str, Any], signer: Optional[Signer]) -> Optional[keys.Identity]:
  """What a session is signed with; None where neither side signs.

  Raises:
    Refused: one does, and the other does not.
  """
  names = [str(name) for name in facts['sites']]
  if signer is None:
    if names:
      raise Refused('secure aggregation: is to be signed, and the policy has no keys of the sites')
    return None
  if not names:
    raise Refused('secure aggregation: is not signed, and the policy has keys of the sites')
  return signer.identity(names, int(facts['number']))


def hash_of(vector: np.ndarray) -> str:
  """SHA-256 of what a site adds to a sum."""
  return hashlib.sha256(vector.tobytes()).hexdigest()


def summed(terms: Sequence[np.ndarray], largest: Sequence[int], bits: int) -> np.ndarray:
  """A site's part of a sum: its clients' terms added up, side by side, uint64 [size].

  Args:
    terms: for each leaf, whole numbers of the clients, [n, ...].
    largest: the greatest of each leaf.
    bits: b; sums are taken modulo 2^b.

  Raises:
    MessageError: a term is out of bounds, or b is too small for this site alone.
  """
  for leaf, most in zip(terms, largest, strict=True):
    if leaf.size and not 0 <= int(leaf.min()) <= int(leaf.max()) <= most:
      raise MessageError(f'combine: a term of a secure sum is not from 0 to {most}')
  clients = len(terms[0])
  if not 1 <= bits <= 64 or (clients * max(largest)).bit_length() > bits:
    raise MessageError(f'combine: sums of {clients} clients do not fit into {bits} bits')
  rows = [leaf.reshape(clients, -1).astype(np.uint64) for leaf in terms]
  return np.concatenate(rows, axis=1).sum(axis=0, dtype=np.uint64)
