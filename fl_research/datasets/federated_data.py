"""Examples held by clients: the form in which every data set reaches the rest of the library.

A data set is either *pooled* (MNIST: nobody owns an example, a partitioner deals them out) or
*federated* (Shakespeare: a role owns its lines). Examples are always two arrays with one row per
example, `x` and `y`; what they mean is said by `Problem`.
"""

import abc
from collections.abc import Mapping, Sequence
import dataclasses
import enum
import functools
import itertools
import math
import re
from typing import Any, Optional, Union

import numpy as np

from fl_research import aligned

Examples = Mapping[str, np.ndarray]
"""`{'x': array [n, ...], 'y': array [n, ...]}`: n examples, row i of both is example i."""


class Problem(enum.Enum):
  """What is to be predicted, which fixes loss and metrics (see `fl_research.models.objectives`).

  Values are the words that users read. Shapes of one example's label y:
  CLASSIFICATION int32 [], in 0..num_classes-1; BINARY int32 [], 0 or 1; MULTILABEL float32
  [num_classes] of 0/1; NEXT_TOKEN int32 [length], 0 = padding, not scored; REGRESSION float32 [],
  of several numbers [k]; RECONSTRUCTION float32, the shape of x.
  """

  CLASSIFICATION = 'classification'
  BINARY = 'binary'
  MULTILABEL = 'multilabel'
  NEXT_TOKEN = 'next_token'
  REGRESSION = 'regression'
  RECONSTRUCTION = 'reconstruction'


class Clients(abc.ABC):
  """Examples by client, read when asked for.

  Clients have a position (0 .. num_clients-1, the order of `ids`) and an id (a string). All of
  the library speaks of positions; ids are what people see in CSVs.
  """

  @property
  @abc.abstractmethod
  def ids(self) -> Sequence[str]:
    """Client ids, in order of position."""

  @property
  @abc.abstractmethod
  def sizes(self) -> np.ndarray:
    """Number of examples of every client, int64 [num_clients]."""

  @abc.abstractmethod
  def examples(self, position: int) -> Examples:
    """The examples of one client; cheap, and independent of all other clients."""

  def __len__(self) -> int:
    return len(self.ids)

  @functools.cached_property
  def num_filled(self) -> int:
    """How many clients have examples."""
    return int(np.count_nonzero(self.sizes))

  def examples_of(self, positions: Union[Sequence[int], np.ndarray]) -> list[Examples]:
    """The examples of several clients, each name's arrays being parts of one memory.

    So no runtime has to copy them again. What is in memory already stays where it is; what is read
    for this call is put in its place client by client.
    """
    rows = int(np.sum(self.sizes[np.asarray(positions, np.int64)]))
    read = (self.examples(int(position)) for position in positions)
    first = list(itertools.islice(read, 2))
    pools = {key: _pool([part[key] for part in first], rows) for key in first[0]} if first else {}
    given_away = (first.pop(0) for _ in range(len(first)))
    return [
      {key: pools[key].place(array) for key, array in examples.items()}
      for examples in itertools.chain(given_away, read)
    ]

  def pooled(self) -> Examples:
    """All clients' examples in one pool, in order of position."""
    parts = [self.examples(position) for position in range(len(self))]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

  def select(self, positions: Union[Sequence[int], np.ndarray]) -> 'Clients':
    """The clients at these positions, renumbered from 0."""
    return _SelectedClients(self, np.asarray(positions, np.int64))


class _Pool:
  """One memory for the arrays of several clients.

  Args:
    rows: where they go, one after another; None where they stay where they are.
  """

  def __init__(self, rows: Optional[np.ndarray]):
    self._rows = rows
    self._filled = 0

  def place(self, array: np.ndarray) -> np.ndarray:
    """The array as a part of the memory."""
    if self._rows is None:
      return array
    part = self._rows[self._filled : self._filled + len(array)]
    self._filled += len(array)
    part[...] = array
    return part


def _pool(first: Sequence[np.ndarray], rows: int) -> _Pool:
  """The memory for arrays like the first few, with so many rows together."""
  like = first[0]
  in_one = isinstance(like.base, np.ndarray) and all(array.base is like.base for array in first)
  if in_one or like.dtype.kind not in 'iuf':
    return _Pool(None)
  size = rows * math.prod(like.shape[1:])
  return _Pool(aligned.empty(size, like.dtype).reshape(rows, *like.shape[1:]))


