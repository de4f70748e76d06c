"""What is evaluated in a run: the central test set, clients' own test data, held-out clients.

- `eval/<metric>`: the central test set.
- `eval_clients/<metric>_<statistic>`: over the clients that have test examples of their own.
- `personal/…`, `global/…`, `global_clients/…`: for methods whose clients have models of their own,
  whose `eval/` is another number too (see `fl_research.training.personal_evaluation`).
- `held_out/<metric>`, `held_out_clients/…`: the clients that never train, for validation.
- `before_fine_tuning_clients/…`, `fine_tuned_clients/…`: clients that adapt the model (see
  `fl_research.training.fine_tuning`).
- `<name>/<metric>`: further example sets, such as an attack's triggered test examples, or
  `train_set`, all training examples: the global objective, where `train/` is what the cohort saw
  while it trained.

Statistics are those of `fl_research.metrics.distribution`; every client counts the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import pandas as pd

from fl_research import metrics
from fl_research.datasets.federated_data import Clients, Examples
from fl_research.round.process import FederatedProcess
from fl_research.settings import Settings
from fl_research.training import evaluation as evaluation_lib
from fl_research.training import fine_tuning as fine_tuning_lib
from fl_research.training import group_agreement, personal_evaluation
from fl_research.training import own_models as own_models_lib
from fl_research.training.run_data import RunData

Rows = list[dict[str, Any]]

STATISTICS = ('mean', 'sd', 'p10', 'p50', 'p90', 'worst10')


def long_rows(
  phase: str, ids: Sequence[str], num_examples: Sequence[float], values: Mapping[str, Any]
) -> Rows:
  """Rows of clients.csv (without `round`): one for each client and metric."""
  return [
    {
      'client_id': client_id,
      'phase': phase,
      'num_examples': int(count),
      'metric': name,
      'value': float(value),
    }
    for name, column in values.items()
    for client_id, count, value in zip(ids, num_examples, column)
  ]


class ModelEvaluation:
  """Evaluates the models of a run.

  Args:
    evaluator: computes numbers per example.
    data: the run's data.
    further: example sets to evaluate besides, by the name that heads their columns.
    fine_tuning: evaluates clients that adapt the global model; none do when None.
    personal: which of the clients' own models are evaluated; None where clients have none.

  Attributes:
    headline: what stands before the `/` of the columns that say how good the outcome is.
  """

  def __init__(
    self,
    evaluator: evaluation_lib.Evaluator,
    data: RunData,
    further: Optional[Mapping[str, Examples]] = None,
    fine_tuning: Optional[fine_tuning_lib.FineTuning] = None,
    personal: Optional[personal_evaluation.Plan] = None,
  ):
    self._evaluator = evaluator
    self._data = data
    self._fine_tuning = fine_tuning
    self._personal = personal
    sets = (further or {}).items()
    self._further = {name: evaluation_lib.ExampleSet(examples) for name, examples in sets}
    tested = data.test_clients if personal is None else personal.tested
    self._test_clients = _with_examples(tested)
    self._held_out = _with_examples(data.held_out)
    # Where the clients' test examples are the central ones, one pass serves both.
    self._shared = self._test_clients is not None and int(self._test_clients.sizes.sum()) == len(
      data.test['y']
    )
    self._test = None if self._shared else evaluation_lib.ExampleSet(data.test)
    self._by_client = _pool(self._test_clients)
    self._held_out_set = _pool(self._held_out)
    has_own = personal is not None and self._test_clients is not None
    self.headline = personal_evaluation.PERSONAL if has_own else 'eval'
    self._names = {group: self._names_of(group) for group in self._groups()}

  def columns(self) -> list[str]:
    """Names of the columns that `evaluate` fills."""
    return [f'{group}/{name}' for group, names in self._names.items() for name in names]

  @property
  def _knows_groups(self) -> bool:
    """Whether the clients that are tested on their own are of groups that they may find."""
    personal = self._personal
    return personal is not None and personal.group_of is not None and self.headline != 'eval'

  def _groups(self) -> Iterator[str]:
    """What stands before the `/` of columns that are filled together, in the order of the file."""
    if self.headline != 'eval':
      yield self.headline
    yield 'eval'
    if self._test_clients is not None:
      yield 'eval_clients'
    if self._personal is not None and self._personal.global_model:
      yield personal_evaluation.GLOBAL
      if self._test_clients is not None:
        yield f'{personal_evaluation.GLOBAL}_clients'
    if self._knows_groups:
      yield group_agreement.GROUP
    if self._held_out is not None:
      yield 'held_out'
      yield 'held_out_clients'
    yield from self._further
    if self._fine_tuning is not None:
      yield f'{fine_tuning_lib.BEFORE}_clients'
      yield f'{fine_tuning_lib.AFTER}_clients'

  def _names_of(self, group: str) -> list[str]:
    """What stands after the `/`."""
    if group == group_agreement.GROUP:
      return list(group_agreement.NAMES)
    if not group.endswith('_clients'):
      data = self._data
      return list(metrics.names(data.problem, data.num_classes, self._evaluator.class_scores))
    worsened = [fine_tuning_lib.WORSENED] if group.startswith(fine_tuning_lib.AFTER) else []
    return [f'{m}_{s}' for m in self._distributed() for s in [*STATISTICS, *worsened]]

  def _row(self, group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A group's columns, all that it has and no other, with these values."""
    return {f'{group}/{name}': values[name] for name in self._names[group]}

  def _distributed(self) -> list[str]:
    """The metrics whose distribution over clients is reported."""
    return metrics.distributed(self._data.problem, self._data.num_classes)

  def evaluate(
    self, weights: Sequence[Any], personal: Optional[own_models_lib.OwnModelsAt] = None
  ) -> tuple[dict[str, Any], Rows]:
    """Evaluates the global model, or everybody's own.

    Args:
      weights: the global model.
      personal: what each client would use, for methods in which that differs; held-out clients
        have the global model.

    Returns:
      Values by column, and the rows of clients.csv.
    """
    row: dict[str, Any] = {}
    rows: Rows = []
    if personal is not None:
      row.update(self._evaluate_personal(personal.columns, rows))
      if personal_evaluation.GLOBAL in self._names:
        row.update(self._evaluate_global(weights, rows, personal_evaluation.GLOBAL))
      if personal.choices is not None:
        row.update(self._agreement(personal.choices))
    else:
      row.update(self._evaluate_global(weights, rows, 'eval'))
    for prefix, examples in self._further.items():
      if personal is not None:
        row.update(self._mean_over_models(prefix, personal.columns, examples))
      else:
        row.update(
          self._metrics(prefix, self._evaluator.columns(weights, examples), examples.labels)
        )
    if self._held_out is not None and self._held_out_set is not None:
      columns = self._evaluator.columns(weights, self._held_out_set)
      row.update(self._metrics('held_out', columns, self._held_out_set.labels))
      table = self._table(columns, self._held_out_set.labels, self._held_out)
      row.update(self._clients('held_out', table, self._held_out.ids, rows))
    if self._fine_tuning is not None:
      row.update(self._fine_tune(self._fine_tuning, weights, rows))
    return row, rows

  def own_models(self, process: FederatedProcess, settings: Settings) -> Optional[Any]:
    """What gives, `at` a state, `personal` for `evaluate`; None where all clients use one model."""
    columns = own_models_lib.personal_evaluator(process, self._data.train, settings)
    if columns is None:
      return None
    if not self._knows_groups:
      return own_models_lib.OwnModels(columns)
    choice = group_agreement.choice_of(process.method)
    train = self._data.train
    return own_models_lib.OwnModels(
      columns, own_models_lib.PersonalEvaluator(process, train, settings, True, choice)
    )

  def _agreement(self, choices: own_models_lib.PersonalColumns) -> dict[str, Any]:
    """Of the clients that are tested, whether they use their groups' models."""
    plan, clients = self._personal, self._test_clients
    assert plan is not None and plan.group_of is not None and clients is not None
    groups = [plan.group_of[client_id] for client_id in clients.ids]
    one = evaluation_lib.ExampleSet({n: a[:1] for n, a in self._data.test.items()})
    numbers = choices([plan.positions[client_id] for client_id in clients.ids], one)
    chosen = [int(column[0]) for number in numbers for column in number.values()]
    return self._row(group_agreement.GROUP, group_agreement.values(chosen, groups))

  def _fine_tune(
    self, fine_tuning: fine_tuning_lib.FineTuning, weights: Sequence[Any], rows: Rows
  ) -> dict[str, Any]:
    tables = fine_tuning.evaluate(weights)
    row: dict[str, Any] = {}
    worsened = fine_tuning_lib.shares_worsened(tables, self._distributed())
    for phase, table in tables.items():
      row.update(self._clients(phase, table, fine_tuning.ids, rows, worsened))
    return row

  def _evaluate_global(self, weights: Sequence[Any], rows: Rows, phase: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    if self._test is not None:
      columns = self._evaluator.columns(weights, self._test)
      row.update(self._metrics(phase, columns, self._test.labels))
    if self._test_clients is not None and self._by_client is not None:
      columns = self._evaluator.columns(weights, self._by_client)
      if self._shared:
        row.update(self._metrics(phase, columns, self._by_client.labels))
      table = self._table(columns, self._by_client.labels, self._test_clients)
      row.update(self._clients(phase, table, self._test_clients.ids, rows))
    return row

  def _evaluate_personal(
    self, personal: own_models_lib.PersonalColumns, rows: Rows
  ) -> dict[str, Any]:
    test = self._test or self._by_client
    assert test is not None
    row = self._mean_over_models('eval', personal, test)
    if self._test_clients is not None and self._by_client is not None:
      clients, labels = self._test_clients, self._by_client.labels
      columns = self._on_own_examples(personal, clients)
      row.update(self._metrics(self.headline, columns, labels))
      table = self._table(columns, labels, clients)
      row.update(self._clients('eval', table, clients.ids, rows))
    return row

  def _on_own_examples(
    self, personal: own_models_lib.PersonalColumns, clients: Clients
  ) -> dict[str, np.ndarray]:
    """Numbers per example of all clients, each with its own model, examples ordered by client."""
    assert self._personal is not None and self._by_client is not None
    positions = [self._personal.positions[client_id] for client_id in clients.ids]
    parts = list(personal(positions, self._by_client, clients.sizes))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

  def _mean_over_models(
    self, prefix: str, personal: own_models_lib.PersonalColumns, examples: evaluation_lib.ExampleSet
  ) -> dict[str, Any]:
    """The mean over (some of the) training clients of each one's model on the same examples."""
    assert self._personal is not None
    by_model = [
      metrics.summarise(self._data.problem, columns, examples.labels)
      for columns in personal(self._personal.drawn.tolist(), examples)
    ]
    means = pd.DataFrame(by_model).mean()
    return self._row(prefix, {str(name): float(value) for name, value in means.items()})

  def _metrics(self, prefix: str, columns, labels: np.ndarray) -> dict[str, Any]:
    return self._row(prefix, metrics.summarise(self._data.problem, columns, labels))

  def _table(self, columns, labels: np.ndarray, clients: Clients) -> pd.DataFrame:
    return metrics.per_client(self._data.problem, columns, labels, clients.sizes)

  def _clients(
    self,
    phase: str,
    table: pd.DataFrame,
    ids: Sequence[str],
    rows: Rows,
    further: Optional[Mapping[str, float]] = None,
  ) -> dict[str, Any]:
    values = {name: table[name] for name in table if name != 'num_examples'}
    rows += long_rows(phase, list(ids), table['num_examples'], values)
    return self._distributions(phase, dict(table), further)

  def _distributions(
    self, phase: str, table: Mapping[Any, Any], further: Optional[Mapping[str, float]] = None
  ) -> dict[str, Any]:
    values = {
      f'{name}_{statistic}': value
      for name in self._distributed()
      for statistic, value in metrics.distribution(name, np.asarray(table[name])).items()
    }
    return self._row(f'{phase}_clients', {**values, **(further or {})})

  def answers(
    self, evaluator: evaluation_lib.Evaluator, weights: Sequence[Any]
  ) -> Optional[tuple[np.ndarray, np.ndarray]]:
    """The global model's outputs [n, k] on the central test set, and the labels.

    Args:
      evaluator: one that gives answers.
      weights: the global model.
    """
    test = self._test or self._by_client
    assert test is not None
    return _joined(evaluator.columns(weights, test)), test.labels

  def own_answers(
    self, personal: own_models_lib.PersonalColumns
  ) -> Optional[tuple[np.ndarray, np.ndarray]]:
    """What clients' own models put out on their own test examples [n, k], and the labels.

    Args:
      personal: gives each client's answers.

    Returns:
      None where no client that trains has test examples.
    """
    if self._test_clients is None or self._by_client is None:
      return None
    return _joined(self._on_own_examples(personal, self._test_clients)), self._by_client.labels


class NoEvaluation(ModelEvaluation):
  """Where nothing may be evaluated."""

  def __init__(self):
    self.headline = 'eval'

  def columns(self) -> list[str]:
    return []

  def own_models(self, process, settings):
    return None

  def evaluate(self, weights, personal=None):
    return {}, []

  def answers(self, evaluator, weights):
    return None

  def own_answers(self, personal):
    return None


def _joined(columns: Mapping[str, np.ndarray]) -> np.ndarray:
  """Columns side by side."""
  return np.stack(list(columns.values()), axis=1)


def _with_examples(clients: Optional[Clients]) -> Optional[Clients]:
  """The clients that have any examples; None without any."""
  if clients is None or not np.any(clients.sizes):
    return None
  return clients if np.all(clients.sizes) else clients.select(np.flatnonzero(clients.sizes))


def _pool(clients: Optional[Clients]) -> Optional[evaluation_lib.ExampleSet]:
  return None if clients is None else evaluation_lib.ExampleSet(clients.pooled())
