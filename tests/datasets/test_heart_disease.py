import numpy as np
import pytest

from fl_research.datasets import heart_disease
from fl_research.datasets.federated_data import DatasetOptions, Problem
from tests.datasets import dataset_checks as checks

HOSPITALS = ('cleveland', 'hungarian', 'switzerland', 'va')


def patients(diagnoses, first='50') -> str:
  """Rows of the published form with everything but age and diagnosis alike."""
  return ''.join(
    f'{first if row == 0 else 50 + row},1,4,120,200,0,1,150,0,1.5,2,0,3,{diagnosis}\n'
    for row, diagnosis in enumerate(diagnoses)
  )


@pytest.fixture
def options(tmp_path, monkeypatch) -> DatasetOptions:
  """A folder with four small hospitals, whose checksums are not asked for."""
  (tmp_path / 'heart_disease').mkdir()
  for hospital in HOSPITALS:
    write(tmp_path, hospital, patients([0, 1, 0, 2, 0, 3, 0, 4, 0, 1]))
  monkeypatch.setattr(heart_disease, '_SHA256', {hospital: () for hospital in HOSPITALS})
  return DatasetOptions(data_dir=str(tmp_path))


def write(folder, hospital, text):
  (folder / 'heart_disease' / f'processed.{hospital}.data').write_text(text)


def test_the_published_hospitals():
  options = checks.published('heart_disease', 'processed.va.data')
  data = heart_disease.load(options)
  checks.assert_form(data, [25], np.float32, [], np.int32)
  assert (data.problem, data.num_classes) == (Problem.BINARY, 2)
  assert tuple(data.train.ids) == tuple(data.test_clients.ids) == HOSPITALS
  assert (data.train.sizes + data.test_clients.sizes).tolist() == [303, 294, 123, 200]
  sick = [
    int(data.train.examples(k)['y'].sum() + data.test_clients.examples(k)['y'].sum())
    for k in range(4)
  ]
  assert sick == [139, 106, 115, 149]
  # Stratified: the share of the sick in a test part is that of the hospital to within a patient.
  for k in range(4):
    share = sick[k] / (data.train.sizes[k] + data.test_clients.sizes[k])
    assert abs(data.test_clients.examples(k)['y'].sum() - share * data.test_clients.sizes[k]) <= 1
  pool = data.train.pooled()['x']
  np.testing.assert_allclose(pool[:, :6].mean(axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(pool[:, :6].std(axis=0), 1, atol=1e-5)
  # Each of the seven categorical findings has exactly one value.
  np.testing.assert_array_equal(pool[:, 6:].sum(axis=1), 7)
  assert len(data.sources) == 4


def test_the_seed_decides_the_split_and_nothing_else_does():
  options = checks.published('heart_disease', 'processed.va.data', seed=3)
  first, again = heart_disease.load(options), heart_disease.load(options)
  np.testing.assert_array_equal(first.test['x'], again.test['x'])
  other = heart_disease.load(DatasetOptions(data_dir=options.data_dir, seed=4))
  assert not np.array_equal(first.test['x'], other.test['x'])


def test_test_patients_do_not_enter_the_statistics(options, tmp_path):
  before = heart_disease.load(options)
  # Exactly one test patient of Cleveland changes: whichever row does not move the training rows.
  moved = 0
  for row in range(10):
    lines = patients([0, 1, 0, 2, 0, 3, 0, 4, 0, 1]).splitlines(keepends=True)
    lines[row] = lines[row].replace(f'{50 + row},', '9999,', 1)
    write(tmp_path, 'cleveland', ''.join(lines))
    after = heart_disease.load(options)
    moved += not np.array_equal(before.train.pooled()['x'], after.train.pooled()['x'])
  assert moved == 8


def test_missing_values_in_all_their_forms(options, tmp_path):
  row = '50,1,4,{pressure},{cholesterol},0,1,150,0,1.5,2,{vessels},3,{sick}\n'
  known = [row.format(pressure=120, cholesterol=200, vessels=2, sick=k % 2) for k in range(8)]
  missing = [
    row.format(pressure='?', cholesterol='0', vessels='-9', sick=0),
    row.format(pressure='0', cholesterol='', vessels='-9.0', sick=1),
  ]
  for hospital in HOSPITALS:
    write(tmp_path, hospital, ''.join(known + missing))
  data = heart_disease.load(options)
  # Imputed by the median of values that are all alike: nobody differs from anybody.
  for examples in (data.train.pooled(), data.test):
    np.testing.assert_array_equal(examples['x'][:, :6], 0)


@pytest.mark.parametrize(
  'text, part',
  [
    ('1,2,3\n', '3 columns'),
    (patients([0, 1]).replace('150', 'fast'), 'not a table of numbers'),
    (patients([0, '?']), 'row 2 has no diagnosis'),
    ('', 'not a table'),
    (patients([0, 1]) + '1,2', 'row 3 has no diagnosis'),
  ],
)
def test_malformed_files(options, tmp_path, text, part):
  write(tmp_path, 'hungarian', text)
  with checks.one_line_error('processed.hungarian.data', part):
    heart_disease.load(options)


def test_another_files_checksum_is_refused(tmp_path):
  (tmp_path / 'heart_disease').mkdir()
  write(tmp_path, 'cleveland', patients([0, 1]))
  with checks.one_line_error('processed.cleveland.data', 'SHA-256', 'archive.ics.uci.edu'):
    heart_disease.load(DatasetOptions(data_dir=str(tmp_path)))
