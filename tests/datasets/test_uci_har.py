import zipfile

import numpy as np
import pytest

from fl_research.datasets import uci_har
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import dataset_checks as checks

PEOPLE = {'train': [3, 1, 3], 'test': [2, 2]}
CHANNELS = [
  *('body_acc_x', 'body_acc_y', 'body_acc_z', 'body_gyro_x', 'body_gyro_y', 'body_gyro_z'),
  *('total_acc_x', 'total_acc_y', 'total_acc_z'),
]
ACTIVITIES = {'train': [1, 6, 2], 'test': [5, 4]}


def members() -> dict[str, str]:
  """A tiny archive: training window w is w all along, in test windows channel c is c all along."""
  files = {}
  for part, people in PEOPLE.items():
    files[f'{part}/subject_{part}.txt'] = '\n'.join(map(str, people)) + '\n'
    files[f'{part}/y_{part}.txt'] = '\n'.join(map(str, ACTIVITIES[part])) + '\n'
    for channel, name in enumerate(CHANNELS):
      values = range(len(people)) if part == 'train' else [channel] * len(people)
      rows = [f'  {value:.7e}' * 128 for value in values]
      files[f'{part}/Inertial Signals/{name}_{part}.txt'] = '\n'.join(rows) + '\n'
  return files


@pytest.fixture
def archive(tmp_path, monkeypatch):
  (tmp_path / 'uci_har').mkdir()
  monkeypatch.setattr(uci_har, '_SHA256', ())

  def write(files: dict[str, str]) -> DatasetOptions:
    with zipfile.ZipFile(tmp_path / 'uci_har' / 'UCI HAR Dataset.zip', 'w') as stream:
      for name, text in files.items():
        stream.writestr(f'UCI HAR Dataset/{name}', text)
    return DatasetOptions(data_dir=str(tmp_path))

  return write


def test_the_published_windows():
  data = uci_har.load(checks.published('uci_har', 'UCI HAR Dataset.zip'))
  checks.assert_form(data, [128, 9], np.float32, [], np.int32)
  assert (data.problem, data.num_classes) == (Problem.CLASSIFICATION, 6)
  assert (data.train.sizes.sum(), data.test_clients.sizes.sum()) == (7_352, 2_947)
  held_out = [2, 4, 9, 10, 12, 13, 18, 20, 24]
  assert list(data.test_clients.ids) == [f'subject_{person:02d}' for person in held_out]
  assert len(data.train) == 21 and not set(data.train.ids) & set(data.test_clients.ids)
  pool = data.train.pooled()
  assert np.bincount(pool['y']).tolist() == [1226, 1073, 986, 1286, 1374, 1407]
  np.testing.assert_allclose(pool['x'].mean(axis=(0, 1), dtype=np.float64), 0, atol=1e-4)
  np.testing.assert_allclose(pool['x'].std(axis=(0, 1), dtype=np.float64), 1, atol=1e-4)


def test_windows_go_to_their_people_and_channels(archive):
  data = uci_har.load(archive(members()))
  checks.assert_form(data, [128, 9], np.float32, [], np.int32)
  assert list(data.train.ids) == ['subject_01', 'subject_03']
  assert list(data.test_clients.ids) == ['subject_02']
  # Training windows 0, 1, 2 of every channel: the mean is 1 and the deviation sqrt(2/3).
  deviation = np.sqrt(2 / 3)
  np.testing.assert_allclose(data.train.examples(0)['x'], 0, atol=1e-5)
  third = data.train.examples(1)
  for window, value in enumerate((-1, 1)):
    np.testing.assert_allclose(third['x'][window], value / deviation, rtol=1e-5)
  assert third['y'].tolist() == [0, 1] and data.test['y'].tolist() == [4, 3]
  expected = np.tile((np.arange(9) - 1) / deviation, (128, 1))
  np.testing.assert_allclose(data.test['x'][0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  'name, text, part',
  [
    ('train/y_train.txt', None, 'train/y_train.txt is not in it'),
    ('test/Inertial Signals/total_acc_z_test.txt', None, 'total_acc_z_test.txt is not in it'),
    ('train/y_train.txt', '1\n7\n2\n', 'a label outside 1 to 6'),
    ('train/subject_train.txt', '1\n2\n', '3 labels but 2 subjects'),
    ('train/Inertial Signals/body_acc_x_train.txt', ' 1.0' * 300, 'holds 300 numbers'),
    ('train/Inertial Signals/body_acc_x_train.txt', ' 1.0 oops' * 192, 'no number'),
  ],
)
def test_malformed_archives(archive, name, text, part):
  files = members()
  files[name] = text
  with checks.one_line_error('UCI HAR Dataset.zip', part):
    uci_har.load(archive({name: text for name, text in files.items() if text is not None}))


def test_an_archive_cut_short(archive, tmp_path):
  options = archive(members())
  path = tmp_path / 'uci_har' / 'UCI HAR Dataset.zip'
  path.write_bytes(path.read_bytes()[:-100])
  with checks.one_line_error('UCI HAR Dataset.zip', 'truncated'):
    uci_har.load(options)


def test_another_checksum_is_refused_with_the_published_one(tmp_path):
  (tmp_path / 'uci_har').mkdir()
  (tmp_path / 'uci_har' / 'UCI HAR Dataset.zip').write_bytes(b'something else')
  with checks.one_line_error('UCI HAR Dataset.zip', '2045e435', 'archive.ics.uci.edu'):
    uci_har.load(DatasetOptions(data_dir=str(tmp_path)))
