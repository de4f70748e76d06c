"""Answers class by class, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from fl_research.datasets.federated_data import Problem
from fl_research.training import by_class

RNG = np.random.default_rng(0)


def test_classes_against_scikit_learn():
  labels = RNG.integers(0, 4, 200)
  outputs = RNG.standard_normal((200, 5)) + 1.5 * np.eye(5)[labels]
  outputs[:, 4] = -9.0
  names = ['a', 'b', 'c', 'd', 'never']
  found = by_class.by_class(Problem.CLASSIFICATION, outputs, labels, names)
  answer = outputs.argmax(axis=1)
  precision, recall, _, support = sklearn_metrics.precision_recall_fscore_support(
    labels, answer, labels=range(5), zero_division=np.nan
  )
  table = found.table
  np.testing.assert_array_equal(table['num_examples'], support)
  np.testing.assert_allclose(table['recall'], [*recall[:4], np.nan])
  np.testing.assert_allclose(table['precision'], precision)
  scores = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
  areas = [sklearn_metrics.average_precision_score(labels == k, scores[:, k]) for k in range(4)]
  np.testing.assert_allclose(table['auprc'], [*areas, np.nan])
  assert found.confusion.loc['a', 'b'] == np.sum((labels == 0) & (answer == 1))
  assert found.confusion.to_numpy().sum() == 200
  assert found.accuracy == pytest.approx(np.mean(answer == labels))
  assert by_class.complaint(found) == ''


def frauds(outputs):
  labels = np.array([1] * 24 + [0] * 4776)
  return by_class.by_class(Problem.BINARY, outputs, labels, ['legit', 'fraud'])


def test_a_rare_class_that_is_never_answered_is_seen():
  found = frauds(np.linspace(-1, -2, 4800)[:, None])
  assert found.table['auprc'].tolist() == pytest.approx([1.0, 1.0])
  assert by_class.complaint(found) == (
    'class fraud: 0 of 24 found; accuracy 0.9950 is that of always answering legit; '
    '--class_weighting=balanced lets rare ones count more in training'
  )
  assert by_class.complaint(found, is_weighted=True).endswith('answering legit')
  assert by_class.figures(found) == {
    'recall of legit': '1.0000 of 4,776, AUPRC 1.0000',
    'recall of fraud': '0.0000 of 24, AUPRC 1.0000',
  }


def test_found_ones_are_no_complaint():
  outputs = np.full((4800, 1), -1.0)
  outputs[3] = 0.5
  assert by_class.complaint(frauds(outputs)) == ''


def test_infinite_outputs_have_no_ranking():
  found = frauds(np.full((4800, 1), np.nan))
  assert found.table['auprc'].isna().all() and 'class fraud: 0 of 24' in by_class.complaint(found)


@pytest.mark.filterwarnings('error::RuntimeWarning')
def test_a_model_that_diverged_is_measured_without_a_warning():
  labels = np.arange(6) % 3
  outputs = np.array([[np.inf, np.inf, 0.0], [np.nan, 1.0, 2.0]] * 3)
  found = by_class.by_class(Problem.CLASSIFICATION, outputs, labels, list('abc'))
  assert found.table['auprc'].isna().all() and found.confusion.to_numpy().sum() == 6


def test_several_classes_of_which_nothing_is_found():
  labels = np.repeat(np.arange(6), 10)
  names = list('abcdef')
  outputs = np.eye(6)[np.minimum(labels, 1)]
  line = by_class.complaint(by_class.by_class(Problem.CLASSIFICATION, outputs, labels, names))
  # They are as many as the others, so that weights would change nothing.
  assert line == 'of 4 of 6 classes none found: c (10), d (10), e (10), … examples'


def test_many_classes_are_summed_up():
  labels = np.repeat(np.arange(12), 10)
  outputs = np.eye(12)[labels]
  outputs[:7] = np.eye(12)[3]
  names = by_class.names_of((), 12)
  found = by_class.by_class(Problem.CLASSIFICATION, outputs, labels, names)
  assert by_class.figures(found) == {
    'mean recall': '0.9417 of 12 classes',
    'lowest recalls': '0: 0.3000, 1: 1.0000, 2: 1.0000',
  }


def test_tags():
  truth = RNG.integers(0, 2, (50, 3)).astype(np.float32)
  truth[:, 2] = 0
  truth[7, 2] = 1
  outputs = RNG.standard_normal((50, 3))
  outputs[:, 2] = -1 - RNG.random(50)
  found = by_class.by_class(Problem.MULTILABEL, outputs, truth, ['fever', 'cough', 'rare'])
  answers = outputs > 0
  np.testing.assert_allclose(found.table['accuracy'], (answers == truth).mean(axis=0))
  np.testing.assert_allclose(
    found.table['recall'], sklearn_metrics.recall_score(truth, answers, average=None)
  )
  np.testing.assert_allclose(
    found.table['auc'], sklearn_metrics.roc_auc_score(truth, outputs, average=None)
  )
  assert found.confusion.loc['rare'].tolist() == [49, 0, 1, 0]
  assert by_class.complaint(found).startswith('tag rare: 0 of 1 found; --class_weighting=balanced')


def test_names_are_those_of_all_or_positions():
  assert by_class.names_of(('no', 'yes'), 2) == ['no', 'yes']
  assert by_class.names_of(('no',), 3) == ['0', '1', '2']
