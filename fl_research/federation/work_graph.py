"""The engine's side of the clients' half: its graph, what the server sends, and what is sent back.

`work` of `fl_research.round.split` is taken apart as the fused runtime does it: a step at the
server, which gives what is broadcast, and a step at the clients, which sites run.
"""

from collections.abc import Sequence
import itertools
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from fl_research.federation.client_graph import ClientGraph, DATA, Input, SERVER, STATE, TESTED
from fl_research.models import model as model_lib
from fl_research.round import client as client_lib
from fl_research.round import server_half, split, types
from fl_research.runtime import (
  chunks,
  client_loop,
  expressions,
  flat_function,
  graph_functions,
  python_values,
  server_steps,
)
from fl_research.runtime import program as programs


class WorkGraph:
  """What clients do in a round of a process.

  Args:
    process: a process in two halves.

  Attributes:
    graph: for the sites.
  """

  def __init__(self, process: split.SplitProcess):
    self._process = process
    with graph_functions.pieces() as self._pieces:
      program = programs.program_of(process.work)
      before, at_clients = program.steps[:2]
      self._server = server_steps.server_function(program, before)
      self._loop = client_loop.ClientLoop(program, at_clients)
      function = self._loop.function()
    self._program, self._before = program, before
    self._state_type = process.start.type_signature.result.member
    state, *self._at_clients = [key for key, _ in program.parameters]
    self._state_key = state
    sent_key = _name_of(program.result[0])
    self._sent = server_steps.ClientShape(process.work.type_signature.result[0])
    self.graph = ClientGraph(
      'work',
      function.exported(),
      self._inputs(),
      self._places(sent_key),
      names=self._names(),
    )

  def _inputs(self) -> tuple[Input, ...]:
    origins = dict(zip(self._at_clients, (DATA, STATE)))
    return tuple(self._input(key, origins.get(key, SERVER)) for key in self._loop.inputs)

  def _input(self, key: programs.Key, origin: str) -> Input:
    member = server_steps.member_of(self._program.types[key])
    specs = tuple(graph_functions.leaf_spec(leaf) for leaf in graph_functions.leaf_types(member))
    names = chunks.type_names(member) if origin != SERVER else [''] * len(specs)
    return Input(origin, tuple(names), specs)

  def _places(self, sent_key: programs.Key) -> tuple[int, ...]:
    """Which of the graph's results hold what is sent."""
    places: tuple[int, ...] = ()
    begin = 0
    for key, shape in zip(self._loop.step.outputs, self._loop.output_shapes):
      if key == sent_key:
        places = tuple(range(begin, begin + len(shape.specs)))
      begin += len(shape.specs)
    return places

  def _names(self) -> tuple[str, ...]:
    """The path in R of each result that is sent, of which a leaf may be several."""
    leaves = zip(chunks.type_names(self._sent.type), self._sent.layouts, strict=True)
    return tuple(name for name, layout in leaves for _ in layout.specs)

  def initial_client_state(self) -> list[np.ndarray]:
    """The state of a client that has never taken part, in the order of the graph's input."""
    process = self._process
    if not process.keeps_client_state:
      return []
    leaves = python_values.flatten(process.initial_client_state, process.client_state_type)
    return [np.asarray(leaf) for leaf in leaves]

  def server_arrays(self, state: Any) -> list[np.ndarray]:
    """What is broadcast from a state of the server."""
    leaves = python_values.flatten(state, self._state_type)
    kinds = graph_functions.leaf_types(self._state_type)
    tensors = {
      self._state_key: [python_values.as_tensor(*both) for both in zip(leaves, kinds)],
    }
    given = [tensor for key in self._before.inputs for tensor in tensors[key]]
    shapes = [server_steps.shape_of(self._program, key) for key in self._before.outputs]
    outputs = server_steps.split(shapes, self._server(*given))
    tensors.update(zip(self._before.outputs, outputs))
    keys = [key for key in self._loop.inputs if key not in self._at_clients]
    return [np.asarray(tensor) for key in keys for tensor in tensors[key]]

  def results(self, arrays: Sequence[np.ndarray]) -> list[Any]:
    """What each client of a site has sent: its R.

    Raises:
      ValueError: the arrays are not those of results.
    """
    specs = self._sent.specs
    fits = len(arrays) == len(specs) and all(
      spec.is_compatible_with(tf.TensorSpec(array.shape, array.dtype))
      for array, spec in zip(arrays, specs)
    )
    if not fits:
      raise ValueError('what was sent is not of the type that the graph gives')
    rows = self._sent.rows([tf.constant(array) for array in arrays])
    kind = self._sent.type
    packed = (expressions.pack(kind, iter(row)) for row in rows)
    return [tff.types.type_to_py_container(value, kind) for value in packed]


