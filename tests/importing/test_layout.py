"""What the files of a folder are, by their names."""

import pytest

from fl_research.importing import layout

FOLDERS = {
  'hill.csv coast.csv': [('coast',), ('hill',)],
  'c_10.csv c_2.csv': [('c_2',), ('c_10',)],
  'a.parquet b.csv.gz c.tsv': [('a',), ('b',), ('c',)],
  'client_1_X.csv client_1_y.csv client_2_X.csv client_2_y.csv': [
    ('client_1', 'client_1_y.csv'),
    ('client_2', 'client_2_y.csv'),
  ],
  'X_train.csv y_train.csv X_test.csv y_test.csv': [
    (None, 'y_test.csv', True),
    (None, 'y_train.csv', False),
  ],
  'train.csv test.csv': [(None, None, True), (None, None, False)],
  'a_train.csv a_test.csv b-train.csv b-test.csv': [
    ('a', None, True),
    ('a', None, False),
    ('b', None, True),
    ('b', None, False),
  ],
  'train/a.csv train/b.csv test/a.csv': [
    ('a', None, True),
    ('a', None, False),
    ('b', None, False),
  ],
  'a_features.csv a_labels.csv': [(None, 'a_labels.csv')],
  # Words without their other half are names.
  'plant_x.csv plant_z.csv': [('plant_x',), ('plant_z',)],
  'north_train.csv south.csv': [('north_train',), ('south',)],
  # One file is a table like any other.
  'patients.csv': [(None,)],
}


@pytest.mark.parametrize('names', FOLDERS)
def test_folders(names, tmp_path):
  for name in names.split():
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('a\n1\n')
  (tmp_path / 'README.txt').write_text('read me')
  found = layout.find(str(tmp_path))
  pieces = [
    (p.client, p.labels and p.labels.removeprefix(f'{tmp_path}/'), p.test) for p in found.pieces
  ]
  assert pieces == [(*piece, None, None)[:3] for piece in FOLDERS[names]]
  assert found.left_out == ['README.txt']


def test_a_file(tmp_path):
  path = tmp_path / 'a_X.txt'
  path.write_text('a\n1\n')
  assert layout.find(str(path)).pieces == [layout.Piece(str(path))]
