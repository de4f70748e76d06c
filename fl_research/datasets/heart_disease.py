"""UCI heart disease: does a patient have it? Four hospitals, four clients.

The processed files of Detrano et al., "International application of a new probability algorithm
for the diagnosis of coronary artery disease" (Am. J. Cardiology, 1989; UCI data set 45): 303
patients in Cleveland, 294 in Budapest, 123 in Zurich and Basel, 200 in Long Beach, each with 13
findings and a diagnosis 0..4. FLamby (Ogier du Terrail et al., 2022) uses the same four as centres,
but drops incomplete patients and columns; here all 920 are kept.

Label: 1 when the diagnosis is above 0. Features, float32 [25]: age (years), resting blood pressure
(mm Hg), cholesterol (mg/dl), highest heart rate, ST depression, number of coloured vessels, all
standardised; then one position per value of sex, chest pain, fasting sugar, resting ECG, exercise
angina, ST slope and thallium scan.

Missing is `?`, -9 or an empty field, and also a cholesterol or blood pressure of 0, which no living
patient has (all of Zurich's cholesterol, for one).

Split: a fifth of each hospital's patients, stratified by label and drawn from the seed, is its test
part. What is shared: medians, most frequent values, means and deviations are computed over the
training patients of the four hospitals together. No test patient enters them, so nothing of the
test set leaks into training; but in a real federation the hospitals would have to pool these few
numbers (by secure aggregation, say), and no such round is simulated or counted here.
"""

import numpy as np
import pandas as pd

from fl_research import random_streams
from fl_research.datasets import files
from fl_research.datasets.features import encode_table
from fl_research.datasets.federated_data import (
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.datasets.splits import clients_by_owner, held_out_rows
from fl_research.registry import UsageError

_FOLDER = 'heart_disease'
_URL = 'https://archive.ics.uci.edu/ml/machine-learning-databases/heart-disease/'
# Hungarian twice: UCI's own file, and a copy of the same patients with empty fields for `?`.
_SHA256 = {
  'cleveland': ('a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8',),
  'hungarian': (
    'd1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796',
    '1558931734ac6ffbf0e025fe87b259db92ed453adc86fb495a94764438325dc0',
  ),
  'switzerland': ('834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314',),
  'va': ('e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f',),
}
_COLUMNS = [
  *('age', 'sex', 'chest_pain', 'pressure', 'cholesterol', 'sugar', 'ecg', 'heart_rate'),
  *('angina', 'depression', 'slope', 'vessels', 'thallium', 'diagnosis'),
]
_NUMERIC = ['age', 'pressure', 'cholesterol', 'heart_rate', 'depression', 'vessels']
_CATEGORIES = {
  'sex': [0, 1],
  'chest_pain': [1, 2, 3, 4],
  'sugar': [0, 1],
  'ecg': [0, 1, 2],
  'angina': [0, 1],
  'slope': [1, 2, 3],
  'thallium': [3, 6, 7],
}
_ZERO_IS_MISSING = ('pressure', 'cholesterol')


def load(options: DatasetOptions) -> FederatedData:
  """Reads the four hospitals; reads `options.data_dir` and `options.seed`.

  Raises:
    UsageError: a file is missing, damaged, or not in the published format.
  """
  tables, sources = hospitals(options)
  table = pd.concat(tables.values(), ignore_index=True)
  owner = np.repeat(np.arange(len(tables)), [len(hospital) for hospital in tables.values()])
  y = (table['diagnosis'].to_numpy() > 0).astype(np.int32)
  test_rows = held_out_rows(
    2 * owner + y, random_streams.generator(options.seed, 'heart_disease split')
  )
  x = encode_table(table, ~test_rows, _NUMERIC, _CATEGORIES)
  ids = list(_SHA256)
  train, test = (
    clients_by_owner({'x': x[rows], 'y': y[rows]}, owner[rows], ids)
    for rows in (~test_rows, test_rows)
  )
  return FederatedData(
    train=train,
    test=test.pooled(),
    problem=Problem.BINARY,
    num_classes=2,
    test_clients=test,
    sources=sources,
  )


def hospitals(options: DatasetOptions) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
  """The patients of each hospital, missing values as NaN, and the files' checksums by name.

  Raises:
    UsageError: as `load`.
  """
  tables, sources = {}, {}
  for hospital, sha256 in _SHA256.items():
    name = f'processed.{hospital}.data'
    path = files.fetch(options.data_dir, _FOLDER, name, _URL + name, sha256)
    tables[hospital] = _read(path)
    sources[name] = files.sha256_of(path)
  return tables, sources


def _read(path) -> pd.DataFrame:
  """One hospital's patients, missing values as NaN."""
  with files.reading(path):
    try:
      table = pd.read_csv(path, header=None, na_values=['?', '-9', '-9.0'], dtype=np.float32)
    except ValueError as error:
      raise UsageError(f'{path}: not a table of numbers ({files.one_line(error)})') from error
  if table.shape[1] != len(_COLUMNS):
    raise UsageError(f'{path}: {table.shape[1]} columns, expected {len(_COLUMNS)}')
  table.columns = pd.Index(_COLUMNS)
  if table['diagnosis'].isna().any():
    raise UsageError(f'{path}: row {int(table["diagnosis"].isna().argmax()) + 1} has no diagnosis')
  impossible = {column: table[column].mask(table[column] == 0) for column in _ZERO_IS_MISSING}
  return table.assign(**impossible)
