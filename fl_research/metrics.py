"""From numbers per example to metrics: of a whole set, of every client, and over the clients.

The numbers per example are the columns of `fl_research.models.objectives`. A metric is a ratio of
two columns' sums (loss = sum(loss) / sum(num)), or is computed from those ratios (perplexity,
RMSE), or from the answers themselves: of binary problems the areas under the ROC curve (`auc`) and
under precision against recall (`auprc`, the average precision) and the balanced accuracy, of
numbers R² (`r2`). Nothing here imports TensorFlow.

Numbers are measured in their own units. Of several, `loss` is the mean of their squared errors,
`rmse` its root and `mae` the mean of their absolute errors, in which large units count most; `r2`
is the mean of each one's R², in which all count the same.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import pandas as pd

from fl_research.datasets.federated_data import Problem

_SUMS: dict[Problem, tuple[str, ...]] = {
  Problem.CLASSIFICATION: ('num', 'loss', 'accuracy'),
  Problem.BINARY: ('num', 'loss', 'accuracy'),
  Problem.MULTILABEL: ('num', 'loss', 'recall_at_5', 'positives', 'accuracy'),
  Problem.NEXT_TOKEN: ('num', 'loss', 'accuracy'),
  Problem.REGRESSION: ('num', 'loss', 'mae'),
  Problem.RECONSTRUCTION: ('num', 'loss'),
}

# What divides a column's sum where that is not `num`.
_DENOMINATORS = {'recall_at_5': 'positives'}
_RECALL = ('recall_at_5', 'positives')

SQUARED_LOSS = 'squared_loss'
"""The column that training sums besides, where a cohort is chosen by it; it is no metric."""

TOP5_FROM = 50
"""Number of classes from which top-5 accuracy is reported."""

RECALL_FROM = 6
"""Number of tags from which recall among five says anything."""

_PRIMARY = {
  Problem.CLASSIFICATION: 'accuracy',
  Problem.BINARY: 'auc',
  Problem.MULTILABEL: 'recall_at_5',
  Problem.NEXT_TOKEN: 'accuracy',
  Problem.REGRESSION: 'rmse',
  Problem.RECONSTRUCTION: 'loss',
}

SCORES = ('recall_at_5', 'accuracy', 'auc', 'rmse', 'loss')
"""The metrics by which runs are compared of which nobody says what they predict, best first."""

LOWER_IS_BETTER = frozenset({'loss', 'mae', 'rmse', 'perplexity'})
"""Metrics that improve by falling; all others improve by rising."""


SHARES = frozenset({'accuracy', 'auc', 'auprc', 'balanced_accuracy', 'recall_at_5', 'top5'})
"""Metrics that lie between 0 and 1."""


def primary(problem: Problem, num_classes: int) -> str:
  """The metric by which a problem's models are compared; of few tags the share that is right."""
  few_tags = problem is Problem.MULTILABEL and num_classes < RECALL_FROM
  return 'accuracy' if few_tags else _PRIMARY[problem]


def is_share(column: str) -> bool:
  """Whether a column of metrics.csv lies between 0 and 1."""
  phase, _, metric = column.partition('/')
  if phase.endswith('_clients'):
    metric, _, statistic = metric.rpartition('_')
    return metric in SHARES and statistic != 'clients'
  return metric in SHARES


def improves_by_falling(column: str) -> bool:
  """Whether low values of a column of metrics.csv, `<phase>/<metric>[_<statistic>]`, are good."""
  phase, metric = column.split('/', 1)
  if phase.endswith('_clients'):
    metric, statistic = metric.rsplit('_', 1)
    return statistic in ('sd', 'worsened') or metric in LOWER_IS_BETTER
  return metric in LOWER_IS_BETTER


_RANKED = ('auc', 'auprc', 'balanced_accuracy')

SCORE_STEPS = 1000
"""To how many steps scores are rounded where they are counted, an even number."""


def sum_names(problem: Problem, num_classes: int) -> tuple[str, ...]:
  """Names of the columns whose sums are enough for `from_sums`, `num` and `loss` first."""
  if problem is Problem.CLASSIFICATION and num_classes >= TOP5_FROM:
    return (*_SUMS[problem], 'top5')
  if problem is Problem.MULTILABEL and num_classes < RECALL_FROM:
    return tuple(name for name in _SUMS[problem] if name not in _RECALL)
  return _SUMS[problem]


