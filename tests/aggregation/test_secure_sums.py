"""Secure sums: what they are rounded to, what they hide, what they cost, what they refuse."""

import numpy as np
import pytest
import tensorflow_federated as tff

from fl_research import aggregation, algorithms
from fl_research import settings as settings_lib
from fl_research.aggregation import sums as sums_lib
from fl_research.aggregation.privacy import dp_mean
from fl_research.registry import UsageError
from fl_research.soundness import validation
from tests import contexts
from tests.aggregation import seven_clients
from tests.algorithms import harness
from tests.oracles import robust_aggregation as oracle

WIDE = sums_lib.SecureSums(bound=1e4, clients=seven_clients.COUNT)
ADAPTIVE = dp_mean.AdaptiveClipping(0.5, 0.2, 1.0)
ZEROING = {'bound': 0.1, 'quantile': 0.5, 'multiplier': 1.5, 'increment': 0.01}
SUMS = [name for name, entry in aggregation.AGGREGATORS.items() if entry.is_sum]


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _build(name, hyperparameters, bound):
  sums = sums_lib.SecureSums(bound, seven_clients.COUNT)
  return seven_clients.build(aggregation.build(name, hyperparameters, sums), sums=sums)


def _private(sums, adaptive=None, noise=1.0):
  return dp_mean.PrivateMean(0.1, noise, 7.0, np.array([1, 2]), adaptive, sums)


@pytest.mark.parametrize(
  'name, hyperparameters, bound, rule',
  [
    ('mean', {}, 0.3, oracle.secure_mean(0.3)),
    (
      'norm_bounding',
      {'bound': 0.05, 'quantile': 0.8},
      0.2,
      oracle.norm_bounding(0.05, 0.8, average=oracle.secure_mean(0.2)),
    ),
    (
      'zeroing',
      ZEROING,
      0.3,
      oracle.zeroing(0.1, 0.5, np.log(10.0), 1.5, 0.01, average=oracle.secure_mean(0.3)),
    ),
  ],
  ids=SUMS,
)
def test_equals_oracle(name, hyperparameters, bound, rule):
  rounds = seven_clients.cohorts()
  secure = harness.run(_build(name, hyperparameters, bound), rounds)
  harness.assert_same(secure, seven_clients.expected(rule, rounds))
  clear = harness.run(seven_clients.build(aggregation.build(name, hyperparameters)), rounds)
  assert np.abs(secure[0][0] - clear[0][0]).max() > 1e-4  # The bound cuts something off.


@pytest.mark.parametrize('name', SUMS)
def test_within_a_wide_range_nothing_but_rounding_differs(name):
  rounds = seven_clients.cohorts()
  clear = seven_clients.build(aggregation.build(name, {}))
  harness.assert_same(
    harness.run(_build(name, {}, 1e4), rounds), harness.run(clear, rounds), tolerance=1e-6
  )


@pytest.mark.parametrize('method', ['scaffold', 'fednova'])
def test_what_methods_send_besides_is_summed_securely_and_stays_the_same(method):
  rounds = seven_clients.cohorts()
  build = lambda sums: harness.build(
    algorithms.build(method, {}),
    aggregator=aggregation.build('mean', {}, sums),
    sums=sums,
    population_size=seven_clients.COUNT,
  )
  secure, clear = build(WIDE), build(sums_lib.CLEAR)
  harness.assert_same(harness.run(secure, rounds), harness.run(clear, rounds), tolerance=2e-6)
  count = lambda process: str(process.next.to_building_block()).count('secure_sum')
  alone = seven_clients.build(aggregation.build('mean', {}, WIDE), sums=WIDE)
  assert count(secure) > count(alone) > count(clear) == 0


@pytest.mark.parametrize('adaptive', [None, ADAPTIVE], ids=['fixed', 'adaptive'])
@pytest.mark.parametrize('noise', [0.0, 1.0])
def test_the_private_mean_is_the_same_by_secure_sums(adaptive, noise):
  rounds = seven_clients.cohorts()
  secure, clear = (
    harness.run(seven_clients.build(_private(s, adaptive, noise)), rounds)
    for s in (WIDE, sums_lib.CLEAR)
  )
  harness.assert_same(secure, clear, tolerance=1e-6)


FACTORIES = {
  'mean': lambda sums: aggregation.build('mean', {}, sums),
  'norm_bounding': lambda sums: aggregation.build('norm_bounding', {}, sums),
  'norm_bounding, adaptive': lambda sums: aggregation.build(
    'norm_bounding', {'quantile': 0.5}, sums
  ),
  'zeroing, fixed': lambda sums: aggregation.build('zeroing', {'quantile': 0.0}, sums),
  'zeroing': lambda sums: aggregation.build('zeroing', {}, sums),
  'private mean': lambda sums: _private(sums),
  'private mean, adaptive': lambda sums: _private(sums, ADAPTIVE),
}


