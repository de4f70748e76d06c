"""Files that cannot be used: one line that names the file and what to do, and nothing written."""

import gzip
import json
import os
import struct
import zlib

import numpy as np
from PIL import Image
import pytest

from experiments import command_line, import_data
from tests.importing import made

BAD = {}
"""Name of a case -> what makes its files in a folder, its flags, and what the line must say."""


def bad(words, flags='--data_file={here}'):
  def add(make):
    BAD[make.__name__.strip('_')] = (make, flags, words)
    return make

  return add


@bad('{here}/absent: no such file or folder', '--data_file={here}/absent')
def nothing(here):
  del here


@bad('--data_file: must be given', '')
def no_file(here):
  del here


@bad('holds no files')
def empty_folder(here):
  (here / '.hidden').write_text('x')


@bad('pictures (a.png), tables (b.csv); name the one file')
def two_forms(here):
  made.picture(here / 'a.png', 1)
  (here / 'b.csv').write_text('a,b\n')


@bad('a.zip: is an archive; unpack it')
def archive(here):
  (here / 'a.zip').write_bytes(b'PK')


@bad('is a spreadsheet; save each sheet', '--data_file={here}/a.xlsx')
def spreadsheet(here):
  (here / 'a.xlsx').write_bytes(b'PK')


@bad('a.pkl: is never unpickled')
def pickle_file(here):
  (here / 'a.pkl').write_bytes(b'x')


@bad('d.arff.gz: is ARFF; save it as CSV')
def arff_beside_a_note(here):
  (here / 'd.arff.gz').write_bytes(b'x')
  (here / 'about.txt').write_text('what it is')


@bad('a9a: looks like LIBSVM')
def libsvm(here):
  (here / 'a9a').write_text('-1 3:1 11:1 \n+1 5:1\n')


@bad('X_train.txt: holds numbers and no text')
def numbers_as_text(here):
  (here / 'X_train.txt').write_text('1.0e+01 -2.5\n3 4\n')


@bad('of no form that is read')
def unknown(here):
  (here / 'a.xyz').write_bytes(b'\x01\x02')


# Pictures.


@bad('2.png: damaged or cut short')
def cut_picture(here):
  made.pictures(here)
  path = here / 'client_2' / 'dog' / '2.png'
  levels = made.generator().integers(0, 256, (30, 30, 3), dtype=np.uint8)
  Image.fromarray(levels).save(path)
  path.write_bytes(path.read_bytes()[:1000])


@bad('0.png: is no PNG or JPEG picture')
def text_as_picture(here):
  made.pictures(here)
  (here / 'client_2' / 'dog' / '0.png').write_text('no picture')


@bad('bomb.png: has more than 100,000,000 pixels')
def bomb(here):
  made.pictures(here)
  chunk = lambda kind, body: (
    struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
  )
  head = chunk(b'IHDR', struct.pack('>IIBBBBB', 60000, 60000, 8, 0, 0, 0, 0))
  body = chunk(b'IDAT', zlib.compress(b'\0' * 99)) + chunk(b'IEND', b'')
  (here / 'client_2' / 'dog' / 'bomb.png').write_bytes(b'\x89PNG\r\n\x1a\n' + head + body)


@bad('no folder says the class')
def pictures_without_folders(here):
  made.picture(here / 'a.png', 1)


@bad('client_2/x.png and client_1/cat/client_1_0.png lie in different depths')
def uneven_depths(here):
  made.pictures(here)
  made.picture(here / 'client_2' / 'x.png', 1)


@bad('no folder says the class')
def one_class(here):
  made.picture(here / 'cat' / 'a.png', 1)
  made.picture(here / 'cat' / 'b.png', 1)


@bad('no folder says the class')
def clients_of_one_class(here):
  made.picture(here / 'client_1' / 'cat' / 'a.png', 1)
  made.picture(here / 'client_2' / 'cat' / 'b.png', 1)


@bad('all pictures are of class cat; nothing to learn', '--data_file={here} --folder_levels=class')
def one_class_by_the_flag(here):
  made.picture(here / 'cat' / 'a.png', 1)
  made.picture(here / 'cat' / 'b.png', 1)


@bad('cat is none of', '--data_file={here} --folder_levels=class/split')
def no_split(here):
  made.pictures(here)


@bad('kind is none of client, class', '--data_file={here} --folder_levels=client/kind')
def wrong_level(here):
  made.pictures(here)


@bad('has 2 levels of folders, not 1', '--data_file={here} --folder_levels=class')
def wrong_depth(here):
  made.pictures(here)


