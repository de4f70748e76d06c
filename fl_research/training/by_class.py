"""What a model answers to test examples, class by class: found, and mistaken for what.

Where few examples are of a class, accuracy says nothing about it: of 0.5 % frauds a model that
never answers "fraud" has an accuracy of 0.995. Of tags each is a yes or no of its own; of several
numbers each is measured in its own unit.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Optional

import numpy as np
import pandas as pd
import scipy.special

from fl_research.datasets.federated_data import Problem

PROBLEMS = frozenset((Problem.CLASSIFICATION, Problem.BINARY, Problem.MULTILABEL))
"""Whose answers are classes or tags."""


@dataclasses.dataclass(frozen=True)
class ByClass:
  """Answers by class or tag.

  Attributes:
    kind: `class` or `tag`.
    table: a row for each: its name (`class` or `tag`), `num_examples` that are of it, how many were
      `answered` so, how many of these were right (`found`), `recall` (found / num_examples),
      `precision` (found / answered), and `auprc`, the average precision of ranking all examples by
      its probability; of tags also `accuracy` and `auc`. NaN where it is not defined.
    confusion: of classes the number of examples by class (rows) and answer (columns); of tags, by
      tag, the four counts of its yes and no.
    accuracy: the share of right answers; of tags, of single decisions.
  """

  kind: str
  table: pd.DataFrame
  confusion: pd.DataFrame
  accuracy: float

  @property
  def names(self) -> list[str]:
    """What the classes or tags are called."""
    return self.table[self.kind].tolist()

  def never_found(self) -> pd.DataFrame:
    """The rows that have examples of which none was found."""
    return self.table[(self.table['num_examples'] > 0) & (self.table['found'] == 0)]


def by_class(
  problem: Problem, outputs: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> ByClass:
  """Measures the answers to at least one example.

  Args:
    problem: one of `PROBLEMS`.
    outputs: the model's raw outputs, float [n, classes or tags], of binary problems [n, 1].
    labels: the n labels.
    names: what the classes or tags are called, one each.
  """
  # Imported at the end of a run, not at its start: it takes a second.
  from sklearn import metrics as sklearn_metrics

  outputs, scores = _outputs_and_scores(problem, outputs)
  if problem is Problem.MULTILABEL:
    truth, answers = labels > 0.5, outputs > 0
    counts = sklearn_metrics.multilabel_confusion_matrix(truth, answers)
    columns = ['true_negatives', 'false_positives', 'false_negatives', 'true_positives']
    confusion = pd.DataFrame(counts.reshape(-1, 4), names, columns)
  else:
    numbers = np.arange(len(names))
    answer = np.argmax(np.nan_to_num(outputs, nan=-np.inf), axis=1)
    truth, answers = labels[:, None] == numbers, answer[:, None] == numbers
    matrix = sklearn_metrics.confusion_matrix(labels, answer, labels=numbers)
    confusion = pd.DataFrame(matrix, names, names)
  kind = 'tag' if problem is Problem.MULTILABEL else 'class'
  found = np.sum(truth & answers, axis=0)
  table = pd.DataFrame({kind: names, 'num_examples': truth.sum(axis=0)})
  table['answered'], table['found'] = answers.sum(axis=0), found
  table['recall'] = found / table['num_examples'].where(table['num_examples'] > 0)
  table['precision'] = found / table['answered'].where(table['answered'] > 0)
  table['auprc'] = _ranked(sklearn_metrics.average_precision_score, truth, scores)
  if problem is Problem.MULTILABEL:
    table['accuracy'] = np.mean(truth == answers, axis=0)
    table['auc'] = _ranked(sklearn_metrics.roc_auc_score, truth, scores)
    return ByClass(kind, table, confusion, float(np.mean(truth == answers)))
  return ByClass(kind, table, confusion, float(np.sum(found) / len(labels)))


def _outputs_and_scores(problem: Problem, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """What decides, and what ranks the examples of each class: both [n, classes]."""
  outputs = np.asarray(outputs, np.float64)
  if problem is Problem.BINARY:
    # Class 1 is answered above 0, as `accuracy` has it.
    outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)
    return outputs, outputs[:, 1:] * np.array([-1.0, 1.0])
  if problem is Problem.CLASSIFICATION:
    with np.errstate(invalid='ignore'):  # Outputs may be infinite.
      return outputs, scipy.special.softmax(outputs, axis=1)
  return outputs, outputs


def _ranked(measure: Callable[..., float], truth: np.ndarray, scores: np.ndarray) -> list[float]:
  """A measure of each column's ranking; NaN where all or none are of it, or a score is infinite."""
  defined = truth.any(axis=0) & ~truth.all(axis=0) & np.isfinite(scores).all(axis=0)
  return [
    float(measure(truth[:, k], scores[:, k])) if defined[k] else np.nan
    for k in range(truth.shape[1])
  ]


