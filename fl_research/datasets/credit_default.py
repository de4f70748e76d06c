"""Default of credit card clients (Taiwan): will a client fail to pay next month?

Yeh and Lien, "The comparisons of data mining techniques for the predictive accuracy of probability
of default of credit card clients" (Expert Systems with Applications, 2009; UCI data set 350), in
the CSV form in which it is published for contests: 30,000 people, 6,636 of whom defaulted. Nobody
in it belongs to a bank or a region, so there is no natural client: the data are pooled and a
partitioner deals them out.

Label: 1 = default. Features, float32 [33]: limit, age, six months of repayment status, bills and
payments (20 columns, standardised), then one position per code of sex (2), education (7) and
marriage (4), undocumented codes included.

Split: a fifth of the rows, stratified by label and drawn from the seed, is the test set; means and
deviations are those of the training rows.
"""

import numpy as np
import pandas as pd

from fl_research import random_streams
from fl_research.datasets import files
from fl_research.datasets.features import encode_table
from fl_research.datasets.federated_data import DatasetOptions, PooledData, Problem
from fl_research.datasets.splits import held_out_rows
from fl_research.registry import UsageError

_FOLDER = 'credit_default'
_PLAIN, _PACKED = 'UCI_Credit_Card.csv', 'UCI_Credit_Card.csv.gz'
_URL = (
  'https://raw.githubusercontent.com/rakibRME/ML-Data-Sets/'
  'cb0ff4bb473f6e73b0f3349dfeec7abb58d5ce44/UCI_Credit_Card.csv'
)
_SHA256 = {
  _PLAIN: '5c69a6b4e167dac42c4b22665330404fe49928a198de44d2d061b800cb65f9b1',
  _PACKED: '87d4a416b0e2eae940b57aab8c7c6975cedf382fae91bb6504aa6647b1a95d27',
}
_CATEGORIES = {'SEX': [1, 2], 'EDUCATION': [0, 1, 2, 3, 4, 5, 6], 'MARRIAGE': [0, 1, 2, 3]}
_NUMERIC = [
  'LIMIT_BAL',
  'AGE',
  *(f'PAY_{month}' for month in (0, 2, 3, 4, 5, 6)),
  *(f'BILL_AMT{month}' for month in range(1, 7)),
  *(f'PAY_AMT{month}' for month in range(1, 7)),
]
_LABEL = 'default.payment.next.month'


def load(options: DatasetOptions) -> PooledData:
  """Reads the table; reads `options.data_dir` and `options.seed`.

  Raises:
    UsageError: the file is missing, damaged, or not in the published format.
  """
  # The packed copy is used where there is one; only the plain file can be downloaded.
  name = _PACKED if files.find(options.data_dir, _FOLDER, _PACKED) else _PLAIN
  path = files.fetch(options.data_dir, _FOLDER, name, _URL, _SHA256[name])
  table = _read(path)
  y = (table[_LABEL].to_numpy() > 0).astype(np.int32)
  test_rows = held_out_rows(y, random_streams.generator(options.seed, 'credit_default split'))
  x = encode_table(table, ~test_rows, _NUMERIC, _CATEGORIES)
  return PooledData(
    train={'x': x[~test_rows], 'y': y[~test_rows]},
    test={'x': x[test_rows], 'y': y[test_rows]},
    problem=Problem.BINARY,
    num_classes=2,
    sources={name: files.sha256_of(path)},
  )


def _read(path) -> pd.DataFrame:
  wanted = [*_NUMERIC, *_CATEGORIES, _LABEL]
  with files.reading(path):
    try:
      return pd.read_csv(path, usecols=wanted, dtype=np.float64)[wanted]
    except ValueError as error:
      raise UsageError(f'{path}: not the published table ({files.one_line(error)})') from error
