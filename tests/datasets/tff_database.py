"""Writes small SQLite files in the format of the databases that TFF publishes."""

import io
import pathlib
import sqlite3
import tarfile
from typing import Union

import tensorflow as tf

Value = Union[bytes, int, float, list]


def write(path: pathlib.Path, splits: dict[str, dict[str, list[dict[str, Value]]]]) -> None:
  """Writes the examples (a value per feature) of each client of each split."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with sqlite3.connect(path) as connection:
    connection.execute(
      'CREATE TABLE examples (split_name TEXT NOT NULL, client_id TEXT NOT NULL, '
      'serialized_example_proto BLOB NOT NULL)'
    )
    connection.execute(
      'CREATE TABLE client_metadata (client_id TEXT NOT NULL, split_name TEXT NOT NULL, '
      'num_examples INTEGER NOT NULL)'
    )
    for split, clients in splits.items():
      for client, examples in clients.items():
        connection.execute(
          'INSERT INTO client_metadata VALUES (?, ?, ?)', (client, split, len(examples))
        )
        connection.executemany(
          'INSERT INTO examples VALUES (?, ?, ?)',
          [(split, client, _serialize(example)) for example in examples],
        )


def write_archive(path: pathlib.Path, member: str, text: str) -> None:
  """Writes a .tar.bz2 archive of one text file."""
  path.parent.mkdir(parents=True, exist_ok=True)
  content = text.encode()
  entry = tarfile.TarInfo(member)
  entry.size = len(content)
  with tarfile.open(path, 'w:bz2') as archive:
    archive.addfile(entry, io.BytesIO(content))


def _serialize(example: dict[str, Value]) -> bytes:
  features = {name: _feature(value) for name, value in example.items()}
  return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _feature(value: Value) -> tf.train.Feature:
  values = value if isinstance(value, list) else [value]
  if isinstance(values[0], bytes):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
  if isinstance(values[0], float):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
  return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
