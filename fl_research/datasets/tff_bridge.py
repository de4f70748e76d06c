"""The bridge between `Clients` and TensorFlow Federated's `tff.simulation.datasets.ClientData`.

One way, `from_client_data` makes any of TFF's data sets usable here, a client being read when it is
asked for; the other way, `to_client_data` hands our clients to TFF's own learning processes. The
rest is what the data sets that TFF publishes as SQLite databases have in common.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import contextlib
import lzma
import pathlib
import sqlite3
from typing import Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import random_streams
from fl_research.datasets import files
from fl_research.datasets.federated_data import Clients, ContiguousClients, Examples
from fl_research.registry import UsageError

FOLDER = 'tff'
URL = 'https://storage.googleapis.com/tff-datasets-public/'
# Larger than any client: `batch` reserves memory for the examples there are.
_ALL = np.iinfo(np.int32).max

Convert = Callable[[Mapping[str, np.ndarray]], Examples]
"""From one client's examples as TFF has them (a stacked array per feature) to `x` and `y`."""


def from_client_data(
  client_data: tff.simulation.datasets.ClientData,
  convert: Convert,
  sizes: Optional[np.ndarray] = None,
  most_examples: Optional[int] = None,
) -> Clients:
  """Our view of TFF's clients; nothing is read yet.

  Args:
    client_data: TFF's clients, whose examples are dictionaries of tensors that can be stacked.
    convert: makes `x` and `y` of a client's examples.
    sizes: int64 [num_clients] number of examples that `convert` returns for each client, before
      `most_examples` is applied. When None, every client is read once when sizes are first asked
      for.
    most_examples: read only so many of a client's examples, the first ones.

  Returns:
    Clients in the order of `client_data.client_ids`.
  """
  return _TffClients(client_data, convert, sizes, most_examples)


def to_client_data(clients: Clients) -> tff.simulation.datasets.ClientData:
  """TFF's view of our clients: data sets of `OrderedDict(x=..., y=...)`, one example each.

  `create_tf_dataset_for_client` gives data sets that TFF's runtimes take anywhere. The traceable
  `serializable_dataset_fn` reads clients through a Python call, so computations made from it
  (`dataset_computation`) run in this process only, not in a worker's.

  Raises:
    ValueError: two clients have the same id, or there are none.
  """
  return _ClientDataOfClients(clients)


def read_all(clients: Clients) -> ContiguousClients:
  """Reads all clients into memory; for sets that are small or change size when converted."""
  parts = [clients.examples(position) for position in range(len(clients))]
  arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
  offsets = np.concatenate([[0], np.cumsum([len(part['y']) for part in parts])])
  return ContiguousClients(arrays, offsets, list(clients.ids))


def central_test(clients: Clients, most_examples: int, seed: int) -> Examples:
  """Examples of test clients for evaluation in one place, bounded.

  All of them where there are no more than `most_examples`; otherwise those of clients in an order
  drawn from the seed, until there are that many.
  """
  if clients.sizes.sum() <= most_examples:
    return clients.pooled()
  order = random_streams.generator(seed, 'central test').permutation(len(clients))
  needed = int(np.searchsorted(np.cumsum(clients.sizes[order]), most_examples)) + 1
  examples = clients.select(order[:needed].tolist()).pooled()
  return {key: array[:most_examples] for key, array in examples.items()}


def fetch_database(data_dir: str, file_name: str) -> pathlib.Path:
  """One of TFF's SQLite databases, where `tff.simulation.datasets` finds it in its folder.

  TFF's own download leaves half a file behind when it is cut off, and uses it from then on; ours
  renames only what is complete. TFF publishes no checksums of these files.

  Raises:
    UsageError: the file is not there and cannot be downloaded.
  """
  return files.fetch(
    data_dir,
    FOLDER,
    file_name,
    f'{URL}{file_name}.lzma',
    decompressor=lzma.LZMADecompressor(),
  )


