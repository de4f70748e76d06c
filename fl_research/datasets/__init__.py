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

_PACKAGE = 'fl_research.datasets'

# Name of the data set -> module, and the function in it, that loads it.
_LOADERS = {
  'digits': ('digits', 'load'),
  'synthetic': ('synthetic', 'load'),
  'synthetic_iid': ('synthetic', 'load_iid'),
  'leaf_synthetic': ('leaf_synthetic', 'load'),
  'mnist': ('mnist', 'load'),
  'fashion_mnist': ('fashion_mnist', 'load'),
  'cifar10': ('cifar10', 'load'),
  'cifar100': ('cifar100', 'load'),
  'emnist': ('emnist', 'load'),
  'stackoverflow': ('stackoverflow', 'load'),
  'celeba': ('celeba', 'load'),
  'tff_shakespeare': ('tff_shakespeare', 'load'),
  'tff_cifar100': ('tff_cifar100', 'load'),
  'shakespeare': ('shakespeare', 'load'),
  'uci_har': ('uci_har', 'load'),
  'heart_disease': ('heart_disease', 'load'),
  'credit_default': ('credit_default', 'load'),
  'movielens': ('movielens', 'load'),
  'spoken_digits': ('spoken_digits', 'load'),
  'omniglot': ('omniglot', 'load'),
  'tabular': ('tabular', 'load'),
  'npz': ('npz', 'load'),
}

NAMES = tuple(sorted(_LOADERS))
"""Names that `load` knows."""


def load(name: str, options: DatasetOptions) -> Union[PooledData, FederatedData]:
  """Loads a data set by name.

  Raises:
    DataError: there is no such data set, or its files are missing or damaged.
  """
  if name not in _LOADERS:
    near = difflib.get_close_matches(name, NAMES, n=1)
    hint = f' (did you mean {near[0]}?)' if near else ''
    raise DataError(f'unknown data set {name!r}{hint}; valid: {", ".join(NAMES)}')
  module, function = _LOADERS[name]
  return getattr(importlib.import_module(f'{_PACKAGE}.{module}'), function)(options)
