"""Data sets by name, each imported only when it is asked for."""

import difflib
import importlib
from typing import Union

from fl_research.datasets.federated_data import (
  DataError,
  DatasetOptions,
  FederatedData,
  PooledData,
)

MODULES = {
  name: f'fl_research.datasets.{name}'
  for name in (
    'celeba',
    'cifar10',
    'cifar100',
    'credit_default',
    'digits',
    'emnist',
    'fashion_mnist',
    'heart_disease',
    'leaf_synthetic',
    'mnist',
    'movielens',
    'npz',
    'omniglot',
    'shakespeare',
    'spoken_digits',
    'stackoverflow',
    'stackoverflow_tags',
    'synthetic',
    'synthetic_iid',
    'tabular',
    'tff_cifar100',
    'tff_shakespeare',
    'uci_har',
  )
}
"""The module of each data set by its name; the module's `load(options)` reads it."""

NAMES = tuple(MODULES)
"""Names that `load` knows."""


def load(name: str, options: DatasetOptions) -> Union[PooledData, FederatedData]:
  """Loads a data set by name.

  Raises:
    DataError: there is no such data set, or its files are missing or damaged.
  """
  if name not in MODULES:
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f' (did you mean {near[0]}?)' if near else ''
    raise DataError(f'unknown data set {name!r}{hint}; accepted are {", ".join(NAMES)}')
  return importlib.import_module(MODULES[name]).load(options)
