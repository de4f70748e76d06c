"""TFF's own learning processes as `--algorithm`: they train what our forms train, as these do."""

import fl_research.environment  # noqa: I001  before TensorFlow

import numpy as np
import pytest
import tensorflow_federated as tff

import fl_research as fl
from fl_research import algorithms, runtime
from fl_research import settings as settings_lib
from fl_research.algorithms import of_tff
from fl_research.algorithms.optimization import fed_prox
from fl_research.registry import UsageError
from fl_research.soundness import validation
from fl_research.training import experiment
from tests.algorithms import harness
from tests.training import runs

ROUNDS = 3
# Six clients of unequal size, three a round, of several batches each, the last a partial one.
COMMON = {
  'partition': 'dirichlet',
  'num_clients': 6,
  'clients_per_round': 3,
  'client_batch_size': '50',
  'client_epochs_per_round': 2,
  'client_learning_rate': 0.05,
  'total_rounds': ROUNDS,
  'rounds_per_evaluation': 3,
  'seed': 5,
}
_HEAVY_BALL = {'client_optimizer': 'momentum', 'client_learning_rate': 0.005}
_HALVED = {'client_lr_schedule': 'exponential', 'client_lr_decay': 0.5}

# Ours and TFF's; TFF's heavy ball is ours of rate η (1 - β).
PAIRS = {
  'fed_avg': ({'algorithm': 'fedavg'}, {'algorithm': 'tff:weighted_fed_avg'}),
  'fed_sgd': ({'algorithm': 'fedsgd'}, {'algorithm': 'tff:fed_sgd'}),
  'mime_lite': (
    {'algorithm': 'mimelite', 'client_weighting': 'num_examples'},
    {'algorithm': 'tff:mime_lite', **_HEAVY_BALL},
  ),
  'mime_lite_with_optimizer_schedule': (
    {'algorithm': 'mimelite', **_HALVED},
    {
      'algorithm': 'tff:mime_lite_with_optimizer_schedule',
      'client_weighting': 'uniform',
      **_HEAVY_BALL,
      **_HALVED,
    },
  ),
}


def flags(**settings):
  """A command line."""
  return [f'--{name}={value}' for name, value in {**COMMON, **settings}.items()] + [
    '--notensorboard'
  ]


def ours(**settings):
  """Our form, in this process, trained."""
  form = fl.experiment('digits', **{**COMMON, **settings})
  form.run()
  return form


@pytest.fixture(scope='module', autouse=True)
def context():
  runtime.set_context('auto')


@pytest.fixture(scope='module')
def theirs(tmp_path_factory):
  """By name of a pair: the folder of TFF's form, run once."""
  parent = tmp_path_factory.mktemp('theirs')

  def folder(pair):
    if not (parent / pair).exists():
      assert runs.start(parent / pair, *flags(**PAIRS[pair][1])) == 0
    return parent / pair

  return folder


