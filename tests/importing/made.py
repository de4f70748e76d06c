"""Small files of every form, as users have them."""

import json
import pathlib
import sqlite3
import struct

import numpy as np
from PIL import Image


def generator() -> np.random.Generator:
  return np.random.default_rng(0)


def picture(path: pathlib.Path, level: int, size=(8, 6), mode='RGB') -> None:
  """A picture of one level, of width and height `size`."""
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.new(mode, size, level if mode in ('L', 'I;16') else (level, 0, 0)).save(path)


def pictures(folder: pathlib.Path, tree: str = '{client}/{kind}') -> pathlib.Path:
  """Clients with five pictures of `cat` (level 51) and five of `dog` (level 204)."""
  for client in ('client_1', 'client_2', 'client_10'):
    for kind, level in (('cat', 51), ('dog', 204)):
      for k in range(5):
        path = folder / tree.format(client=client, kind=kind) / f'{client}_{k}.png'
        picture(path, level)
  return folder


def npz_clients(folder: pathlib.Path, rows: int = 10, **arrays) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  usual = {'x': generator().normal(size=(rows, 3)), 'y': np.arange(rows) % 3}
  for name in ('ann', 'bob'):
    np.savez(folder / f'{name}.npz', **{**usual, **arrays})
  return folder


def one_npz(path: pathlib.Path, rows: int = 20, **arrays) -> pathlib.Path:
  usual = {
    'x': np.arange(rows * 2.0).reshape(rows, 2),
    'y': np.arange(rows) % 2,
    'client': np.arange(rows) // 10,
  }
  kept = {key: array for key, array in {**usual, **arrays}.items() if array is not None}
  np.savez(path, **kept)
  return path


def texts(folder: pathlib.Path) -> pathlib.Path:
  """Two authors: five short texts, and one long one."""
  (folder / 'ann').mkdir(parents=True)
  (folder / 'bob').mkdir()
  for k in range(5):
    (folder / 'ann' / f'{k}.txt').write_text('abcab' + 'Z' * (k == 4))
  (folder / 'bob' / 'long.txt').write_text('ba' * 20)
  return folder


def text_table(path: pathlib.Path) -> pathlib.Path:
  rows = [f'{who},"{text}"' for who in ('ann', 'bob') for text in ['so, well', 'well said'] * 3]
  path.write_text('\n'.join(['who,said', *rows, 'ann,']) + '\n')
  return path


def series(path: pathlib.Path, rows: int = 40, **columns) -> pathlib.Path:
  """Two subjects, a second from row to row; `state` changes every eight rows."""
  lines = []
  for subject in ('s1', 's2'):
    for k in range(rows):
      own = {'subject': subject, 'second': k, 'ax': k, 'ay': 2 * k, 'state': 'ab'[k // 8 % 2]}
      lines.append({**own, **{name: make(subject, k) for name, make in columns.items()}})
  names = list(lines[0])
  body = [','.join(str(line[name]) for name in names) for line in lines]
  path.write_text('\n'.join([','.join(names), *body]) + '\n')
  return path


def idx(path: pathlib.Path, array: np.ndarray) -> None:
  kinds = {'u1': 0x08, 'i1': 0x09, 'i2': 0x0B, 'i4': 0x0C, 'f4': 0x0D, 'f8': 0x0E}
  head = struct.pack('>HBB', 0, kinds[array.dtype.str[1:]], array.ndim)
  shape = struct.pack(f'>{array.ndim}I', *array.shape)
  path.write_bytes(head + shape + array.astype(array.dtype.newbyteorder('>')).tobytes())


def idx_folder(folder: pathlib.Path) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  pictures_ = generator().integers(0, 256, (20, 5, 4), dtype=np.uint8)
  idx(folder / 'kanji-images-idx3-ubyte', pictures_)
  idx(folder / 'kanji-labels-idx1-ubyte', (np.arange(20) % 4).astype(np.uint8))
  return folder


def leaf(
  folder: pathlib.Path, users=None, split: str = 'train', name: str = 'all_data_0'
) -> pathlib.Path:
  """LEAF's JSON: by default two users with vectors of three numbers and three classes."""
  if users is None:
    x = lambda n: [[k / 2, 1.0, -k] for k in range(n)]
    users = {u: {'x': x(n), 'y': [k % 3 for k in range(n)]} for u, n in (('u0', 6), ('u1', 4))}
  (folder / split).mkdir(parents=True, exist_ok=True)
  content = {'users': list(users), 'num_samples': [len(own['y']) for own in users.values()]}
  (folder / split / f'{name}.json').write_text(json.dumps({**content, 'user_data': users}))
  return folder


def hdf5(path: pathlib.Path, clients) -> pathlib.Path:
  import h5py

  with h5py.File(path, 'w') as stored:
    for client, features in clients.items():
      for name, values in features.items():
        stored.create_dataset(f'examples/{client}/{name}', data=values)
  return path


def sqlite(path: pathlib.Path, rows=()) -> pathlib.Path:
  """A database of TFF's form; `rows` are (split, client, serialised example)."""
  with sqlite3.connect(path) as connection:
    connection.execute('CREATE TABLE examples (split_name, client_id, serialized_example_proto)')
    connection.execute('CREATE TABLE client_metadata (client_id, split_name, num_examples)')
    connection.executemany('INSERT INTO examples VALUES (?, ?, ?)', rows)
    pairs = sorted({(client, split) for split, client, _ in rows})
    connection.executemany('INSERT INTO client_metadata VALUES (?, ?, 1)', pairs)
  return path
