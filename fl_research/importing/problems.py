"""What is to be predicted, by the labels of a file that does not say so itself."""

import dataclasses

import numpy as np

from fl_research.datasets.federated_data import Problem
from fl_research.registry import UsageError

_WORDS = {
  Problem.CLASSIFICATION: '{} classes',
  Problem.BINARY: 'yes or no',
  Problem.MULTILABEL: '{} tags, each there or not',
  Problem.NEXT_TOKEN: 'the next of {} tokens at each place',
  Problem.REGRESSION: 'a number',
  Problem.RECONSTRUCTION: 'the example itself',
}


@dataclasses.dataclass(frozen=True)
class Kind:
  """A problem, the number of its classes, and the type of its labels."""

  problem: Problem
  num_classes: int

  @property
  def dtype(self) -> np.dtype:
    whole = (Problem.CLASSIFICATION, Problem.BINARY, Problem.NEXT_TOKEN)
    return np.dtype(np.int32 if self.problem in whole else np.float32)


def described(problem: Problem, num_classes: int) -> str:
  """A problem in a few words."""
  return _WORDS[problem].format(num_classes)


def kind(y: np.ndarray, x: np.ndarray, where: str) -> Kind:
  """The problem of all labels together, by the rule of `datasets.npz`.

  Args:
    y: all labels.
    x: examples: their type and shape matter.
    where: begins the message when nothing can be predicted.

  Raises:
    UsageError: all labels are the same, negative, or of no problem.
  """
  low, high = y.min().item(), y.max().item()
  if low == high:
    raise UsageError(f'{where}: every label is {low:g}; nothing to learn')
  whole = y.dtype.kind != 'f'
  if whole and not 0 <= low <= high < 2**31:
    raise UsageError(
      f'{where}: y holds the label {low if low < 0 else high}; classes are 0, 1, 2, …'
    )
  if y.ndim == 1 and not whole:
    return Kind(Problem.REGRESSION, 1)
  if y.ndim == 1:
    return Kind(Problem.BINARY, 2) if high <= 1 else Kind(Problem.CLASSIFICATION, int(high) + 1)
  if y.ndim == 2 and whole and x.dtype.kind in 'iu' and x.shape[1:] == y.shape[1:]:
    return Kind(Problem.NEXT_TOKEN, int(high) + 1)
  if y.ndim == 2 and low >= 0 and high <= 1:
    return Kind(Problem.MULTILABEL, y.shape[1])
  if y.ndim == 2 and not whole:
    return Kind(Problem.REGRESSION, 1)
  raise UsageError(
    f'{where}: y is {y.dtype} [n, {", ".join(map(str, y.shape[1:]))}] from {low:g} to {high:g}: '
    'neither labels, tokens, a number nor 0/1 tags'
  )