def complaint(found: ByClass, is_weighted: bool = False) -> str:
  """The line about classes of which nothing was found; empty where something was of each.

  Args:
    found: what was found.
    is_weighted: whether training weighted the classes already.
  """
  missed, table = found.never_found(), found.table
  if missed.empty:
    return ''
  shown = [f'{name} ({count})' for name, count in zip(missed[found.kind], missed['num_examples'])]
  if len(missed) == 1:
    line = f'{found.kind} {missed[found.kind].iloc[0]}: 0 of {missed["num_examples"].iloc[0]} found'
  else:
    kinds = 'classes' if found.kind == 'class' else 'tags'
    more = ', …' if len(shown) > _SHOWN else ''
    line = (
      f'of {len(shown)} of {len(table)} {kinds} none found: {", ".join(shown[:_SHOWN])}{more} '
      'examples'
    )
  answered = table[table['answered'] > 0]
  if found.kind == 'class' and len(answered) == 1:
    only = answered['class'].iloc[0]
    line += f'; accuracy {found.accuracy:.4f} is that of always answering {only}'
  rare = missed['num_examples'].max() < table['num_examples'].sum() / (2 * len(table))
  if not is_weighted and (rare or found.kind == 'tag'):
    line += '; --class_weighting=balanced lets rare ones count more in training'
  return line


_SHOWN = 3


def figures(found: ByClass) -> dict[str, str]:
  """Lines of a summary: recall of every class, or of those with the lowest where there are many."""
  known = found.table[found.table['num_examples'] > 0]
  if len(known) <= _FEW:
    return {
      f'recall of {row[found.kind]}': f'{row["recall"]:.4f} of {row["num_examples"]:,}, '
      f'AUPRC {row["auprc"]:.4f}'
      for _, row in known.iterrows()
    }
  lowest = known.nsmallest(_SHOWN, 'recall', keep='first')
  words = [f'{row[found.kind]}: {row["recall"]:.4f}' for _, row in lowest.iterrows()]
  return {
    'mean recall': f'{known["recall"].mean():.4f} of {len(known)} {found.kind}'
    + ('es' if found.kind == 'class' else 's'),
    'lowest recalls': ', '.join(words),
  }


_FEW = 5
MOST_NUMBERS = 6
"""So many of several numbers are shown in a summary."""


def by_number(outputs: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
  """A row for each of several numbers: `number`, `num_examples`, `rmse`, `mae`, `r2`.

  Args:
    outputs: float [n, k], in the numbers' own units.
    labels: [n, k], n at least 1.
    names: what the numbers are called.
  """
  truth = np.asarray(labels, np.float64)
  errors = np.asarray(outputs, np.float64) - truth
  squares, spread = np.mean(np.square(errors), axis=0), np.var(truth, axis=0)
  return pd.DataFrame(
    {
      'number': names,
      'num_examples': len(truth),
      'rmse': np.sqrt(squares),
      'mae': np.mean(np.abs(errors), axis=0),
      'r2': 1 - squares / np.where(spread > 0, spread, np.nan),
    }
  )


def names_of(given: Sequence[str], count: int) -> list[str]:
  """Names of so many classes, tags or numbers; their positions where they have none."""
  return [str(name) for name in given] if len(given) == count else [str(k) for k in range(count)]


def confused_names(found: ByClass) -> Optional[list[str]]:
  """The classes of a confusion matrix that can be drawn; None where there are none, or too many."""
  return found.names if found.kind == 'class' and len(found.names) <= _DRAWN else None


_DRAWN = 30