def ratios(columns: Iterable[str]) -> OrderedDict[str, str]:
  """Metric name -> the column that divides it, for the columns that are there."""
  names = list(columns)
  skipped = {'num', 'score', 'objective', *_DENOMINATORS.values()}
  return OrderedDict(
    (name, _DENOMINATORS.get(name, 'num'))
    for name in names
    if name not in skipped and not name.startswith(('score_', 'error_'))
  )


def names(problem: Problem, num_classes: int, class_scores: bool = False) -> tuple[str, ...]:
  """Names of the metrics that `summarise` gives, in its order.

  Args:
    problem: what is predicted.
    num_classes: number of classes.
    class_scores: whether the columns hold the probability of every class.
  """
  derived = {
    Problem.BINARY: _RANKED,
    Problem.NEXT_TOKEN: ('perplexity',),
    Problem.REGRESSION: ('rmse', 'r2'),
    Problem.CLASSIFICATION: ('auc',) if class_scores else (),
  }
  return (*ratios(sum_names(problem, num_classes)), *derived.get(problem, ()))


def score_names(num_classes: int) -> tuple[str, ...]:
  """Names of the columns with the probability of every class."""
  return tuple(f'score_{number}' for number in range(num_classes))


def error_names(count: int) -> tuple[str, ...]:
  """Names of the columns with the errors of each of several numbers."""
  return tuple(f'error_{number}' for number in range(count))


def distributed(problem: Problem, num_classes: int) -> list[str]:
  """The metrics whose distribution over clients is reported: loss, accuracy and the primary one."""
  accuracy = [name for name in _SUMS[problem] if name == 'accuracy']
  return list(dict.fromkeys(['loss', *accuracy, primary(problem, num_classes)]))


def from_sums(problem: Problem, sums: Mapping[str, Any]) -> OrderedDict[str, np.ndarray]:
  """Metrics that sums of columns give (all but those of the scores).

  Args:
    problem: what is predicted.
    sums: sum by column; scalars, or arrays of one shape (a number per client).

  Returns:
    Metric by name, float64 of the sums' shape; NaN where the denominator is 0.
  """
  with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
    values = OrderedDict(
      (
        name,
        np.divide(np.asarray(sums[name], np.float64), np.asarray(sums[denominator], np.float64)),
      )
      for name, denominator in ratios(sums).items()
    )
    if problem is Problem.NEXT_TOKEN:
      values['perplexity'] = np.exp(values['loss'])
    if problem is Problem.REGRESSION:
      values['rmse'] = np.sqrt(values['loss'])
  return values


def summarise(
  problem: Problem, columns: Mapping[str, np.ndarray], labels: Optional[np.ndarray] = None
) -> OrderedDict[str, float]:
  """Metrics of a set of examples.

  Args:
    problem: what is predicted.
    columns: float [n] by name, as `objectives.example_columns` gives them.
    labels: the n labels; read for binary problems and numbers, and where there are `score_names`.

  Returns:
    Metric by name. NaN where it is not defined: every metric without examples; `auc`, `auprc` and
    `balanced_accuracy` also where only one class occurs or a score is not finite; `r2` also where
    a number is the same in all examples.
  """
  sums = {name: np.sum(column, dtype=np.float64) for name, column in columns.items()}
  values = OrderedDict((name, float(value)) for name, value in from_sums(problem, sums).items())
  if problem is Problem.BINARY:
    assert labels is not None, 'binary metrics need the labels'
    values.update(_ranking(np.asarray(columns['score']), np.asarray(labels)))
  if problem is Problem.REGRESSION:
    assert labels is not None, 'R² needs the labels'
    client = np.zeros(len(labels), np.int64)
    values['r2'] = float(_r2(columns, np.asarray(labels), client, 1)[0])
  scores = [np.asarray(column) for name, column in columns.items() if name.startswith('score_')]
  if scores:
    assert labels is not None, 'ranking classes needs the labels'
    values['auc'] = _one_against_rest(scores, np.asarray(labels))
  return values


def _one_against_rest(scores: Sequence[np.ndarray], labels: np.ndarray) -> float:
  """The mean area under the ROC curve of each class that occurs against the rest."""
  occurring = [number for number in range(len(scores)) if np.any(labels == number)]
  areas = [_ranking(scores[number], labels == number)['auc'] for number in occurring]
  return float(np.mean(areas)) if areas else np.nan