def assert_same_model(weights, folder, atol=1e-5):
  for a, b in zip(weights, runs.weights(folder), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def assert_same_numbers(table, folder):
  """What both tables have in the last row; TFF's has all columns of ours, and its own."""
  last, other = table.iloc[-1], runs.rows(folder / 'metrics.csv')[-1]
  assert [name for name in other if not name.startswith('method/')] == list(last.index)
  for name in set(last.index) - {'seconds', 'simulated_hours', 'rejected_clients'}:
    if name.startswith('bytes'):  # Of three clients: weights and rates are numbers too.
      assert abs(last[name] - float(other[name])) < 3 * 16
    else:
      np.testing.assert_allclose(float(other[name]), float(last[name]), rtol=1e-4, err_msg=name)


@pytest.mark.parametrize('pair', PAIRS)
def test_both_forms_train_the_same_model(theirs, pair):
  trained = ours(**PAIRS[pair][0])
  assert_same_model(trained.weights.values(), theirs(pair))
  assert_same_numbers(trained.metrics, theirs(pair))


def test_fed_prox_is_ours_with_the_other_sign(tmp_path, monkeypatch):
  """TFF 0.87 adds μ (w_t - w) to the gradient; where this fails, TFF has been mended."""
  folder = tmp_path / 'theirs'
  settings = {'algorithm': 'tff:unweighted_fed_prox', 'tff_proximal_strength': 0.5}
  assert runs.start(folder, *flags(**settings)) == 0
  monkeypatch.setattr(fed_prox, 'build', lambda mu: fed_prox.FedProx(-mu))
  trained = ours(algorithm='fedprox', fedprox_mu=0.5, client_weighting='uniform')
  assert_same_model(trained.weights.values(), folder)


def test_a_resumed_run_is_the_same(tmp_path, theirs):
  """MimeLite's server keeps the optimiser's statistics."""
  folder, given = tmp_path / 'run', flags(**PAIRS['mime_lite'][1])
  outcome = experiment.run(runs.settings(folder, *given), lambda: 'enough')
  assert int(outcome.last_row['round']) < ROUNDS
  assert runs.start(folder, *given) == 0
  runs.assert_same_results(folder, theirs('mime_lite'))


def test_the_native_runtime_gives_the_same(theirs):
  weights = ours(**PAIRS['mime_lite'][1], runtime='native').weights
  assert_same_model(weights.values(), theirs('mime_lite'), harness.ANOTHER_BUILD)
  runtime.set_context('auto')


def _refusal(**given):
  settings = settings_lib.from_flags({'task': 'digits', 'experiment_name': 'x', **given})
  with pytest.raises(UsageError) as refused:
    validation.validate(settings)
  return str(refused.value)


REFUSED = {
  'compressor': 'top_k',
  'attack': 'sign_flip',
  'aggregator': 'median',
  'secure_aggregation': 'clear',
  'aggregation_trigger': 'buffer',
  'cohort_sampling': 'oort',
  'client_weighting': 'num_tokens',
  'client_lr_schedule': 'cosine',
  'server_lr_schedule': 'cosine',
  'jit': 'on',
}


@pytest.mark.parametrize('flag', REFUSED)
def test_what_it_cannot_honour_is_refused_before_data_are_read(flag):
  found = _refusal(algorithm='tff:fed_avg', **{flag: REFUSED[flag]})
  assert found.startswith(f'--{flag}={REFUSED[flag]}: not with --algorithm=tff:fed_avg, which ')


def test_other_refusals():
  private = {'dp_noise_multiplier': 1.0, 'dp_clip_norm': 1.0}
  assert 'no epsilon' in _refusal(algorithm='tff:fed_avg', **private)
  assert 'did you mean tff:fed_avg?' in _refusal(algorithm='tff:fedavg')
  strength = {'tff_proximal_strength': 0.1}
  assert 'not read by this run' in _refusal(algorithm='tff:fed_avg', **strength)
  assert 'not read by this run' in _refusal(algorithm='fedprox', **strength)
  assert 'accepted is mean' in _refusal(algorithm='tff:unweighted_fed_avg', aggregator='zeroing')


def test_every_name_is_a_builder_of_tff():
  short = {'fed_avg', 'fed_prox', 'mime_lite'}
  for name in of_tff.ALGORITHMS:
    builder = name.removeprefix(of_tff.PREFIX)
    weighted = f'weighted_{builder}' if builder in short else builder
    assert hasattr(tff.learning.algorithms, f'build_{weighted}')
    assert of_tff.ALGORITHMS[name] is of_tff.ALGORITHMS[of_tff.PREFIX + weighted]
    assert not algorithms.build(name, {}).personal


OWN = """
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

def build(model, client_optimizer, server_optimizer):
  return tff.learning.algorithms.build_weighted_fed_avg(model, client_optimizer, server_optimizer)

def number(model, client_optimizer, server_optimizer):
  return 3

def clusters(model, client_optimizer, server_optimizer):
  return tff.learning.algorithms.build_fed_kmeans(3, (64,))

def examples(model, client_optimizer, server_optimizer):
  label = tff.tensorflow.computation(
    lambda rows: rows.map(lambda x: (x, tf.zeros([tf.shape(x)[0]], tf.int32))),
    tff.SequenceType(tff.TensorType(np.float32, (None, 8, 8, 1))),
  )
  process = build(model, client_optimizer, server_optimizer)
  return tff.simulation.compose_dataset_computation_with_learning_process(label, process)
"""


def test_a_process_of_ones_own(tmp_path, theirs, capsys):
  file = tmp_path / 'mine.py'
  file.write_text(OWN)
  assert runs.start(tmp_path / 'own', *flags(algorithm=f'{file}:build')) == 0
  assert_same_model(runs.weights(tmp_path / 'own'), theirs('fed_avg'), 0)
  assert 'algorithm' in runs.manifest(tmp_path / 'own')['sources']
  wrong = {
    f'{file}:number': 'number returns int; accepted is a tff.learning.templates.LearningProcess',
    f'{file}:examples': 'takes float32[?,8,8,1]* of every client; accepted is what clients have, <',
    f'{file}:clusters': 'trains other weights than those of --model',
    f'{file}:none': 'has no function none; its functions are build, number, clusters, examples',
    f'{file}': 'name the function that builds the algorithm',
    f'{tmp_path}/none.py:build': 'there is no file',
  }
  for name, message in wrong.items():
    capsys.readouterr()
    assert runs.start(tmp_path / 'wrong', *flags(algorithm=name)) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and '\n' not in said


def test_in_python():
  """A method of ours as a learning process, whose batches have names, and back."""
  settings = {'num_clients': 4, 'clients_per_round': 2, 'client_batch_size': '50', 'seed': 2}
  form = fl.experiment('digits', **settings)
  process = form.learning_process()
  given = []

  def build(*arguments):
    given.append(arguments)
    return process

  trained = fl.experiment('digits', algorithm=build, **settings)
  table = trained.run(rounds=2)
  form.run(rounds=2)
  for name, weights in form.weights.items():
    np.testing.assert_array_equal(trained.weights[name], weights)
  ((model, *optimizers),) = given
  assert model is trained.model
  assert all(isinstance(each, tff.learning.optimizers.Optimizer) for each in optimizers)
  # What is not named `train` is not taken for it.
  assert table['train/loss'].isna().all()
  assert table['method/participants'].tolist()[1:] == [2, 2]
  assert trained.client_metrics.phase.unique().tolist() == ['eval']
  assert trained.learning_process() is process


def test_what_is_no_process_in_python():
  with pytest.raises(UsageError, match='algorithm: is of type int'):
    fl.experiment('digits', algorithm=3)
