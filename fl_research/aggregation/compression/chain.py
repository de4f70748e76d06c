"""From `--compressor=subsample:0.1,rotation,quantize:2` to a checked chain of stages.

A chain is a list of stages with commas between them, in the order in which a client applies them;
the server undoes them from the last to the first. A stage is the name of a compressor, followed, if
wanted, by a colon and its first hyperparameter; hyperparameters can be given as flags
`--<name>_<hyperparameter>` instead.

What makes a chain sound:

-   structured updates (low_rank, random_mask) say what is trained, so one of them at most, and
    first. Konečný et al. 2016 combine them with sketches as well;
-   quantize, qsgd and drive turn numbers into bits, so nothing can follow them;
-   one rotation is as good as two, and drive has its own;
-   error feedback (top_k) needs a chain in which every stage contracts (see
    `compression.StageEntry`): a sketch that scales up what it keeps makes the error grow.

Nothing here imports TensorFlow.
"""

from collections.abc import Mapping
from typing import Any

from fl_research import registry
from fl_research.aggregation import compression
from fl_research.registry import UsageError

Stages = dict[str, dict[str, Any]]
"""All hyperparameters of each stage, by its name, in the chain's order."""


def names(text: str) -> list[str]:
  """The names of a chain's stages, unchecked."""
  return [part.partition(':')[0].strip() for part in text.split(',')] if text else []


def parse(text: str, given: Mapping[str, Mapping[str, Any]]) -> Stages:
  """The stages of a chain, with all their hyperparameters.

  Args:
    text: the value of `--compressor`.
    given: hyperparameters that were set by flags of their own, by stage and name.

  Raises:
    UsageError: the text does not follow the grammar, a value is outside its domain, or the chain
      is not sound.
  """
  stages: Stages = {}
  for part in text.split(',') if text else []:
    name, colon, value = (piece.strip() for piece in part.partition(':'))
    entry = registry.lookup('compressor', name, compression.COMPRESSORS)
    if name in stages:
      raise UsageError(f'--compressor={text}: {name} stands in it twice')
    values = dict(given.get(name, {}))
    if colon:
      key, number = _positional(text, name, value, entry)
      if key in values:
        raise UsageError(f'--compressor={text}: {key} of {name} is also set by --{name}_{key}')
      values[key] = number
    stages[name] = entry.settings(name, values)
  _check_order(text, stages)
  _check_feedback(text, stages)
  return stages


def _positional(text: str, name: str, value: str, entry: registry.Entry) -> tuple[str, Any]:
  """A stage's first hyperparameter from the text after its colon."""
  if not entry.hyperparameters:
    raise UsageError(f'--compressor={text}: {name} has no hyperparameter, write it without a colon')
  key, hyperparameter = next(iter(entry.hyperparameters.items()))
  try:
    number = type(hyperparameter.default)(value)
  except ValueError as error:
    raise UsageError(
      f'--compressor={text}: {key} of {name} is {hyperparameter.domain}, not {value or "nothing"}'
    ) from error
  return key, number


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
