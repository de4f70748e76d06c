"""What the global model is worth to a client that may adapt it first.

Every client of a group shuffles its examples once, by the run's seed, adapts the global model by
SGD on the first part of them and is tested on the rest, before and after; nothing of it goes back
into training. Personalisation is judged as Wang, Mathews, Kiddon, Eichner, Beaufays, Ramage 2019,
"Federated Evaluation of On-device Personalization", do it; that the clients are others than those
that trained, and that each one's data are halved, is as in Wu et al. 2022, "Motley: Benchmarking
Heterogeneity and Personalization in Federated Learning".

The group are the held-out clients; without any, the clients that have test examples of their own,
which are then what is divided. Clients with fewer than two examples cannot take part.

Columns, with the statistics of `fl_research.metrics.distribution`, every client counting the same:

- `before_fine_tuning_clients/<metric>_<statistic>`: the global model on the second parts.
- `fine_tuned_clients/<metric>_<statistic>`: each client's adapted model on the same examples.
- `fine_tuned_clients/<metric>_worsened`: the share of clients whose metric became worse.

Differences from the paper:
1. Wang et al. evaluate in a deployment, on data that keep arriving; here each client's examples are
   divided once, by the run's seed, as in Wu et al.
"""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Optional

import numpy as np
import pandas as pd
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data, metrics, random_streams, runtime
from fl_research.aggregation import stacking
from fl_research.datasets.federated_data import Clients, Examples, Problem
from fl_research.models import model as model_lib
from fl_research.registry import UsageError
from fl_research.round import client as client_lib
from fl_research.round import types
from fl_research.settings import Settings
from fl_research.training.run_data import RunData

BEFORE, AFTER = 'before_fine_tuning', 'fine_tuned'
"""The two phases, as they are named in metrics.csv (with `_clients`) and clients.csv."""

WORSENED = 'worsened'
"""The statistic that only the second has."""


@dataclasses.dataclass(frozen=True)
class Plan:
  """How clients adapt the model.

  Attributes:
    epochs: passes over the part that a client adapts on, at least 1.
    learning_rate: of their SGD.
    batch_size: B, or `client_data.FULL_BATCH`.
    fraction: that part's share of a client's examples, in (0, 1); both parts have at least one.
    seed: the run's seed, which fixes the parts and the order of the batches.
  """

  epochs: int
  learning_rate: float
  batch_size: int
  fraction: float
  seed: int


def split(examples: Examples, plan: Plan, client: int) -> tuple[Examples, Examples]:
  """A client's examples in two parts: to adapt on, and to be tested on."""
  count = len(examples['y'])
  generator = random_streams.generator(plan.seed, 'fine tuning', client)
  order = generator.permutation(count)
  first = min(max(round(plan.fraction * count), 1), count - 1)
  part = lambda rows: {name: array[np.sort(rows)] for name, array in examples.items()}
  return part(order[:first]), part(order[first:])


def build_computation(
  model: model_lib.Model, optimizer: tff.learning.optimizers.Optimizer
) -> tuple[tff.Computation, list[str]]:
  """Adapts a model on every client's D and gives numbers per test example, before and after.

      (<float32[...]…@SERVER, {<data=D, test=<x=…, y=…>, first_row=int32>}@CLIENTS>
       -> <row=int32[?], before=float32[?,k], after=float32[?,k]>@SERVER)

  Args:
    model: the model.
    optimizer: what clients adapt it with.

  Returns:
    The computation, and the names of its k columns.
  """
  weights_type = tff.to_type([tff.TensorType(w.dtype, w.shape) for w in model.initial_weights[0]])
  data_type = types.client_data_type(model)
  client_type = tff.to_type(
    collections.OrderedDict(data=data_type, test=data_type['examples'], first_row=np.int32)
  )
  names: list[str] = []

  def columns_of(weights, test):
    output = model.predict_on_batch((weights, ()), test['x'], training=False)
    columns = model.example_metrics(output, test['y'])
    names[:] = list(columns)
    return tf.stack(list(columns.values()), axis=1)

  @tff.tensorflow.computation(weights_type, client_type)
  def adapt(weights, client):
    before = tuple(weights)
    adapted = client_lib.Client(model, optimizer, client['data']).train(before)
    test = client['test']
    return collections.OrderedDict(
      row=client['first_row'] + tf.range(tf.shape(test['y'])[0]),
      before=columns_of(before, test),
      after=columns_of(adapted.weights, test),
    )

  @tff.federated_computation(
    tff.FederatedType(weights_type, tff.SERVER), tff.FederatedType(client_type, tff.CLIENTS)
  )
  def evaluate(weights, clients):
    columns = tff.federated_map(adapt, (tff.federated_broadcast(weights), clients))
    return stacking.join_at_server(columns)

  return evaluate, names


