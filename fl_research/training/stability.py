"""Whether training still makes sense, in lines for people and as a reason to end.

A client whose update is infinite or NaN is dropped. That saves a round in which one client failed;
a round in which all did has taught the model nothing, and after three in a row the run has
diverged: the model is as good as the last round with a finite update left it.
"""

from collections.abc import Sequence
import math
from typing import Optional

from fl_research.settings import Settings

DIVERGED = 'diverged'
LOST_ROUNDS = 3
"""After so many rounds in a row without a finite update a run has diverged."""

GROWTH = 1000.0
"""A loss that has grown by more than this factor over round 0's deserves a line."""


def lost_rounds(before: int, finite: Sequence[bool]) -> int:
  """How many rounds in a row, up to this one, had no finite update.

  Args:
    before: how many before this one.
    finite: for each client that sent an update, whether it was finite. A round to which nobody
      sent one neither continues such a row nor ends it.
  """
  if not len(finite):
    return before
  return 0 if any(finite) else before + 1


def reason_to_end(lost: int, round_num: int) -> str:
  """Why a run ends after `round_num`, with so many lost rounds in a row; empty to go on."""
  if lost < LOST_ROUNDS:
    return ''
  return f'{DIVERGED}: no client sent a finite update since round {round_num - lost + 1}'


def complaint_of_updates(round_num: int, count: int, settings: Settings) -> str:
  """The line about a round in which none of `count` updates was finite."""
  every = 'the only update' if count == 1 else f'each of the {count} updates'
  return (
    f'round {round_num}: {every} was infinite or NaN, so that the model stays as it was; likely '
    f'--client_learning_rate={settings.client_learning_rate:g} is too high, or the label or the '
    f'inputs are not scaled; after {LOST_ROUNDS} such rounds in a row the run ends'
  )


def complaint_of_loss(
  round_num: int, loss: Optional[float], first: Optional[float], settings: Settings
) -> str:
  """The line about a loss that is out of all proportion to round 0's; empty where it is not.

  Args:
    round_num: the round.
    loss: its evaluation's loss; None where it has none.
    first: that of round 0; None where it is not known.
    settings: the run's settings.
  """
  if loss is None or first is None or not math.isfinite(first):
    return ''
  if math.isfinite(loss) and loss <= GROWTH * abs(first):
    return ''
  return (
    f'round {round_num}: the loss is {loss:.3g}, where round 0 had {first:.3g}; likely '
    f'--client_learning_rate={settings.client_learning_rate:g} or '
    f'--server_learning_rate={settings.server_rate:g} is too high'
  )
