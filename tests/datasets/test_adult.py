import gzip

import numpy as np
import pytest

from fl_research.datasets import adult
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import dataset_checks as checks

PERSON = '39, {work}, 77516, {degree}, 13, Never-married, Sales, Wife, White, {sex}, 0, 0, 40, {land}, {income}\n'  # noqa: E501
KNOWN = {'work': 'Private', 'degree': 'Masters', 'sex': 'Male', 'land': 'Hong', 'income': '<=50K'}


def people(*changes, remark='') -> str:
  return remark + ''.join(PERSON.format(**KNOWN | change) for change in changes) + '\n'


@pytest.fixture
def options(tmp_path, monkeypatch) -> DatasetOptions:
  """Three people to train on and two to test, whose checksums are not asked for."""
  (tmp_path / 'adult').mkdir()
  doctor = {'degree': 'Doctorate'}
  write(tmp_path, 'adult.data', people({}, doctor, {'income': '>50K'}))
  write(
    tmp_path, 'adult.test', people(doctor, {'income': '>50K.'}, remark='|1x3 Cross validator\n')
  )
  monkeypatch.setattr(adult, '_SHA256', {'adult.data': (), 'adult.test': ()})
  return DatasetOptions(data_dir=str(tmp_path))


def write(folder, name, text):
  (folder / 'adult' / name).write_text(text)


def test_the_published_people():
  data = adult.load(checks.published('adult', 'adult.data.gz'))
  checks.assert_form(data, [99], np.float32, [], np.int32)
  assert (data.problem, data.num_classes) == (Problem.BINARY, 2)
  assert tuple(data.train.ids) == tuple(data.test_clients.ids) == adult.CLIENTS
  assert data.train.sizes.tolist() == [413, 32148]
  assert data.test_clients.sizes.tolist() == [181, 16100]
  assert int(data.train.pooled()['y'].sum()) == 7841
  assert int(data.test['y'].sum()) == 3846
  # One value of each of the eight columns; 2,399 people have one or more that is not known.
  known = data.train.pooled()['x'].sum(axis=1)
  assert known.max() == 8 and int((known < 8).sum()) == 2399
  assert set(data.sources) == {'adult.data.gz', 'adult.test.gz'}


def test_features_and_labels_by_hand(options):
  data = adult.load(options)
  assert data.train.sizes.tolist() == [1, 2]
  assert data.test_clients.examples(1)['y'].tolist() == [1]
  assert data.train.examples(1)['y'].tolist() == [0, 1]
  own, other = data.train.examples(0)['x'][0], data.train.examples(1)['x'][0]
  # Private, doctorate or master's, never married, sales, wife, white, male, Hong.
  assert np.flatnonzero(own).tolist() == [0, 21, 26, 34, 45, 51, 57, 97]
  assert np.flatnonzero(own - other).tolist() == [18, 21]


def test_what_is_unknown_is_zeros(options, tmp_path):
  write(tmp_path, 'adult.data', people({'work': '?', 'land': '?', 'degree': 'Doctorate'}, {}))
  assert np.flatnonzero(adult.load(options).train.examples(0)['x'][0]).tolist() == [
    *(21, 26, 34, 45, 51, 57)
  ]


def test_packed_and_plain_files_are_the_same(options, tmp_path, monkeypatch):
  plain = adult.load(options)
  for name in ('adult.data', 'adult.test'):
    path = tmp_path / 'adult' / name
    (tmp_path / 'adult' / f'{name}.gz').write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
  monkeypatch.setattr(adult, '_MD5', {'adult.data': None, 'adult.test': None})
  np.testing.assert_array_equal(adult.load(options).train.pooled()['x'], plain.train.pooled()['x'])


def test_errors_name_the_file(options, tmp_path, monkeypatch):
  write(tmp_path, 'adult.data', 'nothing\n')
  with checks.one_line_error('adult.data', 'no lines of 15 values'):
    adult.load(options)
  (tmp_path / 'adult' / 'adult.data').unlink()
  monkeypatch.setattr(adult, '_URL', checks.NOWHERE)
  with checks.one_line_error('adult.data'):
    adult.load(options)
