"""Attacks against their oracles, over three rounds of the whole process, and alone."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import aggregation, runtime
from fl_research.aggregation import norm_bounding, sums
from fl_research.datasets.federated_data import Problem
from fl_research.models.specification import ModelSpec
from fl_research.population import attacks
from fl_research.population.attacks import alie, attack
from fl_research.registry import UsageError
from tests import contexts
from tests.aggregation import seven_clients
from tests.algorithms import harness
from tests.oracles import attacks as attack_oracle
from tests.oracles import robust_aggregation as oracle
from tests.oracles import softmax_regression as problem

ATTACKERS = (1, 2, 4)


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _target(clients_per_round=7, server_learning_rate=1.0, **spec):
  """A target with the oracles' data, or data that differ from them."""
  fields = {
    'input_shape': (problem.DIMENSION,),
    'x_dtype': np.dtype(np.float32),
    'label_shape': (),
    'label_dtype': np.dtype(np.int32),
    'problem': Problem.CLASSIFICATION,
    'num_classes': problem.CLASSES,
    **spec,
  }
  return attack.Target(ModelSpec(**fields), clients_per_round, server_learning_rate)


CASES = {
  'label_flip': ('label_flip', {}, attack_oracle.LabelFlip(problem.CLASSES)),
  'sign_flip': ('sign_flip', {'scale': 2.5}, attack_oracle.SignFlip(2.5)),
  'alie': ('alie', {}, attack_oracle.Alie()),
  'alie, z given': ('alie', {'z': 1.5}, attack_oracle.Alie(1.5)),
  'inner_product': ('inner_product', {'epsilon': 1.1}, attack_oracle.InnerProduct(1.1)),
  'model_replacement': (
    'model_replacement',
    {'label': 2, 'trigger_size': 1, 'trigger_value': 2.0},
    attack_oracle.ModelReplacement([3], 2.0, 2, 7.0),
  ),
}


@pytest.mark.parametrize('defence', ['mean', 'median'])
@pytest.mark.parametrize('case', CASES)
def test_equals_oracle(case, defence):
  name, hyperparameters, by_hand = CASES[case]
  rounds = seven_clients.cohorts()
  process = seven_clients.build(
    aggregation.build(defence, {}),
    attack=attacks.build(name, _target(), hyperparameters),
    attackers=ATTACKERS,
  )
  rule = getattr(oracle, defence)()
  lies = seven_clients.expected(rule, rounds, by_hand, ATTACKERS)
  harness.assert_same(harness.run(process, rounds), lies, 2e-5)
  honest = seven_clients.expected(rule, rounds)
  assert np.abs(lies[0][0] - honest[0][0]).max() > 1e-3


@pytest.mark.parametrize('name', attacks.ATTACKS)
def test_without_attackers_nothing_is_changed(name):
  rounds = seven_clients.cohorts()
  settings = {'model_replacement': {'trigger_size': 1}}.get(name, {})
  attacked = seven_clients.build(
    aggregation.build('mean', {}), attack=attacks.build(name, _target(), settings)
  )
  harness.assert_same(
    harness.run(attacked, rounds), harness.run(seven_clients.mean(), rounds), 1e-6
  )


@pytest.mark.parametrize('name', ['gaussian', 'alie', 'model_replacement'])
def test_runtimes_agree_and_order_does_not_matter(name):
  settings = {'model_replacement': {'trigger_size': 1}}.get(name, {})
  process = seven_clients.build(
    aggregation.build('median', {}),
    attack=attacks.build(name, _target(), settings),
    attackers=ATTACKERS,
  )
  rounds = seven_clients.cohorts()
  fused = harness.run(process, rounds)
  harness.assert_same(fused, harness.run(process, [cohort[::-1] for cohort in rounds]), 0)
  with runtime.use_context('native'):
    harness.assert_same(fused, harness.run(process, rounds), harness.ANOTHER_BUILD)


def test_gaussian_draws_differ_by_tensor_client_and_round_alone():
  noise = attacks.build('gaussian', _target(), {'sigma': 3.0})
  zeros = (tf.zeros([200, 100]), tf.zeros([20000]))
  draw = lambda seed: [
    t.numpy().ravel() for t in noise.poison_update(zeros, 1.0, tf.constant(seed))
  ]
  first, again, other = draw([1, 2]), draw([1, 2]), draw([1, 3])
  np.testing.assert_array_equal(first, again)
  everything = np.array([*first, *other])
  assert np.abs(np.corrcoef(everything) - np.eye(4)).max() < 0.04
  np.testing.assert_allclose(everything.std(axis=1), 3.0, rtol=0.03)
  np.testing.assert_allclose(everything.mean(axis=1), 0.0, atol=0.1)


