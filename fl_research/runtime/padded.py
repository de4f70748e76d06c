"""The loop over a chunk's clients compiled by XLA, which needs every shape to be known.

XLA makes one program out of the loop, which pays where a client's steps are tiny, and compiles it
anew for every shape. So what differs from cohort to cohort is padded to sizes that only ever grow,
by doubling: the number of clients, in all and in a chunk, of examples, of batches, and of batches
of the largest client.

Padding must not change what a client computes. That holds for data of the form

    <examples=<T[?,...], ...>, batches=int32[?,B], ...>

(`fl_research.client_data`) and work that keeps its contract: examples are read only through the row
indices in `batches`, and batches of -1 alone, which come last, change nothing. Each client then
sees the whole cohort's examples, with the indices in its own batches shifted, and more batches of
-1. Every other tensor of a client must have a fixed shape. `jit='on'` relies on the contract;
`'auto'` also compares the results.
"""

from collections.abc import Sequence
import dataclasses
from typing import Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import aligned
from fl_research.runtime import (
  client_loop,
  expressions,
  flat_function,
  graph_functions,
  layouts,
  server_steps,
)

EXAMPLES = 'examples'
BATCHES = 'batches'


@dataclasses.dataclass
class Sizes:
  """To how much a cohort is padded; only grows."""

  clients: int = 1
  clients_of_chunk: int = 1
  rows: int = 1
  batches: int = 1
  largest: int = 1

  def grow(self, needed: 'Sizes') -> bool:
    """Makes room for `needed`, and some more wherever any is short; returns whether any was."""
    wanted, own = dataclasses.astuple(needed), dataclasses.astuple(self)
    if all(have >= want for have, want in zip(own, wanted)):
      return False
    names = (field.name for field in dataclasses.fields(self))
    for name, have, want in zip(names, own, wanted):
      setattr(self, name, max(have, _power_of_two(1.4 * want)))
    return True


def _power_of_two(number: float) -> int:
  return 1 << max(0, int(np.ceil(np.log2(number))))


class PaddedShape:
  """The tensors of a client-placed value whose shapes XLA can know.

  Raises:
    NotReducible: some leaf has unknown dimensions and is neither examples nor batches.
  """

  def __init__(self, type_signature):
    self.type = server_steps.member_of(type_signature)
    self._roles = _roles(self.type)
    leaf_types = graph_functions.leaf_types(self.type)
    self._layouts = [layouts.layout_of(graph_functions.leaf_spec(leaf)) for leaf in leaf_types]
    for role, layout, leaf in zip(self._roles, self._layouts, leaf_types):
      if not isinstance(layout, layouts.Rows if role else layouts.Fixed):
        raise expressions.NotReducible(f'a client has a leaf {leaf} of unknown shape')
    self.specs = [spec for layout in self._layouts for spec in layout.specs]

  def needed(self, leaves: Sequence[layouts.RawLeaf]) -> Sizes:
    """What room the leaves of a cohort's clients need."""
    sizes = Sizes()
    for role, leaf in zip(self._roles, leaves):
      if role:
        lengths = [shape[0] for shape in leaf.shapes]
        if role == EXAMPLES:
          sizes.rows = max(sizes.rows, sum(lengths))
        else:
          sizes.batches = max(sizes.batches, sum(lengths))
          sizes.largest = max(sizes.largest, *lengths)
    return sizes

  def arrange(self, leaves: Sequence[layouts.RawLeaf], sizes: Sizes) -> list[tf.Tensor]:
    """The padded tensors for the leaves of a cohort's clients."""
    tensors = []
    for role, layout, leaf in zip(self._roles, self._layouts, leaves):
      # A client's window of batches may reach past the last one: room for it is there.
      rows = {EXAMPLES: sizes.rows, BATCHES: sizes.batches + sizes.largest, None: sizes.clients}
      tensors.append(layouts.to_tensor(_pad(leaf, layout, rows[role]), layout.spec.dtype))
      if role:
        bounds = layouts.bounds_of([len(part) for part in leaf.parts])
        missing = sizes.clients - len(leaf.parts)
        tensors.append(tf.constant(np.pad(bounds, [(0, missing), (0, 0)])))
    return tensors

  def take(self, tensors: Sequence[tf.Tensor], index: tf.Tensor, largest: tf.Tensor):
    """In a graph: the value at the client at `index`, with `largest` batches."""
    parts = server_steps.split(self._layouts, tensors)
    first_row = None
    for role, own in zip(self._roles, parts):
      if role == EXAMPLES:
        first_row = tf.cast(tf.gather(own[1], index)[0], tf.int32)
    leaves = []
    for role, own in zip(self._roles, parts):
      if role == BATCHES:
        leaves.append(_window(own, index, largest, first_row))
      else:
        leaves.append(own[0] if role else tf.gather(own[0], index))
    return expressions.pack(self.type, iter(leaves))


def _pad(leaf: layouts.RawLeaf, layout, rows: int) -> np.ndarray:
  tail = layout.spec.shape[1:] if isinstance(layout, layouts.Rows) else layout.spec.shape
  width = int(np.prod(tail.as_list()))
  elements = leaf.joined()
  padded = aligned.empty(rows * width, elements.dtype)
  padded[: elements.size] = elements
  padded[elements.size :] = 0
  return padded.reshape(rows, *tail)


