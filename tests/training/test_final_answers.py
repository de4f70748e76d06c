"""What a run says of its final model class by class, and weights of classes in training."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest

from fl_research import models, runtime
from fl_research.datasets.federated_data import FederatedData, Problem
from fl_research.models import ModelSpec
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.soundness import validation
from fl_research.training import run_data, summary
from tests.training import runs


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


def bank(labels, problem=Problem.BINARY, names=('legit', 'fraud')) -> FederatedData:
  """Three clients with these labels, whose examples tell them apart but for noise."""
  generator = np.random.default_rng(0)
  level = labels if labels.ndim == 1 else labels.argmax(axis=1)
  x = level[:, None] + 0.5 * generator.standard_normal((len(labels), 2))
  owner = np.arange(len(labels)) * 3 // len(labels)
  clients = runs.clients_of({'x': x.astype(np.float32), 'y': labels}, owner)
  count = labels.shape[1] if labels.ndim > 1 else len(names)
  return FederatedData(
    clients, clients.pooled(), problem, count, test_clients=clients, class_names=names
  )


RARE = (np.arange(600) % 100 == 7).astype(np.int32)


def test_a_fraud_that_is_never_found_is_seen(tmp_path, monkeypatch, capsys):
  outcome = runs.run_on(bank(RARE), tmp_path / 'run', monkeypatch, total_rounds=1)
  summary.print_outcome(outcome)
  printed = capsys.readouterr().out
  assert '\nclass fraud: 0 of 6 found; accuracy 0.9900 is that of always answering legit' in printed
  assert 'recall of fraud' in printed and 'eval/auprc' in printed
  legit, fraud = runs.rows(tmp_path / 'run' / 'classes.csv')
  assert (legit['class'], fraud['class']) == ('legit', 'fraud')
  assert (fraud['num_examples'], fraud['found'], fraud['precision']) == ('6', '0', '')
  assert float(outcome.last_row['eval/auprc']) == pytest.approx(float(fraud['auprc']), rel=1e-6)
  assert runs.rows(tmp_path / 'run' / 'confusion.csv') == [
    {'class': 'legit', 'legit': '594', 'fraud': '0'},
    {'class': 'fraud', 'legit': '6', 'fraud': '0'},
  ]
  assert (tmp_path / 'run' / 'confusion.png').read_bytes().startswith(b'\x89PNG')


def test_weighted_classes_are_found(tmp_path, monkeypatch):
  flags = {'class_weighting': 'balanced', 'total_rounds': 5}
  outcome = runs.run_on(bank(RARE), tmp_path / 'run', monkeypatch, **flags)
  assert float(outcome.last_row['eval/balanced_accuracy']) > 0.7
  assert outcome.answers.complaint == ''


def test_each_client_answers_with_its_own_model(tmp_path, monkeypatch):
  data = bank(np.arange(90, dtype=np.int32) // 30, Problem.CLASSIFICATION, ('a', 'b', 'c'))
  outcome = runs.run_on(
    data, tmp_path / 'run', monkeypatch, local_only=True, total_rounds=8, model='softmax'
  )
  assert float(outcome.last_row['personal/accuracy']) == 1
  recalls = [row['recall'] for row in runs.rows(tmp_path / 'run' / 'classes.csv')]
  assert recalls == ['1.0'] * 3 and float(outcome.last_row['eval/accuracy']) < 0.5


def test_what_privacy_does_not_cover_is_not_said_by_class_either(tmp_path, monkeypatch):
  private = {
    'dp_noise_multiplier': 1.0,
    'dp_clip_norm': 1.0,
    'cohort_sampling': 'poisson',
    'clients_per_round': 2,
    'total_rounds': 1,
  }
  for metrics, written in (('report', True), ('withhold', False)):
    folder = tmp_path / metrics
    flags = {**private, 'private_metrics': metrics}
    answers = runs.run_on(bank(RARE), folder, monkeypatch, **flags).answers
    assert bool(answers.files) == bool(answers.figures) == written
    assert written or not answers.complaint
    assert (folder / 'classes.csv').exists() == (folder / 'confusion.csv').exists() == written


def test_weights_against_numpy(tmp_path, monkeypatch):
  labels = np.array([0] * 12 + [1] * 6 + [2] * 3, np.int32)
  data = bank(labels, Problem.CLASSIFICATION, ('a', 'b', 'c'))
  flags = {'centralized': True, 'client_batch_size': 'full', 'total_rounds': 1}
  runs.run_on(
    data, tmp_path / 'run', monkeypatch, class_weighting='balanced', model='softmax', **flags
  )
  counts = np.array([12, 6, 3])
  weights = (21 / (3 * counts))[labels]
  x = data.train.pooled()['x'].astype(np.float64)
  kernel, bias = models.build('softmax', ModelSpec.from_data(data), seed=0).initial_weights[0]
  p = np.exp(x @ kernel + bias)
  p /= p.sum(axis=1, keepdims=True)
  residual = (p - np.eye(3)[labels]) * weights[:, None] / 21
  new_kernel, new_bias = runs.weights(tmp_path / 'run')
  np.testing.assert_allclose(new_kernel, kernel - 0.1 * x.T @ residual, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(new_bias, bias - 0.1 * residual.sum(axis=0), rtol=1e-4, atol=1e-6)


def test_weights_of_equal_classes_change_nothing(tmp_path, monkeypatch):
  data = bank(np.arange(60, dtype=np.int32) % 3, Problem.CLASSIFICATION, ('a', 'b', 'c'))
  for weighting in ('none', 'balanced'):
    flags = {'class_weighting': weighting, 'total_rounds': 2}
    runs.run_on(data, tmp_path / weighting, monkeypatch, **flags)
  one, other = (tmp_path / weighting for weighting in ('none', 'balanced'))
  assert (one / 'model.npz').read_bytes() == (other / 'model.npz').read_bytes()
  timeless = lambda folder: [{**r, 'seconds': ''} for r in runs.rows(folder / 'metrics.csv')]
  assert timeless(one) == timeless(other)


def test_tags_by_name(tmp_path, monkeypatch):
  labels = np.zeros((60, 3), np.float32)
  labels[np.arange(60), np.arange(60) % 3] = 1
  data = bank(labels, Problem.MULTILABEL, ('fever', 'cough', 'pain'))
  outcome = runs.run_on(
    data, tmp_path / 'run', monkeypatch, class_weighting='balanced', total_rounds=2
  )
  tags = runs.rows(tmp_path / 'run' / 'classes.csv')
  assert [tag['tag'] for tag in tags] == ['fever', 'cough', 'pain']
  accuracy = np.mean([float(tag['accuracy']) for tag in tags])
  assert float(outcome.last_row['eval/accuracy']) == pytest.approx(accuracy, rel=1e-6)
  assert 'eval/recall_at_5' not in outcome.last_row
  confused = runs.rows(tmp_path / 'run' / 'confusion.csv')[0]
  assert list(confused) == [
    'tag', 'true_negatives', 'false_positives', 'false_negatives', 'true_positives'
  ]  # fmt: skip
  assert not (tmp_path / 'run' / 'confusion.png').exists()


def test_what_has_no_classes_cannot_be_weighted(monkeypatch):
  data = bank(np.arange(9, dtype=np.float32), Problem.REGRESSION, ('y',))
  monkeypatch.setattr(run_data.tasks, 'load', lambda *_: data)
  with pytest.raises(UsageError, match=r'--class_weighting=balanced: .* has no classes to weight'):
    run_data.load(Settings(task='tabular', class_weighting='balanced'))


def test_exact_counts_of_classes_are_not_private():
  settings = Settings(
    task='digits',
    experiment_name='run',
    dp_noise_multiplier=1.0,
    dp_clip_norm=1.0,
    class_weighting='balanced',
  )
  with pytest.raises(UsageError, match='--class_weighting=balanced: not with --dp_noise_mult'):
    validation.validate(settings)