class ContiguousClients(Clients):
  """Clients whose examples lie one after the other in (possibly memory-mapped) arrays.

  Client k owns rows offsets[k] .. offsets[k+1]-1, so that opening costs nothing per client and
  `examples` returns views.

  Args:
    arrays: `x` and `y`, rows ordered by client; NumPy arrays, copied where TensorFlow could not use
      their memory, or memory maps.
    offsets: int64 [num_clients + 1], from 0 to the number of rows, not decreasing.
    ids: client ids; `client_0000`-like ones are made (on demand) when None.
    sizes: int64 [num_clients], where the differences of the offsets are known, and all above 0.
  """

  def __init__(
    self,
    arrays: Examples,
    offsets: np.ndarray,
    ids: Optional[Sequence[str]] = None,
    sizes: Optional[np.ndarray] = None,
  ):
    self._arrays = {key: aligned.align(np.asanyarray(array)) for key, array in arrays.items()}
    self._offsets = np.asarray(offsets, np.int64)
    self._sizes = np.diff(self._offsets) if sizes is None else sizes
    if sizes is not None:
      self.num_filled = len(sizes)
    rows = {key: len(array) for key, array in self._arrays.items()}
    if len(set(rows.values())) != 1 or self._offsets[-1] != next(iter(rows.values())):
      raise ValueError(f'offsets end at {self._offsets[-1]}, arrays have {rows} rows')
    self._ids = ids if ids is not None else NumberedIds(len(self._offsets) - 1)
    if len(self._ids) != len(self._offsets) - 1:
      raise ValueError(f'{len(self._ids)} ids for {len(self._offsets) - 1} clients')

  @property
  def ids(self) -> Sequence[str]:
    return self._ids

  @property
  def sizes(self) -> np.ndarray:
    return self._sizes

  def examples(self, position: int) -> Examples:
    first, last = self._offsets[position], self._offsets[position + 1]
    return {key: array[first:last] for key, array in self._arrays.items()}

  def pooled(self) -> Examples:
    return dict(self._arrays)


class NumberedIds(Sequence):
  """`client_000`, `client_001`, …: ids made when asked for, so that 10^6 of them cost nothing."""

  def __init__(self, count: int):
    self._count = count
    self._width = len(str(max(count - 1, 0)))

  def __len__(self) -> int:
    return self._count

  def __getitem__(self, position):
    if isinstance(position, slice):
      return [self[p] for p in range(*position.indices(self._count))]
    if not -self._count <= position < self._count:
      raise IndexError(position)
    return f'client_{position % self._count:0{self._width}d}'


class SelectedIds(Sequence):
  """The ids at some positions of others, looked up when asked for."""

  def __init__(self, ids: Sequence[str], positions: np.ndarray):
    self._ids = ids
    self._positions = positions

  def __len__(self) -> int:
    return len(self._positions)

  def __getitem__(self, position):
    if isinstance(position, slice):
      return SelectedIds(self._ids, self._positions[position])
    return self._ids[self._positions[position]]


class _SelectedClients(Clients):
  """A subset of other clients, in a given order."""

  def __init__(self, clients: Clients, positions: np.ndarray):
    self._clients = clients
    self._positions = positions
    self._ids = SelectedIds(clients.ids, positions)
    self._sizes = clients.sizes[positions]

  @property
  def ids(self) -> Sequence[str]:
    return self._ids

  @property
  def sizes(self) -> np.ndarray:
    return self._sizes

  def examples(self, position: int) -> Examples:
    return self._clients.examples(int(self._positions[position]))


def contiguous_clients(
  arrays: Examples, rows_of_client: Sequence[np.ndarray], ids: Optional[Sequence[str]] = None
) -> ContiguousClients:
  """Clients from a pool and, for each client, the rows it owns; the pool is copied once."""
  order = np.concatenate([np.asarray(rows, np.int64) for rows in rows_of_client])
  offsets = np.concatenate([[0], np.cumsum([len(rows) for rows in rows_of_client])])
  return ContiguousClients({key: array[order] for key, array in arrays.items()}, offsets, ids)


@dataclasses.dataclass(frozen=True)
class InputColumn:
  """A named part of a vector x that came from one column of a table.

  Attributes:
    name: the column's name.
    start, stop: the positions of x that it takes.
    vocabulary: None for numbers; for an identifier, which takes one position, how many ids there
      are: x holds 0 (unknown) to vocabulary - 1 as whole float32 numbers, to be embedded.
  """

  name: str
  start: int
  stop: int
  vocabulary: Optional[int] = None

  @property
  def layer_name(self) -> str:
    """The name as one that layers and inputs of TensorFlow may have: `user id` is `user_id`."""
    plain = re.sub(r'[^A-Za-z0-9_.-]', '_', self.name)
    return plain if plain[:1].isalnum() else f'column{plain}'


