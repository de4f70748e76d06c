"""Which chains of compressors are sound.

What makes one sound:

-   structured updates (low_rank, random_mask) say what is trained, so one of them at most, and
    first. Konečný et al. 2016 combine them with sketches as well;
-   quantize, qsgd and drive turn numbers into bits, so nothing can follow them;
-   one rotation is as good as two, and drive has its own;
-   error feedback (top_k) needs a chain in which every stage contracts (see
    `compression.StageEntry`): a sketch that scales up what it keeps makes the error grow.
"""

from collections.abc import Mapping
from typing import Any

from fl_research import algorithms
from fl_research.aggregation import compression
from fl_research.aggregation.compression.chain import Stages
from fl_research.registry import UsageError


def check(text: str, stages: Stages) -> None:
  """Refuses a chain that is not sound.

  Args:
    text: the value of `--compressor`, for the message.
    stages: what it says.

  Raises:
    UsageError: a stage cannot stand where it does, or with another.
  """
  _check_order(text, stages)
  _check_feedback(text, stages)


def check_method(text: str, stages: Stages, algorithm: str) -> None:
  """Refuses stages that restrict training with a method that sends more than what it trained.

  Args:
    text: the value of `--compressor`, for the message.
    stages: what it says.
    algorithm: the method's name.

  Raises:
    UsageError: the method's update would not lie in what such a stage can send.
  """
  reason = algorithms.entry(algorithm).not_structured
  for name in stages:
    if reason and compression.COMPRESSORS[name].kind == compression.STRUCTURED:
      raise UsageError(
        f'--compressor={text}: {name} restricts training to what it can send, not with '
        f'--algorithm={algorithm}, which {reason}'
      )


def _check_order(text: str, stages: Stages) -> None:
  order = list(stages)
  entries = [compression.COMPRESSORS[name] for name in order]
  for i, (name, entry) in enumerate(zip(order, entries)):
    if entry.kind == compression.STRUCTURED and i > 0:
      raise UsageError(
        f'--compressor={text}: {name} says what is trained, so only one such stage, and first'
      )
    if entry.kind == compression.CODE and i < len(order) - 1:
      raise UsageError(
        f'--compressor={text}: {name} turns numbers into bits, so {order[i + 1]} cannot follow it'
      )
  rotating = [name for name, entry in zip(order, entries) if entry.rotates]
  if len(rotating) > 1:
    raise UsageError(
      f'--compressor={text}: {rotating[1]} rotates by itself, leave {rotating[0]} out'
    )


def _check_feedback(text: str, stages: Stages) -> None:
  feeding = [name for name in stages if compression.COMPRESSORS[name].feeds_back]
  if not feeding:
    return
  for name, values in stages.items():
    if not compression.COMPRESSORS[name].contracts(values):
      raise UsageError(
        f'--compressor={text}: {feeding[0]} feeds its error back, which {name} would make grow; '
        'quantize with at least 8 bits is accepted'
      )


def check_returning(
  stages: Mapping[str, Any], total_rounds: int, clients_per_round: int, num_clients: int
) -> None:
  """Refuses error feedback in a run whose clients would take part once.

  What a client remembers is only ever sent when it comes back. With R rounds of m clients out of n
  a client takes part R m / n times on average; error feedback is refused unless that is more than
  once, for then at least one memory cannot be fresh.

  Raises:
    UsageError: R m ≤ n in a chain with error feedback.
  """
  remembers = any(compression.COMPRESSORS[name].feeds_back for name in stages)
  if remembers and total_rounds * clients_per_round <= num_clients:
    raise UsageError(
      f'--compressor={",".join(stages)}: error feedback needs clients that come back, but '
      f'{total_rounds} rounds of {clients_per_round} out of {num_clients} clients may all be fresh'
    )
