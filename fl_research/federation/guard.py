"""What stands between an experimenter's requests and a site's data.

The program that answers requests asks the guard before everything that it does, and tells it of
everything that it sends. The guard decides by the owner's policy and by what the owner has
approved, pays for privacy, and writes the log. It knows neither the network nor TensorFlow, which
`check_graph` alone imports.

    guard = Guard(folder, policy.read(path))
    answer = guard.propose(proposal, signature)          'approved', 'waiting' or 'denied'
    guard.check_graph(run_id, library)                   once for every graph, before it runs
    guard.received(run_id, kind, round_num, message)     every request
    guard.admit(run_id, kind, round_num, clients, rows)  before the data are touched
    guard.leaves(run_id, kind, round_num, message)       before the reply is sent

Whatever is not let through raises `Refused`, and is in the log. Several processes may have a guard
of the same folder: what one of them approves or withdraws the others see with their next call.
"""

import dataclasses
import pathlib
from typing import Optional

from fl_research.federation.policy import Policy
from fl_research.federation.proposal import Proposal

APPROVED, WAITING, DENIED = 'approved', 'waiting', 'denied'


@dataclasses.dataclass(frozen=True)
class Answer:
  """What becomes of a proposal.

  Attributes:
    status: `APPROVED`, `WAITING` (for a person at the site) or `DENIED`.
    reasons: sentences in plain words.
  """

  status: str
  reasons: tuple[str, ...] = ()


class Guard:
  """The owner's rules at work on one folder.

  Args:
    folder: holds `requests/`, `budget.json` and `audit.log`; made when it is not there.
    policy: the owner's rules.

  Raises:
    UsageError: the folder's log, budget or requests cannot be read, or the log is broken.
  """

  def __init__(self, folder: pathlib.Path, policy: Policy):
    self.folder, self.policy = folder, policy

  def propose(self, proposal: Proposal, signature: bytes = b'') -> Answer:
    """Takes a request, or says what became of it when it was made before.

    Args:
      proposal: what is asked for; its run id is what all later calls name it by.
      signature: Ed25519, of `proposal.canonical()` by the key that the proposal names; empty
        when it names none.

    Raises:
      Refused: the signature is not of this proposal by this key.
    """
    raise NotImplementedError

  def withdraw(self, run_id: str) -> None:
    """The experimenter wants no more of it: the run admits nothing from now on."""
    raise NotImplementedError

  def check_graph(self, run_id: str, library: bytes) -> None:
    """Checks a serialised `FunctionDefLibrary` before it is run.

    Raises:
      Refused: the run is not approved; the library is not one of those it names by SHA-256; or it
        has an operation that is not allowed (`graph_check`).
    """
    raise NotImplementedError

  def admit(
    self,
    run_id: str,
    kind: str,
    round_num: int,
    clients: Optional[int] = None,
    rows: Optional[int] = None,
  ) -> None:
    """Whether something may be computed from the data, and leave; pays for it.

    What is paid for a round is paid once, however often the round is asked for.

    Args:
      run_id: of the proposal.
      kind: one of `proposal.KINDS`.
      round_num: 1 … total_rounds; 0 for what is before the first round (statistics of columns, the
        untrained model's evaluation).
      clients: how many clients are behind what would leave.
      rows: how many rows are; both are needed where the policy sets a minimum.

    Raises:
      Refused: the run is not approved, the kind is none that may leave, the round is beyond the
        run's, too few are behind it, or the privacy budget does not suffice.
    """
    raise NotImplementedError

  def leaves(self, run_id: str, kind: str, round_num: int, message: bytes) -> None:
    """Writes to the log what is about to leave; when it returns, the line is on the disk.

    Raises:
      Refused: this kind and round were not admitted.
    """
    raise NotImplementedError

  def received(self, run_id: str, kind: str, round_num: int, message: bytes) -> None:
    """Writes to the log what has come in."""
    raise NotImplementedError