@dataclasses.dataclass(frozen=True)
class LabelScale:
  """The unit of numbers that are predicted: y = mean + deviation * (a number of about 0 to 1).

  Labels stay in their own units; models answer in them too, and learn in units of the deviation.

  Attributes:
    mean, deviation: float32 of a label's shape, over the training examples; deviation > 0.
    names: what the numbers are called; empty where they have no names.
  """

  mean: np.ndarray
  deviation: np.ndarray
  names: tuple[str, ...] = ()

  def to_data(self) -> dict[str, Any]:
    """All of it, as JSON has it."""
    mean, deviation = np.asarray(self.mean).tolist(), np.asarray(self.deviation).tolist()
    return {'mean': mean, 'deviation': deviation, 'names': list(self.names)}

  @classmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'LabelScale':
    """The scale whose `to_data` gave this."""
    mean, deviation = (np.asarray(data[name], np.float32) for name in ('mean', 'deviation'))
    return cls(mean, deviation, tuple(data['names']))


@dataclasses.dataclass(frozen=True)
class PooledData:
  """A data set without clients.

  Attributes:
    train: training examples, to be dealt out by a partitioner.
    test: the data set's own test examples.
    problem: what is predicted.
    num_classes: number of classes (or tokens, or tags; 1 for regression).
    sources: SHA-256 by name of the files that were read, for the manifest.
    coarse_labels: int32 [n] superclass of each training example where the set has one (CIFAR-100,
      for pachinko allocation).
    vocabulary_size: for matrix factorisation `(users, items)`; otherwise None.
    inputs: what the positions of a vector x are, where they came from columns of a table.
    label_scale: the unit of the numbers that are predicted; None for what is learnt as it is.
    class_names: names of the classes or tags, in the order of their numbers; empty without names.
    preprocessing: what was done to the values of a user's own files, as JSON-able data with arrays,
      to be kept with the run; empty where nothing was.
  """

  train: Examples
  test: Examples
  problem: Problem
  num_classes: int
  sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
  coarse_labels: Optional[np.ndarray] = None
  vocabulary_size: Optional[tuple[int, ...]] = None
  inputs: Optional[tuple[InputColumn, ...]] = None
  label_scale: Optional[LabelScale] = None
  class_names: tuple[str, ...] = ()
  preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class FederatedData:
  """A data set whose examples belong to clients.

  Attributes:
    train: the clients that train, and what they train on.
    test: central test examples (the union of the test clients where the set has only those).
    test_clients: clients with test examples of their own (the same people's later lines, or other
      people), for evaluation by client; None where there are none.
    problem, num_classes, sources, vocabulary_size, inputs, label_scale, class_names, preprocessing:
      as in `PooledData`.
    passport: what `passport.passport` gives of the training clients, where somebody has asked it
      before; None otherwise.
  """

  train: Clients
  test: Examples
  problem: Problem
  num_classes: int
  test_clients: Optional[Clients] = None
  sources: Mapping[str, str] = dataclasses.field(default_factory=dict)
  vocabulary_size: Optional[tuple[int, ...]] = None
  inputs: Optional[tuple[InputColumn, ...]] = None
  label_scale: Optional[LabelScale] = None
  class_names: tuple[str, ...] = ()
  preprocessing: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  passport: Optional[Mapping[str, Any]] = None


@dataclasses.dataclass(frozen=True)
class DatasetOptions:
  """What a data set's `load` may need to know; each reads only what concerns it.

  Attributes:
    data_dir: folder searched for the original files, and where downloads go.
    seed: the run's seed, for generators and splits.
    data_file: the user's own file or folder.
    client_column, label_column: columns of tables; several labels with commas between them.
    columns: roles of columns, `name:role,name:role`.
    separator, decimal, encoding, header: how CSVs are written; None is found out.
    missing: texts in CSVs for missing values, with commas between them.
    partition: the scheme by which clients are made, None where the user names none.
    alpha, beta: parameters of the synthetic generators.
    num_clients: number of clients of the synthetic generators.
    sequence_length: characters (or words) per example of text; None for the data set's usual
      length.
    folder_levels, image_size, image_colour: of pictures in folders, as in
      `settings.own_files.OwnFiles`.
    text_column, tokens, vocabulary_size: of text, likewise.
    window_length, window_stride, window_label, time_column: of windows of a time series, likewise.
  """

  data_dir: str
  seed: int = 0
  data_file: Optional[str] = None
  client_column: Optional[str] = None
  label_column: Optional[str] = None
  columns: Optional[str] = None
  separator: Optional[str] = None
  decimal: Optional[str] = None
  encoding: Optional[str] = None
  header: Optional[str] = None
  missing: Optional[str] = None
  partition: Optional[str] = None
  alpha: float = 0.0
  beta: float = 0.0
  num_clients: int = 30
  sequence_length: Optional[int] = None
  folder_levels: Optional[str] = None
  image_size: Optional[int] = None
  image_colour: Optional[str] = None
  text_column: Optional[str] = None
  tokens: Optional[str] = None
  vocabulary_size: Optional[int] = None
  window_length: Optional[int] = None
  window_stride: Optional[int] = None
  window_label: Optional[str] = None
  time_column: Optional[str] = None