@bad('--image_size=2: accepted is', '--data_file={here} --image_size=2')
def tiny_pictures(here):
  made.pictures(here)


@bad('--image_size=32: only read with --task=images', '--data_file={here} --image_size=32')
def size_of_no_pictures(here):
  made.npz_clients(here)


# Arrays.


@bad('holds Python objects, which are never loaded', '--data_file={here}/a.npz')
def objects(here):
  made.one_npz(here / 'a.npz', z=np.array([{}], object))


@bad('damaged, truncated or no .npz file', '--data_file={here}/a.npz')
def cut_npz(here):
  path = made.one_npz(here / 'a.npz')
  path.write_bytes(path.read_bytes()[:200])


@bad('x holds NaN or infinity in row 3', '--data_file={here}/a.npz')
def nan_in_npz(here):
  made.one_npz(here / 'a.npz', x=np.where(np.arange(40).reshape(20, 2) == 5, np.nan, 1.0))


@bad('every label is 1; nothing to learn', '--data_file={here}/a.npz')
def one_label(here):
  made.one_npz(here / 'a.npz', y=np.ones(20, int))


@bad('several arrays may say whose a row is', '--data_file={here}/a.npz')
def two_owners(here):
  made.one_npz(here / 'a.npz', user=np.zeros(20, int))


@bad('x has 19 rows, and y 20', '--data_file={here}/a.npz')
def uneven_npz(here):
  made.one_npz(here / 'a.npz', x=np.ones((19, 2)))


@bad('y is int64 [n, 2] up to 9: no 0/1 tags, and no next tokens')
def counts_as_tags(here):
  made.npz_clients(here, y=np.arange(20).reshape(10, 2) % 10)


@bad('kanji-images-idx3-ubyte: damaged or truncated (399 values')
def cut_idx(here):
  made.idx_folder(here)
  path = here / 'kanji-images-idx3-ubyte'
  path.write_bytes(path.read_bytes()[:-1])


@bad('19 labels for 20 examples')
def uneven_idx(here):
  made.idx_folder(here)
  made.idx(here / 'kanji-labels-idx1-ubyte', np.arange(19, dtype=np.uint8))


@bad('no IDX file of labels')
def idx_without_labels(here):
  made.idx_folder(here)
  (here / 'kanji-labels-idx1-ubyte').unlink()


# Text.


@bad('1.txt: is no UTF-8 text', '--data_file={here}')
def latin_text(here):
  made.texts(here)
  (here / 'ann' / '1.txt').write_bytes('f\xfcr'.encode('latin-1'))


@bad('holds the character 0, so it is no text')
def binary_text(here):
  made.texts(here)
  (here / 'bob' / 'b.txt').write_bytes(b'abc\0def')


@bad('all texts are empty')
def empty_texts(here):
  (here / 'a.txt').write_text('')


@bad('lie in different depths')
def texts_of_two_depths(here):
  made.texts(here)
  (here / 'c.txt').write_text('abc')


@bad('--separator=;: only read for text in a table', '--data_file={here} --separator=;')
def separator_of_no_table(here):
  made.texts(here)


@bad('is one text; text by author is a folder', '--data_file={here}/a.txt')
def one_text(here):
  (here / 'a.txt').write_text('abc')


_TABLE = '--data_file={here}/t.csv --client_column=who --text_column='


@bad('--text_column=sayd: no such column (did you mean said?)', _TABLE + 'sayd')
def no_such_text_column(here):
  made.text_table(here / 't.csv')


@bad('row 8 has no author', _TABLE + 'said')
def text_without_author(here):
  path = made.text_table(here / 't.csv')
  lines = path.read_text().splitlines()
  path.write_text('\n'.join([*lines[:8], ',"who said"', *lines[8:]]))


@bad('t.csv: line 2 has 4 of 2 fields', _TABLE + 'said')
def ragged_table(here):
  made.text_table(here / 't.csv').write_text('who,said\nann,a,b,c\n"unclosed')


# Time series.

_SERIES = '--data_file={here}/s.csv --client_column=subject --label_column=state --window_length='


@bad('no client has so many rows in a stretch without a gap; the longest has 40', _SERIES + '41')
def too_long_windows(here):
  made.series(here / 's.csv')


@bad('--window_length=1: accepted is an integer of at least 2', _SERIES + '1')
def too_short_windows(here):
  made.series(here / 's.csv')


@bad("row 5 holds 'soon', not a time", _SERIES + '4 --time_column=second')
def no_time(here):
  made.series(here / 's.csv', second=lambda _, k: 'soon' if k == 4 else k)


