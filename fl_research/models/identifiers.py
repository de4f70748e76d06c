"""Columns of ids among the numbers of a vector x: where they are, and rows of numbers for them."""

from collections.abc import Iterable, Sequence
import dataclasses
from typing import Any

import tensorflow as tf

from fl_research.models import layers
from fl_research.models.specification import ModelSpec


@dataclasses.dataclass(frozen=True)
class Embedded(layers.Layer):
  """x [d] with each id's place taken by a row of numbers: the numbers first, then the rows.

  First values of the rows: U(-0.05, 0.05), as Keras has them.

  Attributes:
    numbers: positions of x that are no ids.
    ids: name, position and vocabulary of each column of ids.
    dimension: numbers per id.
  """

  numbers: tuple[int, ...]
  ids: tuple[tuple[str, int, int], ...]
  dimension: int

  kind = 'columns'

  @property
  def weight_names(self):
    return tuple(f'{name}/embeddings' for name, _, _ in self.ids)

  def initialise(self, shape, generator):
    rows = [table.initialise((), generator)[0][0] for table in self._tables()]
    return rows, (len(self.numbers) + len(self.ids) * self.dimension,)

  def __call__(self, weights, x, seed=None):
    rows = [
      table([weight], tf.cast(x[:, position], tf.int32))
      for table, weight, (_, position, _) in zip(self._tables(), weights, self.ids, strict=True)
    ]
    return tf.concat([tf.gather(x, self.numbers, axis=1), *rows], axis=1)

  def keras(self, weights, x, name):
    parts = keras_positions(x, self.numbers)
    for table, weight, (column, position, _) in zip(self._tables(), weights, self.ids, strict=True):
      row = table.keras([weight], keras_positions(x, [position])[0], f'{name}_{column}')
      parts.append(tf.keras.layers.Flatten()(row))
    return tf.keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]

  def _tables(self) -> list[layers.Embedding]:
    return [layers.Embedding(vocabulary, self.dimension) for _, _, vocabulary in self.ids]


def flat_input(spec: ModelSpec, dimension: int) -> layers.Layer:
  """The first layer of a dense model: all of x in one axis, its ids embedded where it has any."""
  ids = columns_of_ids(spec)
  if not ids:
    return layers.Flatten()
  return Embedded(numbers(spec), ids, dimension)


def columns_of_ids(spec: ModelSpec) -> tuple[tuple[str, int, int], ...]:
  """Name, position and vocabulary of each column of ids."""
  columns = [column for column in spec.inputs or () if column.vocabulary]
  names = [column.layer_name for column in columns]
  if len(set(names)) < len(names):
    names = [f'{name}_{column.start}' for name, column in zip(names, columns)]
  return tuple((n, c.start, c.vocabulary) for n, c in zip(names, columns) if c.vocabulary)


def numbers(spec: ModelSpec) -> tuple[int, ...]:
  """The positions of x that are no ids."""
  ids = {position for _, position, _ in columns_of_ids(spec)}
  return tuple(position for position in range(spec.input_shape[0]) if position not in ids)


def keras_positions(x: Any, positions: Sequence[int]) -> list[Any]:
  """Some positions of a Keras tensor [d], by stock layers: a tensor for each run of neighbours."""
  column = tf.keras.layers.Reshape((x.shape[1], 1))(x)
  cut = lambda first, last: tf.keras.layers.Cropping1D((first, x.shape[1] - last))(column)
  return [tf.keras.layers.Flatten()(cut(run[0], run[-1] + 1)) for run in _runs(positions)]


def _runs(positions: Iterable[int]) -> list[list[int]]:
  """Cuts increasing numbers where one is left out."""
  runs: list[list[int]] = []
  for position in positions:
    if runs and runs[-1][-1] == position - 1:
      runs[-1].append(position)
    else:
      runs.append([position])
  return runs
