"""Whole runs of other kinds: what ends them, who takes part, and what they are equal to."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow

import numpy as np
import pytest

from experiments import command_line, evaluate, train
from fl_research import client_data, runtime
from fl_research.training import (
  assembly,
  experiment,
  run_data,
)
from tests.oracles import softmax_regression
from tests.training import runs

SOFTMAX = ('--model=softmax', '--evaluate_train')


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


def test_a_target_ends_the_run(tmp_path):
  folder = tmp_path / 'run'
  target = ('--target_metric=eval/loss', '--target_value=2.2', '--total_rounds=50')
  assert runs.start(folder, *SOFTMAX, *target) == 0
  losses = [float(r['eval/loss']) for r in runs.rows(folder / 'metrics.csv') if r['eval/loss']]
  assert losses[-1] <= 2.2 < min(losses[1:-1], default=9)
  assert runs.manifest(folder)['finished']
  assert runs.manifest(folder)['stopped'] == 'eval/loss reached 2.2'
  # Killed before it was marked as finished, it does not train on.
  before = (folder / 'metrics.csv').read_bytes()
  runs.unfinish(folder)
  assert runs.start(folder, *SOFTMAX, *target) == 0
  assert (folder / 'metrics.csv').read_bytes() == before
  assert runs.manifest(folder)['stopped'] == 'eval/loss reached 2.2'


def test_patience(tmp_path):
  folder = tmp_path / 'run'
  flags = ('--client_learning_rate=0', '--total_rounds=50', '--rounds_per_evaluation=1')
  patience = ('--target_metric=eval/accuracy', '--patience=3')
  assert runs.start(folder, *SOFTMAX, *flags, *patience) == 0
  table = runs.rows(folder / 'metrics.csv')
  # The first evaluation is the best; three more without a better one end the run.
  assert [row['round'] for row in table] == ['0', '1', '2', '3', '4']
  assert runs.manifest(folder)['stopped'] == 'eval/accuracy has not improved for 3 evaluations'


def test_updates_that_are_not_finite(tmp_path):
  folder = tmp_path / 'run'
  flags = ('--client_learning_rate=1e38', '--total_rounds=50', '--rounds_per_evaluation=1')
  assert runs.start(folder, *SOFTMAX, *flags) == train.EXIT_DIVERGED
  table = runs.rows(folder / 'metrics.csv')
  assert [row['round'] for row in table] == ['0', '1', '2', '3']
  assert {row['eval/loss'] for row in table} == {table[0]['eval/loss']}
  for row in table[1:]:
    assert row['rejected'] == '3' and len(row['rejected_clients'].split()) == 3
    assert row['train/loss'] == '' and row['participants'] == '0'


def sgd(weights, clients, position, rounds, rate, batch_size):
  """Plain SGD on one client's examples over some rounds, in NumPy."""
  examples = clients.examples(position)
  flat = {'x': np.reshape(examples['x'], (len(examples['y']), -1)), 'y': examples['y']}
  weights = [np.array(w, np.float64) for w in weights]
  for number in range(1, rounds + 1):
    d = client_data.client_data(
      flat, batch_size=batch_size, epochs=1, seed=5, round_num=number, client=position
    )
    for x, y in softmax_regression.batches(d):
      gradient = softmax_regression.gradient(weights, x, y)
      weights = [w - rate * g for w, g in zip(weights, gradient)]
  return weights


def test_centralized_is_plain_sgd(tmp_path):
  flags = (*SOFTMAX, '--centralized', '--total_rounds=2')
  assert runs.start(tmp_path / 'run', *flags) == 0
  settings = runs.settings(tmp_path / 'run', *flags)
  data = run_data.load(settings)
  assert len(data.train) == 1
  initial = assembly.build_model(settings, data.spec).initial_weights[0]
  expected = sgd(initial, data.train, 0, 2, 0.1, 50)
  for found, weights in zip(runs.weights(tmp_path / 'run'), expected, strict=True):
    np.testing.assert_allclose(found, weights, atol=1e-5)


def test_local_only_is_each_client_alone(tmp_path):
  folder = tmp_path / 'run'
  flags = (*SOFTMAX, '--local_only', '--total_rounds=3')
  experiment.run(runs.settings(folder, *flags), runs.Pause(2))
  assert runs.start(folder, *flags) == 0
  settings = runs.settings(folder, *flags)
  data = run_data.load(settings)
  initial = assembly.build_model(settings, data.spec).initial_weights[0]
  alone = [sgd(initial, data.train, p, 3, 0.1, 50) for p in range(6)]
  row = runs.rows(folder / 'metrics.csv')[-1]
  assert row['cohort_size'] == '6' and row['bytes_up'] == '0'
  central = [runs.loss_and_accuracy(weights, data.test)[0] for weights in alone]
  np.testing.assert_allclose(float(row['eval/loss']), np.mean(central), rtol=1e-4)
  clients = data.test_clients
  own = [
    runs.loss_and_accuracy(alone[p], clients.examples(p))[0] for p in range(6) if clients.sizes[p]
  ]
  np.testing.assert_allclose(float(row['eval_clients/loss_mean']), np.mean(own), rtol=1e-4)
  weighted = np.average(own, weights=[size for size in clients.sizes if size])
  np.testing.assert_allclose(float(row['personal/loss']), weighted, rtol=1e-4)
  assert not any(name.startswith('global') for name in row)
  assert command_line.run(evaluate.main, ['evaluate.py', f'--run={folder}']) == 0
  (again,) = runs.rows(folder / 'evaluation.csv')
  assert again == {name: row[name] for name in again}


@pytest.mark.parametrize('runtime_name', ['fused', 'native'])
def test_rounds_in_which_nobody_takes_part(runtime_name, tmp_path):
  trace = tmp_path / 'trace.csv'
  lines = [f'client_{i},{first},{last}' for i in (0, 3) for first, last in ((1, 1), (3, 3))]
  trace.write_text('\n'.join(['client_id,first_round,last_round', *lines]))
  availability = ('--availability=rounds', f'--availability_trace={trace}')
  flags = (f'--runtime={runtime_name}', '--total_rounds=3', '--rounds_per_evaluation=1')
  assert runs.start(tmp_path / 'run', *SOFTMAX, *availability, *flags) == 0
  table = runs.rows(tmp_path / 'run' / 'metrics.csv')
  assert [row['cohort_size'] for row in table[1:]] == ['2', '0', '2']
  losses = [row['eval/loss'] for row in table]
  assert losses[1] == losses[2] and len(set(losses)) == 3
  runtime.shutdown()


@pytest.mark.parametrize('sampling', ['by_size', 'with_replacement', 'poisson'])
def test_every_sampling_trains(sampling, tmp_path):
  flags = (
    *SOFTMAX,
    f'--cohort_sampling={sampling}',
    '--total_rounds=4',
    '--client_batch_size=full',
  )
  assert runs.start(tmp_path / 'run', *flags) == 0
  table = runs.rows(tmp_path / 'run' / 'metrics.csv')
  assert float(table[-1]['eval/loss']) < float(table[0]['eval/loss'])