def database_sizes(path: pathlib.Path, split: str) -> np.ndarray:
  """Numbers of examples of a split's clients, in the order of their sorted ids, as TFF has them.

  Raises:
    UsageError: the file is not a database of TFF's format, or has no such split.
  """
  query = 'SELECT client_id, num_examples FROM client_metadata WHERE split_name = ?'
  try:
    with contextlib.closing(sqlite3.connect(f'file:{path}?mode=ro', uri=True)) as connection:
      connection.execute('SELECT split_name, client_id, serialized_example_proto FROM examples')
      rows = sorted(connection.execute(query, (split,)))
  except sqlite3.Error as error:
    raise UsageError(
      f"{path}: not a database of TFF's format, or damaged ({files.one_line(error)})"
    ) from error
  if not rows:
    raise UsageError(f'{path}: has no clients of the split {split!r}')
  return np.array([num_examples for _, num_examples in rows], np.int64)


class _TffClients(Clients):
  """Clients read from a `ClientData` by one traced function, when asked for."""

  def __init__(
    self,
    client_data: tff.simulation.datasets.ClientData,
    convert: Convert,
    sizes: Optional[np.ndarray],
    most_examples: Optional[int],
  ):
    self._ids = list(client_data.client_ids)
    self._convert = convert
    self._sizes = sizes
    self._most_examples = most_examples
    self._read = _reader(client_data, most_examples)

  @property
  def ids(self) -> Sequence[str]:
    return self._ids

  @property
  def sizes(self) -> np.ndarray:
    if self._sizes is None:
      self._sizes = np.array([len(self.examples(k)['y']) for k in range(len(self))], np.int64)
    return np.minimum(self._sizes, self._most_examples or _ALL)

  def examples(self, position: int) -> Examples:
    try:
      stacked = self._read(tf.constant(self._ids[position]))
    except tf.errors.OpError as error:
      raise UsageError(
        f'client {self._ids[position]}: its examples cannot be read '
        f'({files.one_line(error.message)})'
      ) from error
    return self._convert({key: tensor.numpy() for key, tensor in stacked.items()})


def _reader(
  client_data: tff.simulation.datasets.ClientData, most_examples: Optional[int]
) -> Callable[[tf.Tensor], Mapping[str, tf.Tensor]]:
  """A function from a client's id to its stacked examples, traced once for all clients."""
  options = tf.data.Options()
  # Fused with a map, `batch` makes room for as many examples as it could hold, not as there are.
  options.experimental_optimization.apply_default_optimizations = False
  nothing = tf.nest.map_structure(
    lambda spec: tf.zeros([0, *spec.shape], spec.dtype), client_data.element_type_structure
  )

  @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
  def read(client_id):
    dataset = client_data.serializable_dataset_fn(client_id)
    if most_examples is not None:
      dataset = dataset.take(most_examples)
    # Unlike get_single_element, this allows for a client without examples.
    stacked = dataset.batch(_ALL).with_options(options)
    return stacked.reduce(nothing, lambda _, examples: examples)

  return read


class _ClientDataOfClients(tff.simulation.datasets.ClientData):
  """TFF's interface to our clients."""

  def __init__(self, clients: Clients):
    self._clients = clients
    self._ids = list(clients.ids)
    self._positions = {client_id: position for position, client_id in enumerate(self._ids)}
    if not self._ids or len(self._positions) < len(self._ids):
      raise ValueError('TFF needs at least one client, and ids that differ')
    self._element_spec = self.create_tf_dataset_for_client(self._ids[0]).element_spec

  @property
  def client_ids(self) -> list[str]:
    return self._ids

  @property
  def element_type_structure(self):
    return self._element_spec

  @property
  def serializable_dataset_fn(self):
    return self._traceable_dataset

  def create_tf_dataset_for_client(self, client_id: str) -> tf.data.Dataset:
    if client_id not in self._positions:
      raise ValueError(f'there is no client {client_id!r}')
    return tf.data.Dataset.from_tensor_slices(self._arrays(client_id))

  def _arrays(self, client_id: str) -> Mapping[str, np.ndarray]:
    examples = self._clients.examples(self._positions[client_id])
    return collections.OrderedDict((key, np.asarray(examples[key])) for key in sorted(examples))

  def _traceable_dataset(self, client_id) -> tf.data.Dataset:
    specs = tf.nest.flatten(self._element_spec)
    read = lambda raw: tf.nest.flatten(self._arrays(raw.decode()))
    flat = tf.numpy_function(read, [client_id], [spec.dtype for spec in specs])
    for array, spec in zip(flat, specs):
      array.set_shape([None, *spec.shape])
    return tf.data.Dataset.from_tensor_slices(tf.nest.pack_sequence_as(self._element_spec, flat))
