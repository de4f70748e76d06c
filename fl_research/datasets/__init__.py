"""Data sets by name, each imported only when it is asked for."""

import difflib
import importlib
from typing import Union

from fl_research.datasets.federated_data import (
  DatasetOptions,
  FederatedData,
  PooledData,
)
from fl_research.registry import UsageError

MODULES = {
  'celeba': 'fl_research.datasets.celeba',
  'cifar10': 'fl_research.datasets.cifar10',
  'cifar100': 'fl_research.datasets.cifar100',
  'credit_default': 'fl_research.datasets.credit_default',
  'digits': 'fl_research.datasets.digits',
  'emnist': 'fl_research.datasets.emnist',
  'fashion_mnist': 'fl_research.datasets.fashion_mnist',
  'feddyn_synthetic': 'fl_research.datasets.feddyn_synthetic',
  'heart_disease': 'fl_research.datasets.heart_disease',
  'leaf_synthetic': 'fl_research.datasets.leaf_synthetic',
  'mnist': 'fl_research.datasets.mnist',
  'movielens': 'fl_research.datasets.movielens',
  'npz': 'fl_research.datasets.npz',
  'omniglot': 'fl_research.datasets.omniglot',
  'shakespeare': 'fl_research.datasets.shakespeare',
  'spoken_digits': 'fl_research.datasets.spoken_digits',
  'stackoverflow': 'fl_research.datasets.stackoverflow',
  'stackoverflow_tags': 'fl_research.datasets.stackoverflow_tags',
  'synthetic': 'fl_research.datasets.synthetic',
  'synthetic_iid': 'fl_research.datasets.synthetic_iid',
  'tabular': 'fl_research.datasets.tabular',
  'tff_cifar100': 'fl_research.datasets.tff_cifar100',
  'tff_shakespeare': 'fl_research.datasets.tff_shakespeare',
  'uci_har': 'fl_research.datasets.uci_har',
}
"""The module of each data set by its name; the module's `load(options)` reads it."""

NAMES = tuple(MODULES)
"""Names that `load` knows."""


def load(name: str, options: DatasetOptions) -> Union[PooledData, FederatedData]:
  """Loads a data set by name.

  Raises:
    UsageError: there is no such data set, or its files are missing or damaged.
  """
  if name not in MODULES:
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f' (did you mean {near[0]}?)' if near else ''
    raise UsageError(f'unknown data set {name!r}{hint}; accepted are {", ".join(NAMES)}')
  return importlib.import_module(MODULES[name]).load(options)