def _next(combiner):
  factory = combiner.factory
  value = tff.to_type([tff.TensorType(np.float32, (3,))])
  if isinstance(factory, tff.aggregators.WeightedAggregationFactory):
    return factory.create(value, tff.TensorType(np.float32)).next
  return factory.create(value).next


@pytest.mark.parametrize('case', FACTORIES)
def test_nothing_reaches_the_server_in_the_clear(case):
  tff.test.assert_not_contains_unsecure_aggregation(_next(FACTORIES[case](WIDE)))
  tff.test.assert_contains_unsecure_aggregation(_next(FACTORIES[case](sums_lib.CLEAR)))


@pytest.mark.parametrize(('clients', 'bits'), [(1, 32), (2, 33), (7, 35), (100, 39)])
def test_a_sum_of_more_clients_needs_a_larger_modulus(clients, bits):
  assert 2**bits >= clients * 2**32 > 2 ** (bits - 1)
  assert sums_lib.SecureSums(1.0, clients).num_bytes(1000) == bits * 125


def test_every_number_costs_the_bits_of_the_modulus():
  process = _build('mean', {}, 1.0)
  _, measured = process.next(process.initialize(), seven_clients.cohorts()[0])
  numbers = 1 + sum(w.size for w in harness.model().initial_weights[0])
  column = process.report_columns.index('bytes_up')
  sent = np.asarray(measured['report']['values'])[:, column]
  np.testing.assert_array_equal(sent, np.ceil(numbers * 35 / 8))


def test_a_secure_mean_has_no_form_that_sees_single_updates():
  update = tff.to_type([(np.float32, (3,))])
  seen = lambda updates, clients: updates
  assert aggregation.build('mean', {}, WIDE).create_seen(update, seen) is None
  assert aggregation.build('mean', {}).create_seen(update, seen) is not None


def test_updates_of_zero_change_nothing_but_for_rounding():
  sums = sums_lib.SecureSums(bound=1.0, clients=seven_clients.COUNT)
  process = seven_clients.build(
    aggregation.build('mean', {}, sums),
    client_optimizer=tff.learning.optimizers.build_sgdm(0.0),
  )
  start = harness.model().initial_weights[0]
  history = harness.run(process, seven_clients.cohorts())
  harness.assert_same(history, [start] * harness.ROUNDS, tolerance=1e-8)


FLAGS = {'experiment_name': 'run', 'task': 'digits', 'secure_aggregation': 'clear'}
REFUSED = [
  ({'aggregator': 'krum'}, '--aggregator=krum: not with --secure_aggregation; it looks at single'),
  ({'aggregator': 'median'}, '--aggregator=median: not with --secure_aggregation'),
  (
    {'compressor': 'rotation,quantize:2'},
    '--compressor=rotation,quantize:2: not with --secure',
  ),
  ({'centralized': True}, '--secure_aggregation=clear: not with --centralized'),
  ({'local_only': True}, '--secure_aggregation=clear: not with --local_only'),
  ({'algorithm': 'local'}, '--secure_aggregation=clear: not with --algorithm=local, which sends'),
  ({'secure_sum_bound': 0.0}, '--secure_sum_bound=0.0: accepted is a number above 0'),
  (
    {'secure_aggregation': 'none', 'secure_sum_bound': 1.0},
    '--secure_sum_bound=1.0: only read with --secure_aggregation',
  ),
  (
    {'secure_sum_bound': 1.0, 'dp_noise_multiplier': 1.0, 'dp_clip_norm': 1.0},
    '--secure_sum_bound=1.0: only read with --secure_aggregation and without',
  ),
]


@pytest.mark.parametrize('flags, message', REFUSED, ids=[str(flags) for flags, _ in REFUSED])
def test_refused_before_training(flags, message):
  with pytest.raises(UsageError) as error:
    validation.validate(settings_lib.Settings(**{**FLAGS, **flags}))
  assert message in str(error.value)


@pytest.mark.parametrize('name', aggregation.AGGREGATORS)
def test_an_aggregator_is_accepted_where_it_is_a_sum(name):
  settings = settings_lib.Settings(**FLAGS, aggregator=name)
  if name in SUMS:
    validation.validate(settings)
  else:
    with pytest.raises(UsageError, match='secure'):
      validation.validate(settings)