def per_client(
  problem: Problem,
  columns: Mapping[str, np.ndarray],
  labels: Optional[np.ndarray],
  sizes: np.ndarray,
) -> pd.DataFrame:
  """Metrics of every client.

  Args:
    problem: what is predicted.
    columns: float [n] by name, examples ordered by client.
    labels: the n labels; read for binary problems and numbers only.
    sizes: number of examples of every client, summing to n.

  Returns:
    One row per client, in order, with `num_examples` and a column per metric; NaN as in
    `summarise`, so a client without examples has only NaN.
  """
  sizes = np.asarray(sizes, np.int64)
  client = np.repeat(np.arange(len(sizes)), sizes)
  sums = {
    name: np.bincount(client, np.asarray(column, np.float64), len(sizes))
    for name, column in columns.items()
  }
  values: OrderedDict[str, np.ndarray] = OrderedDict(num_examples=sizes)
  values.update(from_sums(problem, sums))
  if problem is Problem.BINARY:
    assert labels is not None, 'binary metrics need the labels'
    ends = np.cumsum(sizes)[:-1]
    parts = zip(np.split(columns['score'], ends), np.split(labels, ends))
    rankings = [_ranking(score, label) for score, label in parts]
    for name in _RANKED:
      values[name] = np.array([ranking[name] for ranking in rankings])
  if problem is Problem.REGRESSION:
    assert labels is not None, 'R² needs the labels'
    values['r2'] = _r2(columns, np.asarray(labels), client, len(sizes))
  return pd.DataFrame(values)


def _r2(
  columns: Mapping[str, np.ndarray], labels: np.ndarray, client: np.ndarray, count: int
) -> np.ndarray:
  """R² of every client, float64 [count]: squared errors against those of its own mean label.

  Args:
    columns: `error_…`, or `loss` of one number.
    labels: [n], of several numbers [n, k].
    client: int [n], whose an example is.
    count: number of clients.
  """
  total = lambda values: np.bincount(client, values, count)
  found = []
  with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
    for truth, square in zip(*_truths_and_squares(columns, labels), strict=True):
      mean = total(truth) / np.bincount(client, minlength=count)
      spread = total(np.square(truth - mean[client]))
      found.append(1 - total(square) / np.where(spread > 0, spread, np.nan))
  return np.mean(found, axis=0)