def _name_of(block: Any) -> programs.Key:
  if not isinstance(block, tff.framework.Reference):
    raise expressions.NotReducible(f'a result of `work` is a {type(block).__name__}')
  return block.name


def evaluation_graph(model: model_lib.Model) -> ClientGraph:
  """(weights, x, y) -> numbers per example, float32 [n, k]."""
  weights = [tf.TensorSpec(w.shape, w.dtype) for w in model.initial_weights[0]]
  x, y = model.input_spec
  rows = [tf.TensorSpec([None, *spec.shape[1:]], spec.dtype) for spec in (x, y)]
  names: list[str] = []

  def evaluate(*tensors):
    *own, inputs, labels = tensors
    output = model.predict_on_batch((tuple(own), ()), inputs, False)
    columns = model.example_metrics(output, labels)
    names[:] = list(columns)
    return [tf.stack(list(columns.values()), axis=1)]

  function = flat_function.FlatFunction(evaluate, [*weights, *rows])
  inputs = (
    Input(SERVER, tuple(itertools.repeat('', len(weights))), tuple(weights)),
    Input(DATA, ('x', 'y'), tuple(rows)),
  )
  return ClientGraph('evaluate', function.exported(), inputs, (0,), tuple(names))


def own_evaluation_graph(process: split.SplitProcess) -> ClientGraph:
  """What each client would use (`Method.predictor`), evaluated on its own test examples.

  (server's part of S, T, D of one epoch, x, y) -> numbers per example, float32 [n, k]
  """
  model, optimizer = process.parts.model, process.parts.client_optimizer
  kinds = {SERVER: _server_type(process), STATE: process.client_state_type}
  kinds[DATA] = types.client_data_type(model)
  specs = {
    origin: [graph_functions.leaf_spec(leaf) for leaf in graph_functions.leaf_types(kind)]
    for origin, kind in kinds.items()
  }
  x, y = model.input_spec
  specs[TESTED] = [tf.TensorSpec([None, *spec.shape[1:]], spec.dtype) for spec in (x, y)]
  names: list[str] = []

  def evaluate(*tensors):
    rest = iter(tensors)
    own = {origin: list(itertools.islice(rest, len(of))) for origin, of in specs.items()}
    values = {
      origin: tff.types.type_to_py_container(expressions.pack(kind, iter(own[origin])), kind)
      for origin, kind in kinds.items()
    }
    client = client_lib.Client(model, optimizer, values[DATA], values[STATE]['method'])
    predictor = process.method.predictor(server_half.server_of(values[SERVER]), client)
    inputs, labels = own[TESTED]
    columns = model.example_metrics(predictor(inputs), labels)
    names[:] = list(columns)
    return [tf.stack(list(columns.values()), axis=1)]

  function = flat_function.FlatFunction(evaluate, [spec for of in specs.values() for spec in of])
  paths = {DATA: chunks.type_names(kinds[DATA]), TESTED: ['x', 'y']}
  inputs = tuple(
    Input(origin, tuple(paths.get(origin, itertools.repeat('', len(of)))), tuple(of))
    for origin, of in specs.items()
  )
  return ClientGraph('evaluate_own', function.exported(), inputs, (0,), tuple(names))


def server_leaves(process: split.SplitProcess, state: Any) -> list[np.ndarray]:
  """What that graph is given of a state of the server."""
  leaves = python_values.flatten(state['server'], _server_type(process))
  return [np.asarray(leaf) for leaf in leaves]


def _server_type(process: split.SplitProcess) -> tff.Type:
  return process.start.type_signature.result.member['server']
