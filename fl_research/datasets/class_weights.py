"""What an example counts in training by its class, so that rare classes weigh as much as others."""

import numpy as np

from fl_research.datasets.federated_data import Clients, Problem
from fl_research.datasets.label_counts import label_counts

WEIGHTED = frozenset((Problem.CLASSIFICATION, Problem.BINARY, Problem.MULTILABEL))
"""Problems whose examples have classes or tags."""


def balanced(clients: Clients, problem: Problem, num_classes: int) -> np.ndarray:
  """n / (k n_c) for the class c of n_c among n examples of k classes, as scikit-learn has it.

  Its mean over the examples is 1. In a federation n_c is a sum over the clients. A tag is a problem
  of two classes, without it and with it; k counts only classes that occur.

  Args:
    clients: the training clients, all of which are read.
    problem: one of `WEIGHTED`.
    num_classes: number of classes or tags.

  Returns:
    float32 [classes], of binary problems [2], of tags [tags, 2]; 1 for a class without examples.
  """
  counts = np.asarray(label_counts(clients, problem).sum(axis=0)).ravel()
  size = 2 if problem is Problem.BINARY else num_classes
  counts = np.pad(counts, (0, size - len(counts)))
  if problem is Problem.MULTILABEL:
    counts = np.stack([clients.sizes.sum() - counts, counts], axis=1)
  occurring = np.count_nonzero(counts, axis=-1, keepdims=True)
  total = counts.sum(axis=-1, keepdims=True)
  weights = total / np.maximum(occurring * counts, 1)
  return np.where(counts > 0, weights, 1.0).astype(np.float32)
