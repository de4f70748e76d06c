"""UCI HAR: what is the wearer of a phone doing? 30 people, 30 clients.

Anguita et al., "A Public Domain Dataset for Human Activity Recognition Using Smartphones" (ESANN,
2013; UCI data set 240): 10,299 windows of 2.56 s at 50 Hz, overlapping by half, of six activities
(walking, upstairs, downstairs, sitting, standing, lying = 0..5).

An example is a window of raw signals: x float32 [128, 9], channels body acceleration x, y, z (in
g), angular velocity x, y, z (rad/s), total acceleration x, y, z (g), each standardised; y int32 [].
The 561 engineered features of the same archive are not used.

Split: UCI's own, by person. 21 people (7,352 windows) train; 9 other people (2,947 windows) are the
test clients, so evaluation is always on people never seen. Each channel's mean and deviation are
taken over the training people's windows, all together.
"""

import warnings
import zipfile

import numpy as np

from fl_research.datasets import files
from fl_research.datasets.features import standardise
from fl_research.datasets.federated_data import (
  DatasetOptions,
  FederatedData,
  Problem,
)
from fl_research.datasets.splits import clients_by_owner
from fl_research.registry import UsageError

_FOLDER, _FILE = 'uci_har', 'UCI HAR Dataset.zip'
_URL = 'https://archive.ics.uci.edu/ml/machine-learning-databases/00240/UCI%20HAR%20Dataset.zip'
# UCI's own archive, and one that holds the same raw signals without the engineered features.
_SHA256 = (
  '2045e435c955214b38145fb5fa00776c72814f01b203fec405152dac7d5bfeb0',
  'bddc37b51e258ed38ec6a12e1a3609c61c92cf4eaa01d936480fc3f271f75141',
)
_SIGNALS = [
  f'{signal}_{axis}' for signal in ('body_acc', 'body_gyro', 'total_acc') for axis in 'xyz'
]
_STEPS = 128
_CLASSES = 6


def load(options: DatasetOptions) -> FederatedData:
  """Reads the raw signals by person; reads `options.data_dir`.

  Raises:
    UsageError: the file is missing, damaged, or not in the published format.
  """
  path = files.fetch(options.data_dir, _FOLDER, _FILE, _URL, _SHA256)
  with files.reading(path), zipfile.ZipFile(path) as archive:
    parts = [_read_part(path, archive, part) for part in ('train', 'test')]
  x, y, subject = (np.concatenate(arrays) for arrays in zip(*parts))
  train_rows = np.arange(len(x)) < len(parts[0][0])
  x = standardise(x, train_rows, axes=(0, 1))
  ids = [f'subject_{number:02d}' for number in range(subject.max() + 1)]
  train, test = (
    clients_by_owner({'x': x[rows], 'y': y[rows]}, subject[rows], ids)
    for rows in (train_rows, ~train_rows)
  )
  return FederatedData(
    train=train,
    test=test.pooled(),
    problem=Problem.CLASSIFICATION,
    num_classes=_CLASSES,
    test_clients=test,
    sources={_FILE: files.sha256_of(path)},
  )


def _read_part(path, archive: zipfile.ZipFile, part: str):
  """Windows [n, 128, 9], activities [n] from 0, and people [n] of UCI's train or test half."""
  labels = _numbers(path, archive, f'{part}/y_{part}.txt').astype(np.int32) - 1
  subject = _numbers(path, archive, f'{part}/subject_{part}.txt').astype(np.int32)
  if len(subject) != len(labels):
    raise UsageError(f'{path}: {len(labels)} labels but {len(subject)} subjects in {part}')
  if not np.isin(labels, np.arange(_CLASSES)).all():
    raise UsageError(f'{path}: y_{part}.txt holds a label outside 1 to {_CLASSES}')
  windows = np.empty((len(labels), _STEPS, len(_SIGNALS)), np.float32)
  for channel, signal in enumerate(_SIGNALS):
    member = f'{part}/Inertial Signals/{signal}_{part}.txt'
    values = _numbers(path, archive, member)
    if len(values) != len(labels) * _STEPS:
      raise UsageError(
        f'{path}: {member} holds {len(values)} numbers, not {len(labels)} x {_STEPS}'
      )
    windows[:, :, channel] = values.reshape(-1, _STEPS)
  return windows, labels, subject


def _numbers(path, archive: zipfile.ZipFile, member: str) -> np.ndarray:
  try:
    text = archive.read(f'UCI HAR Dataset/{member}')
  except KeyError as error:
    raise UsageError(f'{path}: {member} is not in it') from error
  with warnings.catch_warnings():
    # NumPy only warns when it meets something that is no number.
    warnings.simplefilter('error', DeprecationWarning)
    try:
      return np.fromstring(text.decode('ascii'), dtype=np.float32, sep=' ')
    except DeprecationWarning as error:
      raise UsageError(f'{path}: {member} holds something that is no number') from error
