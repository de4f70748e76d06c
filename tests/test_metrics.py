"""Metrics from columns, against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from fl_research import metrics
from fl_research.datasets.federated_data import Problem

RNG = np.random.default_rng(0)


def binary_columns(score, label):
  """Columns as the model would give them for these scores."""
  return {
    'num': np.ones(len(label)),
    'loss': -np.log(np.where(label, score, 1 - score)),
    'accuracy': ((score > 0.5) == label).astype(float),
    'score': score,
  }


def binary_case(n):
  # Scores with ties, among and across the classes.
  return RNG.integers(1, 10, n) / 10, RNG.integers(0, 2, n)


def test_binary_against_scikit_learn():
  score, label = binary_case(200)
  summary = metrics.summarise(Problem.BINARY, binary_columns(score, label), label)
  predicted = score > 0.5
  assert summary == pytest.approx(
    {
      'loss': sklearn_metrics.log_loss(label, score),
      'accuracy': sklearn_metrics.accuracy_score(label, predicted),
      'auc': sklearn_metrics.roc_auc_score(label, score),
      'auprc': sklearn_metrics.average_precision_score(label, score),
      'balanced_accuracy': sklearn_metrics.balanced_accuracy_score(label, predicted),
    }
  )
  assert tuple(summary) == metrics.names(Problem.BINARY, 2)


def test_binary_is_undefined_for_one_class_or_infinite_scores():
  score, label = np.array([0.2, 0.7, 0.9]), np.ones(3, int)
  summary = metrics.summarise(Problem.BINARY, binary_columns(score, label), label)
  assert np.isnan(summary['auc']) and np.isnan(summary['auprc'])
  assert np.isnan(summary['balanced_accuracy'])
  assert summary['accuracy'] == pytest.approx(2 / 3)
  columns = {**binary_columns(score, label), 'score': np.array([0.2, np.nan, 0.9])}
  assert np.isnan(metrics.summarise(Problem.BINARY, columns, np.array([0, 1, 1]))['auc'])


def test_text_counts_tokens():
  columns = {
    'num': np.array([4, 1, 0]),
    'loss': np.array([8.0, 1.0, 0.0]),
    'accuracy': np.array([1.0, 1.0, 0.0]),
  }
  summary = metrics.summarise(Problem.NEXT_TOKEN, columns)
  assert summary == pytest.approx({'loss': 1.8, 'accuracy': 0.4, 'perplexity': np.exp(1.8)})


def test_perplexity_beyond_floats_is_infinite():
  columns = {'num': np.ones(1), 'loss': np.full(1, 1e4), 'accuracy': np.zeros(1)}
  assert metrics.summarise(Problem.NEXT_TOKEN, columns)['perplexity'] == np.inf


def test_regression_root():
  summary = metrics.summarise(
    Problem.REGRESSION,
    {'num': np.ones(4), 'loss': np.array([1.0, 4.0, 9.0, 2.0]), 'mae': np.array([1, 2, 3, 2.0])},
    np.array([0.0, 10, 0, 10]),
  )
  assert summary == pytest.approx({'loss': 4, 'mae': 2, 'rmse': 2, 'r2': 1 - 16 / 100})


def numbers_columns(answer, label):
  """Columns as the model would give them for these answers, [n] or [n, k]."""
  errors = (answer - label).reshape(len(label), -1)
  columns = {
    'num': np.ones(len(label)),
    'loss': np.square(errors).mean(axis=1),
    'mae': np.abs(errors).mean(axis=1),
  }
  if label.ndim > 1:
    columns.update(zip(metrics.error_names(label.shape[1]), errors.T))
  return columns


@pytest.mark.parametrize('shape', [(40,), (40, 3)])
def test_numbers_against_scikit_learn(shape):
  # In a unit in which sums of squares would lose all digits of the spread in float32.
  label = (1e6 + RNG.standard_normal(shape)).astype(np.float32)
  answer = label + 0.5 * RNG.standard_normal(shape)
  columns = numbers_columns(answer, label)
  summary = metrics.summarise(Problem.REGRESSION, columns, label)
  label = label.astype(np.float64)
  assert summary == pytest.approx(
    {
      'loss': sklearn_metrics.mean_squared_error(label, answer),
      'mae': sklearn_metrics.mean_absolute_error(label, answer),
      'rmse': sklearn_metrics.mean_squared_error(label, answer) ** 0.5,
      'r2': sklearn_metrics.r2_score(label, answer),
    },
    rel=1e-6,
  )
  assert tuple(summary) == metrics.names(Problem.REGRESSION, 1)
  table = metrics.per_client(Problem.REGRESSION, columns, label, np.array([25, 0, 14, 1]))
  own = [sklearn_metrics.r2_score(label[s], answer[s]) for s in (slice(25), slice(25, 39))]
  np.testing.assert_allclose(table['r2'], [own[0], np.nan, own[1], np.nan], rtol=1e-6)


def test_r2_of_labels_that_are_all_the_same_is_undefined():
  summary = metrics.summarise(
    Problem.REGRESSION, numbers_columns(np.ones(3), np.ones(3)), np.ones(3)
  )
  assert np.isnan(summary['r2']) and summary['rmse'] == 0


def test_recall_is_over_all_tags():
  columns = {
    'num': np.ones(2),
    'loss': np.ones(2),
    'recall_at_5': np.array([1.0, 5.0]),
    'positives': np.array([1.0, 9.0]),
    'accuracy': np.array([0.75, 1.0]),
  }
  summary = metrics.summarise(Problem.MULTILABEL, columns)
  assert summary == pytest.approx({'loss': 1, 'recall_at_5': 0.6, 'accuracy': 0.875})


def test_few_tags_are_scored_by_what_is_right():
  assert metrics.primary(Problem.MULTILABEL, 6) == 'recall_at_5'
  assert metrics.primary(Problem.MULTILABEL, 5) == 'accuracy'
  assert metrics.names(Problem.MULTILABEL, 5) == ('loss', 'accuracy')


def test_no_examples_no_metrics():
  empty = {'num': np.zeros(0), 'loss': np.zeros(0), 'accuracy': np.zeros(0)}
  summary = metrics.summarise(Problem.CLASSIFICATION, empty)
  assert list(summary) == ['loss', 'accuracy'] and np.isnan(list(summary.values())).all()


def test_sums_are_exact_where_float32_would_not_be():
  columns = {
    'num': np.ones(2**24 + 3, np.float32),
    'loss': np.ones(2**24 + 3, np.float32),
    'accuracy': np.zeros(2**24 + 3, np.float32),
  }
  assert metrics.summarise(Problem.CLASSIFICATION, columns)['loss'] == 1


@pytest.mark.parametrize('problem', Problem)
@pytest.mark.parametrize('num_classes', [5, 50])
def test_names_are_those_that_come(problem, num_classes):
  sums = dict.fromkeys(metrics.sum_names(problem, num_classes), 1.0)
  given = [*metrics.from_sums(problem, sums)]
  if problem is Problem.BINARY:
    given += ['auc', 'auprc', 'balanced_accuracy']
  if problem is Problem.REGRESSION:
    given += ['r2']
  assert metrics.names(problem, num_classes) == tuple(given)
  assert metrics.primary(problem, num_classes) in given
  assert metrics.primary(problem, num_classes) in metrics.SCORES
  assert ('top5' in given) == (problem is Problem.CLASSIFICATION and num_classes == 50)


def test_per_client_is_summarise_of_each():
  sizes = [5, 0, 40, 1]
  score, label = binary_case(46)
  columns = binary_columns(score, label)
  table = metrics.per_client(Problem.BINARY, columns, label, np.array(sizes))
  assert table['num_examples'].tolist() == sizes
  assert list(table) == ['num_examples', *metrics.names(Problem.BINARY, 2)]
  first = 0
  for row, size in zip(table.to_dict('records'), sizes):
    part = slice(first, first + size)
    own = metrics.summarise(
      Problem.BINARY, {name: column[part] for name, column in columns.items()}, label[part]
    )
    del row['num_examples']
    assert row == pytest.approx(own, nan_ok=True)
    first += size
  assert table.iloc[1, 1:].isna().all()
  assert not np.isnan(table['auc'][2]) and np.isnan(table['auc'][3])


def test_per_client_of_text_needs_no_labels():
  columns = {
    'num': np.array([4, 2, 6]),
    'loss': np.array([4.0, 1.0, 3.0]),
    'accuracy': np.array([2.0, 1.0, 6.0]),
  }
  table = metrics.per_client(Problem.NEXT_TOKEN, columns, None, np.array([2, 1]))
  assert table['accuracy'].tolist() == [0.5, 1.0]
  np.testing.assert_allclose(table['loss'], [5 / 6, 0.5])


def test_distribution():
  values = np.append(RNG.permutation(np.arange(1.0, 22.0)), np.nan)
  shape = metrics.distribution('accuracy', values)
  assert shape == pytest.approx(
    {
      'clients': 21,
      'mean': 11,
      'sd': np.std(np.arange(21)),
      'p10': 3,
      'p50': 11,
      'p90': 19,
      'worst10': (1 + 2 + 3) / 3,
    }
  )
  for metric in ('loss', 'mae', 'rmse', 'perplexity'):
    assert metrics.distribution(metric, values)['worst10'] == pytest.approx(20)


def test_distribution_of_nothing():
  shape = metrics.distribution('loss', np.array([np.nan]))
  assert shape.pop('clients') == 0 and np.isnan(list(shape.values())).all()


def test_sums_of_a_single_client_stay_an_array():
  values = metrics.from_sums(Problem.REGRESSION, {'num': np.array([2.0]), 'loss': np.array([8.0])})
  np.testing.assert_allclose(values['loss'], [4.0])
  np.testing.assert_allclose(values['rmse'], [2.0])


def test_binary_problems_have_the_accuracy_of_clients_too():
  assert metrics.distributed(Problem.BINARY, 2) == ['loss', 'accuracy', 'auc']
  assert metrics.distributed(Problem.CLASSIFICATION, 3) == ['loss', 'accuracy']
  assert metrics.distributed(Problem.REGRESSION, 1) == ['loss', 'rmse']
  assert metrics.distributed(Problem.RECONSTRUCTION, 1) == ['loss']
  assert metrics.distributed(Problem.MULTILABEL, 9) == ['loss', 'accuracy', 'recall_at_5']


@pytest.mark.parametrize(
  'column, share',
  [
    ('eval/accuracy', True),
    ('eval_clients/auc_worst10', True),
    ('eval_clients/auc_clients', False),
    ('train/loss', False),
    ('participants', False),
  ],
)
def test_what_lies_between_0_and_1(column, share):
  assert metrics.is_share(column) == share


@pytest.mark.parametrize(
  'column, falls',
  [
    ('eval/accuracy', False),
    ('train/loss', True),
    ('eval/recall_at_5', False),
    ('eval_clients/loss_p90', True),
    ('eval_clients/recall_at_5_worst10', False),
    ('eval_clients/accuracy_sd', True),
    ('eval_clients/accuracy_worsened', True),
  ],
)
def test_what_improves_by_falling(column, falls):
  assert metrics.improves_by_falling(column) == falls


def test_auc_of_classes_is_each_against_the_rest():
  generator = np.random.default_rng(5)
  labels = generator.integers(0, 4, 60)
  scores = generator.dirichlet(np.ones(4), 60) + 0.3 * np.eye(4)[labels]
  scores = np.round(scores / scores.sum(axis=1, keepdims=True), 2)  # with ties
  scores /= scores.sum(axis=1, keepdims=True)
  ones = np.ones(60)
  columns = {'num': ones, 'loss': ones, 'accuracy': ones}
  columns.update(zip(metrics.score_names(4), scores.T))
  summary = metrics.summarise(Problem.CLASSIFICATION, columns, labels)
  expected = sklearn_metrics.roc_auc_score(labels, scores, multi_class='ovr')
  assert summary['auc'] == pytest.approx(expected, rel=1e-12)
  assert tuple(summary) == metrics.names(Problem.CLASSIFICATION, 4, class_scores=True)
  table = metrics.per_client(Problem.CLASSIFICATION, columns, labels, np.array([20, 40]))
  assert list(table) == ['num_examples', 'loss', 'accuracy']


def test_auc_of_classes_of_which_some_do_not_occur():
  scores = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]])
  columns = {name: np.ones(3) for name in ('num', 'loss', 'accuracy')}
  columns.update(zip(metrics.score_names(3), scores.T))
  auc = lambda labels: metrics.summarise(Problem.CLASSIFICATION, columns, np.array(labels))['auc']
  assert auc([0, 1, 0]) == 1.0
  assert np.isnan(auc([0, 0, 0]))


def _binary(random, rows, steps=0):
  labels = (random.random(rows) < 0.3).astype(np.int32)
  score = np.clip(random.normal(0.4 + 0.2 * labels, 0.2), 0, 1)
  return {'score': np.round(score, steps) if steps else score}, labels


def _added_up(problem, columns, labels, parts=3):
  places = np.array_split(np.arange(len(labels)), parts)
  take = lambda place: {name: column[place] for name, column in columns.items()}
  sums = sum(metrics.further_sums(problem, take(place), labels[place]) for place in places)
  return metrics.from_further_sums(problem, sums)


@pytest.mark.parametrize('seed', range(5))
def test_areas_of_counted_scores(seed):
  random = np.random.default_rng(seed)
  # Scores that are steps already: the same numbers as of all scores together.
  columns, labels = _binary(random, 200, steps=3)
  assert metrics.SCORE_STEPS == 1000
  exact = metrics._ranking(columns['score'], labels)
  found = _added_up(Problem.BINARY, columns, labels)
  assert list(found) == list(exact)
  np.testing.assert_allclose(list(found.values()), list(exact.values()), rtol=1e-12)
  # Other scores: off by no more than half the share of pairs of different classes in one step.
  columns, labels = _binary(random, 2000)
  exact, found = metrics._ranking(columns['score'], labels), None
  negatives, positives = metrics.further_sums(Problem.BINARY, columns, labels)
  bound = np.sum(negatives * positives) / 2 / (negatives.sum() * positives.sum())
  found = _added_up(Problem.BINARY, columns, labels)
  assert 0 < abs(found['auc'] - exact['auc']) <= bound < 1e-3
  assert found['balanced_accuracy'] == pytest.approx(exact['balanced_accuracy'], rel=1e-12)


def test_counted_scores_at_the_threshold_and_beyond_all_bounds():
  half = {'score': np.float32([0.5, np.nextafter(np.float32(0.5), np.float32(1)), 0.0, 1.0])}
  found = _added_up(Problem.BINARY, half, np.array([1, 1, 0, 0]), 1)
  assert (
    found['balanced_accuracy']
    == metrics._ranking(half['score'], np.array([1, 1, 0, 0]))['balanced_accuracy']
  )
  for scores, labels in (([0.1, np.nan], [0, 1]), ([0.1, np.inf], [0, 1]), ([0.1, 0.2], [1, 1])):
    found = _added_up(Problem.BINARY, {'score': np.array(scores)}, np.array(labels), 2)
    assert np.isnan(list(found.values())).all()


def test_r2_of_sums():
  random = np.random.default_rng(0)
  for shape, names in (((50,), ['loss']), ((50, 2), ['error_0', 'error_1'])):
    labels = random.normal(3, 2, shape)
    errors = random.normal(0, 1, (2, 50))
    columns = dict(zip(names, errors if len(names) > 1 else np.square(errors)))
    columns = {'num': np.ones(50), 'mae': np.ones(50), 'loss': np.ones(50), **columns}
    exact = metrics.summarise(Problem.REGRESSION, columns, labels)['r2']
    assert _added_up(Problem.REGRESSION, columns, labels)['r2'] == pytest.approx(exact, rel=1e-9)
  alike = {'loss': np.ones(4)}
  assert np.isnan(_added_up(Problem.REGRESSION, alike, np.full(4, 2.0))['r2'])
