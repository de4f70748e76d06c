"""Adult census: does somebody earn more than 50,000 dollars a year? Two clients, by doctorate.

Kohavi, "Scaling Up the Accuracy of Naive-Bayes Classifiers: a Decision-Tree Hybrid" (KDD, 1996; UCI
data set 2): 32,561 people to train on and 16,281 to test, of the US census of 1994. As in Mohri,
Sivek, Suresh 2019 ("Agnostic Federated Learning") and Li et al. 2020 ("Fair Resource Allocation in
Federated Learning"), one client, `phd`, has those with a doctorate (413 and 181), the other,
`non_phd`, everybody else: a domain that counts for little beside another.

Label: 1 = more than 50,000. Features, float32 [99]: one position per published value of the eight
categorical columns, the only ones that the two papers use; what is unknown (`?`) is all zeros. The
split is the published one, so nothing is drawn.
"""

import gzip
import io

import numpy as np
import pandas as pd

from fl_research.datasets import files
from fl_research.datasets.federated_data import DatasetOptions, FederatedData, Problem
from fl_research.datasets.splits import clients_by_owner
from fl_research.registry import UsageError

CLIENTS = ('phd', 'non_phd')
_FOLDER = 'adult'
_URL = 'https://archive.ics.uci.edu/ml/machine-learning-databases/adult/'
_MD5 = {
  'adult.data': '5d7c39d7b8804f071cdd1f2a7c460872',
  'adult.test': '35238206dfdf7f1fe215bbb874adecdc',
}
_SHA256 = {
  'adult.data': '5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d',
  'adult.test': 'a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05',
}
_COLUMNS = [
  *('age', 'workclass', 'fnlwgt', 'education', 'education_num', 'marital_status', 'occupation'),
  *('relationship', 'race', 'sex', 'capital_gain', 'capital_loss', 'hours_per_week'),
  *('native_country', 'income'),
]
_DOCTORATE = 'Doctorate'
_CATEGORIES = {
  column: values.split()
  for column, values in {
    'workclass': 'Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov '
    'Without-pay Never-worked',
    'education': 'Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th 7th-8th '
    '12th Masters 1st-4th 10th Doctorate 5th-6th Preschool',
    'marital_status': 'Married-civ-spouse Divorced Never-married Separated Widowed '
    'Married-spouse-absent Married-AF-spouse',
    'occupation': 'Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty '
    'Handlers-cleaners Machine-op-inspct Adm-clerical Farming-fishing Transport-moving '
    'Priv-house-serv Protective-serv Armed-Forces',
    'relationship': 'Wife Own-child Husband Not-in-family Other-relative Unmarried',
    'race': 'White Asian-Pac-Islander Amer-Indian-Eskimo Other Black',
    'sex': 'Female Male',
    'native_country': 'United-States Cambodia England Puerto-Rico Canada Germany '
    'Outlying-US(Guam-USVI-etc) India Japan Greece South China Cuba Iran Honduras Philippines '
    'Italy Poland Jamaica Vietnam Mexico Portugal Ireland France Dominican-Republic Laos Ecuador '
    'Taiwan Haiti Columbia Hungary Guatemala Nicaragua Scotland Thailand Yugoslavia El-Salvador '
    'Trinadad&Tobago Peru Hong Holand-Netherlands',
  }.items()
}


def load(options: DatasetOptions) -> FederatedData:
  """Reads the two files; reads `options.data_dir`.

  Raises:
    UsageError: a file is missing, damaged, or not in the published format.
  """
  paths = {name: _fetch(options, name) for name in _MD5}
  train, test = (_clients(_read(path)) for path in paths.values())
  return FederatedData(
    train=train,
    test=test.pooled(),
    problem=Problem.BINARY,
    num_classes=2,
    test_clients=test,
    sources={path.name: files.sha256_of(path) for path in paths.values()},
  )


def _fetch(options: DatasetOptions, name: str):
  # A packed copy is used where there is one; only the plain file can be downloaded.
  packed = f'{name}.gz'
  if files.find(options.data_dir, _FOLDER, packed):
    return files.fetch(options.data_dir, _FOLDER, packed, _URL + name, content_md5=_MD5[name])
  return files.fetch(options.data_dir, _FOLDER, name, _URL + name, _SHA256[name])


def _read(path) -> pd.DataFrame:
  """The people of a file, without its remark in the first line, or its last one, which is empty."""
  with files.reading(path):
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == '.gz' else content).decode()
  lines = [line for line in text.splitlines() if line.count(',') == len(_COLUMNS) - 1]
  if not lines:
    raise UsageError(f'{path}: no lines of {len(_COLUMNS)} values, which the published file has')
  table = io.StringIO('\n'.join(lines))
  return pd.read_csv(table, names=_COLUMNS, skipinitialspace=True, dtype=str, keep_default_na=False)


def _clients(table: pd.DataFrame):
  """Both clients with their people, in the order of the file."""
  positions = [
    table[column].to_numpy()[:, np.newaxis] == np.array(values)
    for column, values in _CATEGORIES.items()
  ]
  x = np.concatenate(positions, axis=1).astype(np.float32)
  y = table['income'].str.startswith('>50K').to_numpy().astype(np.int32)
  owner = (table['education'] != _DOCTORATE).to_numpy().astype(np.int64)
  return clients_by_owner({'x': x, 'y': y}, owner, CLIENTS)