def _truths_and_squares(
  columns: Mapping[str, np.ndarray], labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Labels, and the squares of their errors, float64 [k, n] of k numbers each."""
  truths = np.asarray(labels if labels.ndim > 1 else labels[:, None], np.float64).T
  errors = [name for name in columns if name.startswith('error_')]
  squares = [np.square(np.asarray(columns[name], np.float64)) for name in errors]
  return truths, np.asarray(squares or [columns['loss']], np.float64)


def further_sums(
  problem: Problem, columns: Mapping[str, np.ndarray], labels: np.ndarray
) -> np.ndarray:
  """What gives, added up over sets of examples, the metrics that sums of columns do not give.

  Of two classes how many examples of each there are by score, rounded up to one of `SCORE_STEPS`
  steps; of numbers, for each of them, how many, the sums of its squared errors, of it, and of its
  square.

  Args:
    problem: what is predicted.
    columns: float [n] by name, as `objectives.example_columns` gives them.
    labels: the n labels.

  Returns:
    float64 [2, SCORE_STEPS + 2] of two classes, the last place being for scores that are not
    finite; [4, k] of k numbers; [0] of all else.
  """
  if problem is Problem.BINARY:
    score, positive = np.asarray(columns['score'], np.float64), np.asarray(labels) > 0.5
    finite = np.isfinite(score)
    steps = np.clip(np.ceil(np.where(finite, score, 0.0) * SCORE_STEPS), 0, SCORE_STEPS)
    places = np.where(finite, steps, SCORE_STEPS + 1).astype(np.int64)
    of = lambda which: np.bincount(places[which], minlength=SCORE_STEPS + 2)
    return np.stack([of(~positive), of(positive)]).astype(np.float64)
  if problem is Problem.REGRESSION:
    truths, squares = _truths_and_squares(columns, np.asarray(labels))
    rows = (np.ones_like(truths), squares, truths, np.square(truths))
    return np.stack([np.sum(row, axis=1) for row in rows])
  return np.zeros([0])


def from_further_sums(problem: Problem, sums: np.ndarray) -> OrderedDict[str, float]:
  """The metrics that a sum of `further_sums` gives; NaN where they are not defined.

  `balanced_accuracy` and `r2` are those of all examples together, but for the last digits of the
  latter. `auc` and `auprc` are those of the rounded scores: two examples of different classes in
  one step count as of one score, so that `auc` is off by half the share of such pairs at most.
  """
  if problem is Problem.BINARY:
    counts, not_finite = sums[:, :-1], sums[:, -1]
    if not_finite.any() or not counts.sum(axis=1).all():
      return OrderedDict.fromkeys(_RANKED, np.nan)
    middle = SCORE_STEPS // 2
    right = counts[1, middle + 1 :].sum(), counts[0, : middle + 1].sum()
    return _of_counts(counts, (right[0] / counts[1].sum(), right[1] / counts[0].sum()))
  if problem is Problem.REGRESSION:
    count, squares, total, square = sums
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
      spread = square - np.square(total) / count
      return OrderedDict(r2=float(np.mean(1 - squares / np.where(spread > 0, spread, np.nan))))
  return OrderedDict()


def _ranking(score: np.ndarray, label: np.ndarray) -> OrderedDict[str, float]:
  """The metrics `_RANKED` of scores in 0..1 and labels 0 or 1."""
  positive = label > 0.5
  if not positive.any() or positive.all() or not np.all(np.isfinite(score)):
    return OrderedDict.fromkeys(_RANKED, np.nan)
  _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
  found = np.bincount(group, positive, len(sizes))
  recalls = float(np.mean(score[positive] > 0.5)), float(np.mean(score[~positive] <= 0.5))
  return _of_counts(np.stack([sizes - found, found]), recalls)


def _of_counts(counts: np.ndarray, recalls: tuple[float, float]) -> OrderedDict[str, float]:
  """The metrics `_RANKED`.

  Args:
    counts: how many of the negative and of the positive have each score, ascending; [2, scores].
    recalls: of the positive and of the negative.
  """
  sizes, (others, count) = counts.sum(axis=0), counts.sum(axis=1)
  # The Mann-Whitney statistic; equal scores share the mean of their ranks.
  ranks = np.cumsum(sizes) - (sizes - 1) / 2
  auc = (np.sum(ranks * counts[1]) - count * (count + 1) / 2) / (count * others)
  # The average precision: over distinct scores, from the highest down, the precision of all that
  # score at least so much, times the share of the positives that it adds.
  found, so_far = counts[1][::-1], np.cumsum(sizes[::-1])
  precisions = np.divide(np.cumsum(found), so_far, out=np.zeros_like(so_far), where=so_far > 0)
  values = (auc, np.sum(precisions * found) / count, np.mean(recalls))
  return OrderedDict(zip(_RANKED, map(float, values), strict=True))


def distribution(metric: str, values: np.ndarray) -> OrderedDict[str, float]:
  """How a metric is distributed over clients, every client counting the same.

  Args:
    metric: the metric's name, which says whether low or high values are bad.
    values: one number per client; NaN (not defined for that client) is left out.

  Returns:
    `clients` (how many had a value), `mean`, `sd` (of the population), percentiles `p10`, `p50`
    and `p90` (linear interpolation), and `worst10`, the mean of the worst tenth, rounded up to
    whole clients. All but `clients` are NaN when no client had a value.
  """
  known = np.asarray(values, np.float64)
  known = np.sort(known[~np.isnan(known)])
  if not len(known):
    keys = ('mean', 'sd', 'p10', 'p50', 'p90', 'worst10')
    return OrderedDict(clients=0.0, **dict.fromkeys(keys, np.nan))
  tenth = -(-len(known) // 10)
  worst = known[-tenth:] if metric in LOWER_IS_BETTER else known[:tenth]
  with np.errstate(invalid='ignore'):  # A client's loss may be infinite.
    p10, p50, p90 = np.percentile(known, [10, 50, 90])
    sd = np.std(known)
  return OrderedDict(
    clients=float(len(known)),
    mean=float(np.mean(known)),
    sd=float(sd),
    p10=float(p10),
    p50=float(p50),
    p90=float(p90),
    worst10=float(np.mean(worst)),
  )
