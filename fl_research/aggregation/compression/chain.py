"""From `--compressor=subsample:0.1,rotation,quantize:2` to a chain of stages.

A chain is a list of stages with commas between them, in the order in which a client applies them;
the server undoes them from the last to the first. A stage is the name of a compressor, followed, if
wanted, by a colon and its first hyperparameter; hyperparameters can be given as flags
`--<name>_<hyperparameter>` instead.

Whether a chain is sound is for `fl_research.soundness.chains` to say. Nothing here imports
TensorFlow.
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
    UsageError: the text does not follow the grammar, or a value is outside its domain.
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
