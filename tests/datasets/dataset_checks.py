"""What tests of data sets share: where published files are, and what every error must look like."""

import contextlib
import os
import pathlib

import numpy as np
import pytest

from fl_research.datasets.federated_data import Clients, DatasetOptions, FederatedData
from fl_research.registry import UsageError

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOWHERE = 'http://127.0.0.1:9/'
"""An address that refuses connections at once, in place of the real ones."""


def published(folder: str, file_name: str, **options) -> DatasetOptions:
  """Options to load the published files with; skips the test where they are not on this machine."""
  places = [os.environ.get('FL_RESEARCH_DATA_DIR'), str(ROOT.parent / 'shared' / 'data')]
  for place in filter(None, places):
    if (pathlib.Path(place) / folder / file_name).is_file():
      return DatasetOptions(data_dir=place, **options)
  pytest.skip(f'{folder}/{file_name} is in none of $FL_RESEARCH_DATA_DIR, ../shared/data')


@contextlib.contextmanager
def one_line_error(*parts: str):
  """Asserts that the block raises a `UsageError` of one line that contains all the parts."""
  with pytest.raises(UsageError) as caught:
    yield
  message = str(caught.value)
  assert len(message.splitlines()) == 1, message
  for part in parts:
    assert part in message, message


def assert_form(data: FederatedData, x_shape, x_type, y_shape, y_type) -> None:
  """Asserts types, shapes, row counts and that the central test set is the test clients' union."""
  for clients in (data.train, data.test_clients):
    assert isinstance(clients, Clients)
    assert len(clients.ids) == len(set(clients.ids)) == len(clients.sizes) == len(clients)
    assert clients.sizes.min() >= 1
    for position in (0, len(clients) - 1):
      examples = clients.examples(position)
      assert examples['x'].shape == (clients.sizes[position], *x_shape)
      assert examples['y'].shape == (clients.sizes[position], *y_shape)
      assert (examples['x'].dtype, examples['y'].dtype) == (x_type, y_type)
      assert np.isfinite(examples['x']).all() and np.isfinite(examples['y']).all()
  for key in ('x', 'y'):
    parts = [data.test_clients.examples(k)[key] for k in range(len(data.test_clients))]
    np.testing.assert_array_equal(data.test[key], np.concatenate(parts))
