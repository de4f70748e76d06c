"""The user's own tables as a task: `--task=tabular --data_file=…`.

A CSV or Parquet file, or a folder of them; `docs/own_data.md` tells what is found out and what
flags say. What was found is said in a few lines on standard error.
"""

from typing import Union

from fl_research.datasets.federated_data import DatasetOptions, FederatedData, PooledData
from fl_research.importing import memory
from fl_research.importing.table_source import TableSource
from fl_research.registry import UsageError


def load(options: DatasetOptions) -> Union[FederatedData, PooledData]:
  """Reads the tables `options.data_file`, by client where somebody says whose a row is.

  Raises:
    UsageError: a file, a column or a value cannot be used; one line that names it.
  """
  source = open_source(options)
  if source.pooled and (options.partition or 'natural') == 'natural':
    raise UsageError(
      f'--client_column is missing: it says which column of {options.data_file} tells whose a row '
      'is; or let --partition=iid --num_clients=10 deal the rows out'
    )
  return memory.read(source)


def open_source(options: DatasetOptions) -> TableSource:
  """The tables, opened: what is in them is known.

  Raises:
    UsageError: as `load`.
  """
  if not options.data_file:
    raise UsageError('--data_file is missing: a CSV or Parquet file, or a folder of them')
  return TableSource(options)
