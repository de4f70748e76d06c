"""A model's raw outputs as what people ask it for: classes, probabilities, numbers in their units.

| problem | columns |
|---|---|
| classification, binary | `predicted`, the class, and `probability_<class>` of every class |
| multilabel | `predicted`, tags joined by a bar, and `probability_<tag>` of every tag |
| regression | `predicted`; of several numbers `predicted_<name>`, or by position |
| next token of text | `predicted` and `probability`, and the two next likeliest, `_2` and `_3` |
| next token of arrays, reconstruction | `predicted_<position>` |
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import scipy.special

from fl_research.datasets.federated_data import Problem
from fl_research.models.specification import ModelSpec
from fl_research.training import by_class

_PREDICTED = 'predicted'
_LIKELIEST = 3


def to_table(spec: ModelSpec, class_names: Sequence[str], outputs: np.ndarray) -> pd.DataFrame:
  """The answers, a row per example.

  Args:
    spec: what the model answers.
    class_names: names of its classes or tags; their numbers when empty.
    outputs: the raw outputs of `Model.predict_on_batch`, [n, …].
  """
  if spec.problem in (Problem.CLASSIFICATION, Problem.BINARY, Problem.MULTILABEL):
    shares = probabilities(spec.problem, outputs)
    names = by_class.names_of(class_names, shares.shape[1])
    chosen = pd.DataFrame(_chosen(spec.problem, shares, names))
    return chosen.join(pd.DataFrame(shares, columns=[f'probability_{name}' for name in names]))
  if spec.problem is Problem.NEXT_TOKEN:
    tokens = np.argmax(outputs.reshape(len(outputs), *spec.label_shape, -1), axis=-1)
    return _numbered(tokens, ())
  of_numbers = spec.label_scale.names if spec.label_scale else ()
  return _numbered(outputs.reshape(len(outputs), -1), of_numbers)


def next_tokens(names: Sequence[str], outputs: np.ndarray, places: np.ndarray) -> pd.DataFrame:
  """What follows each text: the likeliest tokens and their probabilities, a row each.

  Args:
    names: what stands for each number of a token.
    outputs: logits of every place, [n, …].
    places: int [n], the last place of each text.
  """
  own = outputs.reshape(len(outputs), -1, len(names))[np.arange(len(outputs)), places]
  shares = scipy.special.softmax(own, axis=1)
  order = np.argsort(-shares, axis=1, kind='stable')[:, :_LIKELIEST]
  found = {}
  for rank in range(order.shape[1]):
    after = f'_{rank + 1}' if rank else ''
    found[f'{_PREDICTED}{after}'] = [names[number] for number in order[:, rank]]
    found[f'probability{after}'] = shares[np.arange(len(order)), order[:, rank]]
  return pd.DataFrame(found)


def probabilities(problem: Problem, outputs: np.ndarray) -> np.ndarray:
  """The probability of every class or tag, float32 [n, k]; of binary problems of both classes."""
  if problem is Problem.CLASSIFICATION:
    return scipy.special.softmax(outputs, axis=1)
  shares = scipy.special.expit(outputs)
  return np.concatenate([1 - shares, shares], axis=1) if problem is Problem.BINARY else shares


def _chosen(problem: Problem, shares: np.ndarray, names: Sequence[str]) -> dict[str, list[str]]:
  if problem is Problem.MULTILABEL:
    there = shares > 0.5
    return {_PREDICTED: ['|'.join(n for n, yes in zip(names, row) if yes) for row in there]}
  return {_PREDICTED: [names[number] for number in np.argmax(shares, axis=1)]}


def _numbered(numbers: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
  """Columns of [n, k] by name or position."""
  count = numbers.shape[1]
  several = [f'{_PREDICTED}_{name}' for name in by_class.names_of(names, count)]
  return pd.DataFrame(numbers, columns=[_PREDICTED] if count == 1 else several)