class FineTuning:
  """Evaluates global models by what clients make of them (see the module's docstring).

  Args:
    model: the model.
    clients: the group; at least one of them has two examples.
    problem: what is predicted.
    plan: how they adapt the model.

  Attributes:
    ids: the clients with two examples or more, in the order of the tables.
  """

  def __init__(self, model: model_lib.Model, clients: Clients, problem: Problem, plan: Plan):
    self._problem = problem
    optimizer = tff.learning.optimizers.build_sgdm(plan.learning_rate)
    self._evaluate, self._names = build_computation(model, optimizer)
    positions = np.flatnonzero(np.asarray(clients.sizes) >= 2)
    self.ids = [clients.ids[position] for position in positions]
    inputs, labels = [], []
    first_row = 0
    for position in positions:
      adapt, test = split(clients.examples(int(position)), plan, int(position))
      inputs.append(_client(adapt, test, first_row, plan, int(position)))
      labels.append(np.asarray(test['y']))
      first_row += len(labels[-1])
    self._sizes = np.array([len(part) for part in labels], np.int64)
    self._labels = np.concatenate(labels)
    self._inputs = runtime.stack_clients(inputs)

  def evaluate(self, weights: Sequence[Any]) -> dict[str, pd.DataFrame]:
    """Metrics of every client by phase: `num_examples` and a column per metric."""
    joined = self._evaluate(list(weights), self._inputs)
    order = np.argsort(np.asarray(joined['row']))
    tables = {}
    for phase, part in ((BEFORE, 'before'), (AFTER, 'after')):
      values = np.asarray(joined[part])[order]
      columns = {name: values[:, i] for i, name in enumerate(self._names)}
      tables[phase] = metrics.per_client(self._problem, columns, self._labels, self._sizes)
    return tables


def shares_worsened(
  tables: Mapping[str, pd.DataFrame], distributed: Sequence[str]
) -> dict[str, float]:
  """The shares of clients made worse, as `<metric>_worsened`; NaN where there is none to compare.

  Args:
    tables: what `FineTuning.evaluate` gives.
    distributed: the metrics to compare.
  """
  shares = {}
  for metric in distributed:
    change = (tables[AFTER][metric] - tables[BEFORE][metric]).dropna()
    worse = change > 0 if metric in metrics.LOWER_IS_BETTER else change < 0
    shares[f'{metric}_{WORSENED}'] = float(worse.mean())
  return shares


def build(settings: Settings, model: model_lib.Model, data: RunData) -> Optional[FineTuning]:
  """What the settings ask for; None when they ask for nothing.

  Raises:
    UsageError: there are no clients that could adapt a model.
  """
  if not settings.fine_tune_epochs:
    return None
  clients = data.test_clients if data.held_out is None else data.held_out
  if clients is None or np.max(clients.sizes, initial=0) < 2:
    raise UsageError(
      f'--fine_tune_epochs={settings.fine_tune_epochs}: no clients with two examples to adapt on '
      'and be tested on; give --held_out_clients_fraction, or data with test examples by client'
    )
  plan = Plan(
    epochs=settings.fine_tune_epochs,
    learning_rate=settings.fine_tune_learning_rate,
    batch_size=settings.batch_size or client_data.FULL_BATCH,
    fraction=settings.fine_tune_fraction,
    seed=settings.seed,
  )
  return FineTuning(model, clients, data.problem, plan)


def _client(adapt: Examples, test: Examples, first_row: int, plan: Plan, client: int) -> Any:
  """One client's input of the computation."""
  data = client_data.client_data(
    adapt,
    batch_size=plan.batch_size,
    epochs=plan.epochs,
    seed=plan.seed,
    round_num=0,
    client=client,
  )
  return collections.OrderedDict(
    data=data,
    test=collections.OrderedDict(x=test['x'], y=test['y']),
    first_row=np.int32(first_row),
  )
