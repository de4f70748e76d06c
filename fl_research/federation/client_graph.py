"""The clients' half of a round as a graph that another machine runs, named by its hash.

It is the loop of the fused runtime over `work` of `fl_research.round.split`: it takes what the
server sends, the clients' D and what they keep, and gives what each of them sends (R) and what it
will keep (T). Of its inputs a site is told which is which; names of tensors, and bytes, differ from
one tracing to the next, so that the same run ships the same graph, however often it is resumed.

Reading a graph needs no TFF.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import tensorflow as tf

from fl_research.federation import messages
from fl_research.runtime import flat_function

SERVER, DATA, STATE, TESTED = 'server', 'data', 'state', 'tested'
"""Where an input of the graph comes from: the message, the client's data, what it keeps; and, where
a client is tested with what it would use, the examples that it is tested on."""

SUMS, MEASURES = '/facts/sums', '/facts/measures'
"""Parts of what is sent: sums of metrics of training, of which a site that withholds them says
zeros, as if nothing had been trained on; and the method's own numbers, of which it says NaN."""

HELD = ('results', 'factors')
"""And of the graph that comes after: what the one before has made, and a factor for each client."""


@dataclasses.dataclass(frozen=True)
class Input:
  """One input.

  Attributes:
    origin: `SERVER`, `DATA`, `STATE`, `TESTED`, or one of `HELD`.
    names: the paths of the leaves of a value at a client, in the order of the type; of what the
      server sends just a name for each.
    specs: their types.
  """

  origin: str
  names: tuple[str, ...]
  specs: tuple[tf.TensorSpec, ...]

  def to_data(self) -> dict[str, Any]:
    """All of it, as JSON has it."""
    specs = [[spec.dtype.name, spec.shape.as_list()] for spec in self.specs]
    return {'origin': self.origin, 'names': list(self.names), 'specs': specs}

  @classmethod
  def from_data(cls, data: Mapping[str, Any]) -> 'Input':
    """The input whose `to_data` gave this."""
    specs = tuple(tf.TensorSpec(shape, tf.as_dtype(dtype)) for dtype, shape in data['specs'])
    return cls(data['origin'], tuple(data['names']), specs)


@dataclasses.dataclass(frozen=True)
class ClientGraph:
  """A graph on its way.

  Attributes:
    purpose: what it is for: `work`, `combine`, `evaluate`, `evaluate_own`.
    function: the function, for a process that has TensorFlow.
    inputs: of the function, besides the place and the number of the clients that `work` begins
      with.
    sent: which of its results are sent; the others are kept.
    columns: of an evaluation, what the columns of its result are.
    largest: of terms of secure sums, the results that are not sent, the greatest of each.
    names: of what is sent of clients, the path in R of each result.
  """

  purpose: str
  function: flat_function.Exported
  inputs: tuple[Input, ...]
  sent: tuple[int, ...]
  columns: tuple[str, ...] = ()
  names: tuple[str, ...] = ()
  largest: tuple[int, ...] = ()

  @property
  def tests_clients(self) -> bool:
    """Whether it evaluates what each client would use, and not one model for all."""
    return any(each.origin == TESTED for each in self.inputs)

  def named(self, beginning: str) -> tuple[int, ...]:
    """Which of its results are in a part of what is sent, by how their names begin."""
    return tuple(place for place, name in zip(self.sent, self.names) if name.startswith(beginning))

  @property
  def hash(self) -> str:
    """What names it: SHA-256 of the library, of what it holds, and of how it is used."""
    digest = hashlib.sha256(self.function.library)
    for array in self.function.captured:
      digest.update(array.tobytes())
    digest.update(json.dumps(self._facts(), sort_keys=True).encode())
    return digest.hexdigest()

  @property
  def hash_of_library(self) -> str:
    """SHA-256 of the library alone: what an owner's approval names."""
    return hashlib.sha256(self.function.library).hexdigest()

  def operations(self) -> tuple[str, ...]:
    """The names of all operations in it, sorted."""
    graph = tf.compat.v1.GraphDef()
    graph.library.ParseFromString(self.function.library)
    functions = graph.library.function
    names = {function.signature.name for function in functions}
    found = {node.op for function in functions for node in function.node_def}
    return tuple(sorted(found - names))

  def _facts(self) -> dict[str, Any]:
    return {
      'purpose': self.purpose,
      'name': self.function.name,
      'outputs': self.function.outputs,
      'inputs': [each.to_data() for each in self.inputs],
      'sent': list(self.sent),
      'columns': list(self.columns),
      'names': list(self.names),
      'largest': list(self.largest),
    }

  def to_message(self, run: str) -> messages.Message:
    """It as a message to a site."""
    library = np.frombuffer(self.function.library, np.uint8)
    arrays = {'library': [library], 'captured': list(self.function.captured)}
    return messages.Message('graph', {'run': run, 'graph': self._facts()}, arrays)

  @classmethod
  def from_message(cls, message: messages.Message) -> 'ClientGraph':
    """The graph of such a message.

    Raises:
      MessageError: it is none.
    """
    facts, library = message['graph'], message.array('library').tobytes()
    try:
      function = flat_function.Exported(
        library, str(facts['name']), int(facts['outputs']), tuple(message.arrays['captured'])
      )
      inputs = tuple(Input.from_data(each) for each in facts['inputs'])
      numbers = lambda name: tuple(map(int, facts[name]))
      columns = tuple(map(str, facts['columns']))
      return cls(
        str(facts['purpose']),
        function,
        inputs,
        numbers('sent'),
        columns,
        tuple(map(str, facts['names'])),
        numbers('largest'),
      )
    except (KeyError, TypeError, ValueError) as error:
      raise messages.MessageError(f'graph: {error}') from error


def server_tensors(
  inputs: Sequence[Input], arrays: Sequence[np.ndarray]
) -> dict[int, list[tf.Tensor]]:
  """What the server sent, by the number of the input.

  Raises:
    MessageError: the arrays are not of the inputs' types.
  """
  found, rest = {}, list(arrays)
  for number, each in enumerate(inputs):
    if each.origin != SERVER:
      continue
    own, rest = rest[: len(each.specs)], rest[len(each.specs) :]
    fits = len(own) == len(each.specs) and all(
      spec.is_compatible_with(tf.TensorSpec(array.shape, array.dtype))
      for array, spec in zip(own, each.specs)
    )
    if not fits:
      raise messages.MessageError('server: the arrays are not those that the graph takes')
    found[number] = [tf.constant(array, spec.dtype) for array, spec in zip(own, each.specs)]
  if rest:
    raise messages.MessageError('server: more arrays than the graph takes')
  return found
