"""Where tests find the published files of data sets, and how they skip without them."""

import os
import pathlib

import pytest

_PROJECT = pathlib.Path(__file__).parents[2]


def data_dir() -> str:
  """`$FL_RESEARCH_DATA_DIR`, or `../shared/data` beside the project."""
  return os.environ.get('FL_RESEARCH_DATA_DIR') or str(_PROJECT.parent / 'shared' / 'data')


def require(relative: str) -> str:
  """The data directory, if it has this file; otherwise the test is skipped."""
  if not (pathlib.Path(data_dir()) / relative).exists():
    pytest.skip(f'{relative} is not in the data directory {data_dir()}')
  return data_dir()