@bad('--time_column=sec: no such column', _SERIES + '4 --time_column=sec')
def no_time_column(here):
  made.series(here / 's.csv')


@bad('every row has the same label', _SERIES + '4')
def one_state(here):
  made.series(here / 's.csv', state=lambda *_: 'a')


@bad('row 3 has no client', _SERIES + '4')
def nobodys_row(here):
  made.series(here / 's.csv', subject=lambda subject, k: '' if k == 2 else subject)


# LEAF and TFF.


def _leaf_bytes(here, change):
  path = made.leaf(here) / 'train' / 'all_data_0.json'
  path.write_bytes(change(path.read_bytes()))


@bad("all_data_0.json: no JSON of LEAF's form")
def cut_json(here):
  _leaf_bytes(here, lambda content: content[: len(content) // 2])


@bad('(no user_data in it)')
def other_json(here):
  _leaf_bytes(here, lambda content: b'{"a": [1, 2]}')


@bad('holds NaN or infinity')
def nan_in_json(here):
  _leaf_bytes(here, lambda content: content.replace(b'0.5', b'NaN', 1))


@bad('user u0 has 6 x and 5 y')
def uneven_json(here):
  users = {'u0': {'x': [[1.0]] * 6, 'y': [0, 1, 0, 1, 0]}}
  (here / 'a.json').write_text(json.dumps({'user_data': users}))


@bad('of user u0 are no numbers, or not all of one shape')
def ragged_json(here):
  made.leaf(here, {'u0': {'x': [[1.0, 2.0], [1.0]], 'y': [0, 1]}})


@bad('x are names of picture files (1.jpg); put the pictures in folders')
def names_in_json(here):
  made.leaf(here, {'u0': {'x': ['1.jpg'], 'y': [0]}})


@bad('damaged, truncated or not readable')
def cut_packed_json(here):
  content = (made.leaf(here / 'in') / 'train' / 'all_data_0.json').read_bytes()
  (here / 'in' / 'train' / 'all_data_0.json').unlink()
  (here / 'a.json.gz').write_bytes(gzip.compress(content)[:-9])


@bad('d.h5: damaged, cut short or no HDF5')
def cut_hdf5(here):
  path = made.hdf5(here / 'd.h5', {'c': {'pixels': np.zeros((4, 9)), 'label': np.arange(4)}})
  path.write_bytes(path.read_bytes()[:1000])


@bad('no feature is called label (they are colour, pixels); say which by --label_column')
def unnamed_label(here):
  made.hdf5(here / 'd.h5', {'c': {'pixels': np.zeros((4, 9)), 'colour': np.arange(4)}})


@bad('client c has 4 pixels and 3 label')
def uneven_hdf5(here):
  made.hdf5(here / 'd.h5', {'c': {'pixels': np.zeros((4, 9)), 'label': np.arange(3)}})


@bad("d.sqlite: damaged, or no database of TFF's form")
def other_sqlite(here):
  import sqlite3

  with sqlite3.connect(here / 'd.sqlite') as connection:
    connection.execute('CREATE TABLE notes (text)')


@bad('no client in it')
def empty_sqlite(here):
  made.sqlite(here / 'd.sqlite')


@bad('is there already; choose another name', '--data_file={here} --write={here}/ann')
def written_over(here):
  made.npz_clients(here)
  (here / 'ann').mkdir()


@bad('accepted is a name that ends in .png', '--data_file={here} --picture={here}/a.bmp')
def picture_of_another_form(here):
  made.npz_clients(here)


@pytest.mark.parametrize('case', BAD)
def test_is_one_line_and_nothing_is_written(tmp_path, capsys, case):
  make, flags, words = BAD[case]
  here, out = tmp_path / 'in', tmp_path / 'out'
  here.mkdir()
  make(here)
  before = sorted(os.listdir(here))
  arguments = flags.format(here=here).split()
  if '--write' not in flags:
    arguments.append(f'--write={out / "data"}')
  code = command_line.run(import_data.main, ['import_data.py', *arguments])
  lines = capsys.readouterr().err.splitlines()
  line = lines[-1] if lines else ''
  assert code == command_line.EXIT_USAGE, line
  assert line.startswith('import_data.py: ') and words.format(here=here) in line
  assert not any('Traceback' in own for own in lines)
  assert sorted(os.listdir(here)) == before
  assert not out.exists() or os.listdir(out) == []


def test_there_are_many():
  assert len(BAD) >= 50
