"""What a site says of a model, or of the models that its clients would use: sums over tests."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from fl_research import metrics
from fl_research.datasets.federated_data import Examples
from fl_research.federation import client_graph, site_run
from fl_research.federation.client_graph import DATA
from fl_research.federation.site_data import SiteData

_EXAMPLES_PER_STEP = 256


def evaluated(
  data: SiteData, run: site_run.Run, graph_hash: str, server: Sequence[np.ndarray]
) -> dict[str, list[np.ndarray]]:
  """The answer's arrays.

  Args:
    data: the site's.
    run: the run.
    graph_hash: of the graph that evaluates.
    server: what it takes of the server.
  """
  graph, function = run.graphs[graph_hash]
  given = client_graph.server_tensors(graph.inputs, server)
  weights = [tensor for number in sorted(given) for tensor in given[number]]
  spec, tests = data.spec, data.tests
  pooled, sizes = tests.pooled(), np.asarray(tests.sizes, np.int64)
  if graph.tests_clients:
    columns, sizes = _own_columns(data, run, graph, function, weights)
    trains = np.repeat(sizes > 0, tests.sizes)
    pooled = {name: values[trains] for name, values in pooled.items()}
  else:
    columns = _columns(function, weights, graph, pooled)
  table = metrics.per_client(spec.problem, columns, pooled['y'], sizes)
  client = np.repeat(np.arange(len(sizes)), sizes)
  names = metrics.sum_names(spec.problem, spec.num_classes)
  sums = [np.bincount(client, columns[name], len(sizes)) for name in names]
  values = [table[name] for name in metrics.names(spec.problem, spec.num_classes)]
  return {
    'sizes': [sizes],
    'sums': [np.stack(sums, axis=1)],
    'metrics': [np.stack(values, axis=1)],
    'further': [metrics.further_sums(spec.problem, columns, pooled['y'])],
  }


def _own_columns(
  data: SiteData,
  run: site_run.Run,
  graph: client_graph.ClientGraph,
  function: Callable[..., Any],
  server: Sequence[tf.Tensor],
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Numbers per example of what tested clients would use, and of how many of each.

  Of those that do not train, and so have no model of their own, there are none.
  """
  tests, parts, sizes = data.tests, [], np.zeros(len(data.tests), np.int64)
  place_of = {own: place for place, own in enumerate(data.train.ids)}
  names = [each.names for each in graph.inputs if each.origin == DATA]
  for number, own in enumerate(tests.ids):
    if own not in place_of:
      continue
    position = run.source.position(place_of[own])
    state = run.states.get([position])[0] if run.states is not None else []
    client = run.source.outside_rounds(position, **run.facts)
    known = [*server, *state, *(_at(client, path) for path in names[0])]
    examples = tests.examples(number)
    parts.append(_columns(function, known, graph, examples))
    sizes[number] = len(examples['y'])
  joined = lambda name: np.concatenate([np.zeros(0), *(part[name] for part in parts)])
  return {name: joined(name) for name in graph.columns}, sizes


def _at(value: Any, path: str) -> np.ndarray:
  """What is at a path, `/examples/x`, of nested mappings."""
  for name in path.split('/')[1:]:
    value = value[name]
  return np.asarray(value)


def _columns(
  function: Callable[..., Any],
  given: Sequence[Any],
  graph: client_graph.ClientGraph,
  examples: Examples,
) -> dict[str, np.ndarray]:
  """Numbers per example, float64 [n] by name."""
  known = [tf.constant(each) for each in given]
  parts = [np.zeros([0, len(graph.columns)], np.float32)]
  for first in range(0, len(examples['y']), _EXAMPLES_PER_STEP):
    rows = slice(first, first + _EXAMPLES_PER_STEP)
    own = [tf.constant(examples['x'][rows]), tf.constant(examples['y'][rows])]
    parts.append(np.asarray(function(*known, *own)[0]))
  values = np.concatenate(parts).astype(np.float64)
  return {name: values[:, number] for number, name in enumerate(graph.columns)}