def _window(own: Sequence[tf.Tensor], index, largest, first_row) -> tf.Tensor:
  """A client's batches with their rows shifted to the cohort's, then -1 up to `largest`."""
  batches, bounds = own
  start, end = tf.unstack(tf.cast(tf.gather(bounds, index), tf.int32))
  step = tf.range(largest)
  # A gather and no slice: XLA would compile anew for every value of a slice's start.
  window = tf.gather(batches, start + step)
  mine = step[:, tf.newaxis] < end - start
  return tf.where(tf.logical_and(mine, window >= 0), window + first_row, -1)


def _roles(type_signature, role: Optional[str] = None) -> list[Optional[str]]:
  """For each leaf `EXAMPLES`, `BATCHES` or None."""
  if not isinstance(type_signature, tff.StructType):
    return [role]
  names = tff.structure.name_list_with_nones(type_signature)
  paired = EXAMPLES in names and BATCHES in names
  roles = []
  for name, member in tff.structure.iter_elements(type_signature):
    own = name if paired and name in (EXAMPLES, BATCHES) else role
    roles += _roles(member, own)
  return roles


class PaddedLoop:
  """`client_loop.ClientLoop` compiled by XLA over padded tensors.

  Attributes:
    compilations: how many shapes XLA has compiled, or will on the next run.

  Raises:
    NotReducible: the loop's inputs or outputs have shapes that padding cannot fix.
  """

  def __init__(self, loop: client_loop.ClientLoop):
    self._loop = loop
    program = loop.program
    if any(key in program.at_clients and key not in loop.arguments for key in loop.inputs):
      raise expressions.NotReducible('its clients keep values from one step to the next')
    self._shapes = [
      PaddedShape(program.types[key]) if key in program.at_clients else shape
      for key, shape in zip(loop.inputs, loop.shapes)
    ]
    self._collectors = [_fixed(leaf) for leaf in _collected_types(loop)]
    for spec in server_steps.signature_of(loop.folded_shapes):
      if not spec.shape.is_fully_defined():
        raise expressions.NotReducible(f'an accumulator has the unknown shape {spec.shape}')
    self._sizes = Sizes()
    self.compilations = 0
    number, room = tf.TensorSpec([], tf.int32), tf.TensorSpec([None], tf.int8)
    signature = [number, number, room, room, *server_steps.signature_of(self._shapes)]
    self._function = flat_function.FlatFunction(self._build, signature, jit=True)
    self._operations = self._function.operations()
    if 'Assert' in self._operations:
      raise expressions.NotReducible('it makes assertions, which XLA would leave out')

  @property
  def worth_a_trial(self) -> bool:
    """Whether XLA may be faster.

    On processors its gradient of a convolution takes tens of times as long as TensorFlow's, and a
    trial of it many seconds.
    """
    if tf.config.list_physical_devices('GPU'):
      return True
    return 'Conv2DBackpropFilter' not in self._operations

  def _build(self, first, count, client_room, batch_room, *tensors):
    at_clients = self._loop.program.at_clients
    parts = list(zip(self._loop.inputs, self._shapes, server_steps.split(self._shapes, tensors)))
    known = {key: shape.value(own) for key, shape, own in parts if key not in at_clients}

    def take(index):
      # XLA knows an input's shape where it compiles: sizes come in as the shapes of empty rooms.
      largest = tf.shape(batch_room)[0]
      place = first + index
      return {k: shape.take(own, place, largest) for k, shape, own in parts if k in at_clients}

    capacity = tf.shape(client_room)[0]
    return self._loop.build(count, capacity, known, take, self._collectors)

  def arrange(self, counts: Sequence[int], inputs: Sequence) -> list[tf.Tensor]:
    """The padded tensors of a call, for `run`; makes room for them first.

    Args:
      counts: number of clients of each chunk.
      inputs: for each input, the tensors at the server or the leaves at the clients.
    """
    sizes = self._sizes
    needed = [Sizes(sum(counts), max(counts))]
    parts = list(zip(self._shapes, inputs))
    needed += [shape.needed(own) for shape, own in parts if isinstance(shape, PaddedShape)]
    columns = zip(*(dataclasses.astuple(each) for each in needed))
    self.compilations += sizes.grow(Sizes(*map(max, columns)))
    tensors = [tf.zeros([size], tf.int8) for size in (sizes.clients_of_chunk, sizes.largest)]
    for shape, own in parts:
      tensors += shape.arrange(own, sizes) if isinstance(shape, PaddedShape) else own
    return tensors

  def run(self, first: int, count: int, arranged: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The results of `ClientLoop`'s function for so many clients from the first one on."""
    results = self._function(tf.constant(first), tf.constant(count), *arranged)
    folded = len(results) - len(self._collectors)
    unpadded = list(results[:folded])
    for layout, padded in zip(self._loop.collectors, results[folded:]):
      rows = tf.constant(padded.numpy()[:count])  # A fifth of what slicing the tensor takes.
      if isinstance(layout, layouts.JoinedRows):
        rows = tf.reshape(rows, [-1, *rows.shape[2:]])
      unpadded.append(rows)
    return unpadded


def _collected_types(loop: client_loop.ClientLoop) -> list[tff.Type]:
  """The types of the leaves that the loop collects: rows to join as each client gives them."""
  types = []
  for aggregation in loop.joined:
    types += graph_functions.leaf_types(server_steps.member_of(aggregation.value.type_signature))
  for shape in loop.output_shapes:
    types += graph_functions.leaf_types(shape.type)
  return types


def _fixed(leaf_type) -> layouts.Fixed:
  layout = layouts.layout_of(graph_functions.leaf_spec(leaf_type))
  if not isinstance(layout, layouts.Fixed):
    raise expressions.NotReducible(f'its clients hand on a leaf {leaf_type} of unknown shape')
  return layout