@pytest.mark.parametrize(
  'count, attackers, z',
  # From scipy.stats.norm.ppf; the paper's own example is 50 workers, 24 of them corrupted: s = 2.
  [(50, 24, 1.42607687), (10, 2, 0.0), (10, 3, 0.18001237), (51, 12, 0.36120210)],
)
def test_alie_stays_within_z_max(count, attackers, z):
  actual = alie.largest_deviation(tf.constant(count), tf.constant(attackers))
  np.testing.assert_allclose(actual, z, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('count, attackers', [(10, 5), (10, 9), (10, 10), (1, 1), (1, 0), (2, 1)])
def test_alie_is_finite_where_the_quantile_is_not(count, attackers):
  updates = (tf.random.stateless_normal([count, 3], [1, 2]),)
  chosen = tf.range(count) < attackers
  sent = attacks.build('alie', _target(), {}).collude(updates, chosen)
  assert np.all(np.isfinite(sent[0]))
  np.testing.assert_array_equal(sent[0][attackers:], updates[0][attackers:])


def test_a_majority_that_colludes_sends_zeros_where_nobody_is_honest():
  updates = (tf.ones([3, 2]), tf.ones([3]))
  sent = attacks.build('inner_product', _target(), {}).collude(updates, tf.fill([3], True))
  np.testing.assert_array_equal(sent[0], np.zeros([3, 2]))
  np.testing.assert_array_equal(sent[1], np.zeros([3]))


@pytest.mark.parametrize(
  'spec, label, flipped',
  [
    ({'num_classes': 10}, [0, 3, 9], [9, 6, 0]),
    ({'problem': Problem.BINARY, 'num_classes': 1}, [0, 1, 1], [1, 0, 0]),
    ({'problem': Problem.MULTILABEL, 'num_classes': 3}, [[0.0, 1.0, 1.0]], [[1.0, 0.0, 0.0]]),
  ],
)
def test_label_flip_by_problem(spec, label, flipped):
  liar = attacks.build('label_flip', _target(**spec), {})
  _, y = liar.poison_examples(tf.zeros([len(label), 2]), tf.constant(label))
  np.testing.assert_array_equal(y, flipped)


@pytest.mark.parametrize('name', ['label_flip', 'model_replacement'])
def test_attacks_on_labels_need_labels(name):
  with pytest.raises(UsageError, match=f'--attack={name}: does not fit this data'):
    attacks.build(name, _target(problem=Problem.REGRESSION, num_classes=1), {})


IMAGES = {'input_shape': (5, 6, 2), 'num_classes': 4}


def test_the_trigger_sits_in_the_lower_right_corner_of_a_share_of_the_examples():
  planted = attacks.build(
    'model_replacement',
    _target(**IMAGES),
    {'label': 3, 'trigger_size': 2, 'trigger_value': 9.0, 'poisoned_fraction': 0.3},
  )
  x, y = planted.poison_examples(tf.zeros([10, 5, 6, 2]), tf.zeros([10], tf.int32))
  chosen = y.numpy() == 3
  assert chosen.sum() == 3
  expected = np.zeros((5, 6, 2), np.float32)
  expected[3:, 4:] = 9.0
  for image, is_poisoned in zip(x.numpy(), chosen):
    np.testing.assert_array_equal(image, expected if is_poisoned else np.zeros_like(expected))


def test_the_backdoor_is_evaluated_on_triggered_examples_of_other_labels():
  planted = attacks.build('model_replacement', _target(**IMAGES), {'label': 1, 'trigger_size': 1})
  x = np.random.default_rng(0).uniform(size=(6, 5, 6, 2)).astype(np.float32)
  test = {'x': x, 'y': np.array([0, 1, 2, 1, 3, 0], np.int32)}
  sets = planted.evaluation_sets(test)
  assert list(sets) == ['backdoor']
  expected = x[[0, 2, 4, 5]].copy()
  expected[:, 4, 5] = 1.0
  np.testing.assert_array_equal(sets['backdoor']['x'], expected)
  np.testing.assert_array_equal(sets['backdoor']['y'], np.ones(4, np.int32))
  assert sets['backdoor']['x'].dtype == np.float32 and sets['backdoor']['y'].dtype == np.int32
  assert np.all(x[:, 4, 5] < 1)  # The test set itself is left as it was.


def test_the_boost_replaces_the_model():
  sent = lambda **given: (
    attacks.build('model_replacement', _target(10, 0.5, **IMAGES), given)
    .poison_update((tf.ones([2]),), 1.0, tf.constant([0, 0]))[0]
    .numpy()
  )
  np.testing.assert_array_equal(sent(), [20, 20])
  np.testing.assert_array_equal(sent(boost=3.0), [3, 3])


@pytest.mark.parametrize(
  'settings, message',
  [
    ({'label': 4}, '--model_replacement_label=4: accepted is 0 to 3'),
    ({'trigger_size': 6}, r'--model_replacement_trigger_size=6: .*accepted is 1 to 5'),
    ({'poisoned_fraction': 0.0}, '--model_replacement_poisoned_fraction=0.0: accepted is'),
  ],
)
def test_a_backdoor_must_fit_the_data(settings, message):
  with pytest.raises(UsageError, match=message):
    attacks.build('model_replacement', _target(**IMAGES), settings)


@pytest.mark.parametrize(
  'name, key, value',
  [('sign_flip', 'scale', 0.0), ('gaussian', 'sigma', -1.0), ('inner_product', 'epsilon', 0.0)],
)
def test_bad_hyperparameters_are_refused(name, key, value):
  with pytest.raises(UsageError, match=f'--{name}_{key}={value}: accepted is a number above 0'):
    attacks.build(name, _target(), {key: value})


@pytest.mark.parametrize('name', ['alie', 'inner_product'])
@pytest.mark.parametrize(
  'aggregator',
  [
    aggregation.build('mean', {}, sums.SecureSums(bound=1.0, clients=7)),
    aggregation.build('zeroing', {}),
    aggregation.build('norm_bounding', {'quantile': 0.5}),
    tff.aggregators.UnweightedMeanFactory(),
  ],
  ids=['secure sums', 'zeroing', 'norm_bounding, adaptive', "TFF's own"],
)
def test_colluding_needs_updates_that_can_be_seen(name, aggregator):
  with pytest.raises(UsageError, match='--attack: attackers who collude see all updates'):
    seven_clients.build(aggregator, attack=attacks.build(name, _target(), {}))


def test_norm_bounding_of_stacked_updates_is_norm_bounding():
  rounds = seven_clients.cohorts()
  rule = aggregation.build('norm_bounding', {'bound': 0.05})
  harness.assert_same(
    harness.run(seven_clients.build(rule), rounds),
    harness.run(seven_clients.build(norm_bounding.StackedNormBounding(0.05)), rounds),
    1e-6,
  )
