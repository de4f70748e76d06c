"""What a round can carry beyond one model, one trip and one sum."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import algorithms, models, runtime
from fl_research.aggregation import compression, mean, median, stacked, summed, sums
from fl_research.algorithms.optimization import fed_avg, fed_sgd
from fl_research.datasets.federated_data import Problem
from fl_research.models.specification import ModelSpec
from fl_research.population import attacks
from fl_research.round import client_half, composition, method, parts, server_half
from fl_research.round.structures import subtract
from tests.aggregation import seven_clients
from tests.algorithms import harness
from tests.oracles import fed_avg as fed_avg_oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with runtime.use_context('fused', chunks=2):
    yield


class _Gradients(method.Exchange):
  """First trip: the mean gradient, which the server keeps."""

  def work(self, client, message):
    gradient, trained = client.gradient(message)
    return method.Reply(list(gradient), client.state + 1, trained, measures={'first': client.state})

  def finish(self, server, combined):
    return server._replace(own=list(combined.update))


class _Steps(method.Exchange):
  """Second trip: every client's step along the mean gradient."""

  def message(self, server):
    return collections.OrderedDict(weights=server.weights, gradient=server.own)

  def work(self, client, message):
    rate = client.optimizer_settings(message['weights'])['learning_rate']
    update = {'steps': [-rate * g for g in message['gradient']]}
    _, trained = client.gradient(message['weights'])
    return method.Reply(update, client.state + 10, trained, measures={'second': client.state})


class _TwoTrips(method.Method):
  """FedSGD in two trips."""

  @property
  def exchanges(self):
    second = _Steps()
    second.finish = lambda server, combined: self.step(server, tuple(combined.update['steps']))
    return _Gradients(), second

  def initial_own(self, weights):
    return [tf.zeros_like(w) for w in weights]

  def initial_client_state(self, weights):
    return tf.constant(0.0)

  def measures(self, server):
    return {'norm': tf.linalg.global_norm(server.own)}


def _fed_sgd():
  optimizer = tff.learning.optimizers.build_sgdm(harness.RATE)
  return harness.build(fed_sgd.build(), server_optimizer=optimizer)


@pytest.mark.parametrize('context', ['fused', 'native'])
def test_two_trips_in_a_round(context):
  rounds = harness.cohorts()
  with runtime.use_context(context):
    process = harness.build(_TwoTrips())
    weights, kept = harness.run_with_clients(process, rounds)
  harness.assert_same(weights, harness.run(_fed_sgd(), rounds), 1e-6)
  assert [float(kept[k]['method']) for k in range(3)] == [33.0] * 3


def test_costs_of_both_trips_and_measures_of_all():
  cohort = harness.cohorts(rounds=1)[0]
  process = harness.build(_TwoTrips())
  size = 4 * 15
  assert process.bytes_down_per_client == size + 4 + 2 * size + 4
  assert process.bytes_up_per_client == 2 * (size + 4)
  result = process.run_round(process.initialize(), cohort)
  report = dict(zip(process.report_columns, np.asarray(result.measured['report']['values']).T))
  np.testing.assert_array_equal(report['bytes_up'], [2 * (size + 4)] * 3)
  np.testing.assert_array_equal(report['num_steps'], [2] * 3)
  np.testing.assert_array_equal(report['method/second'], [1] * 3)
  assert process.method_columns == ('first', 'second', 'norm')
  measured = process.method_metrics(result.measured)
  gradient = np.concatenate([np.ravel(w) for w in result.state['server']['method']])
  assert measured['norm'] == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
  assert (measured['first'], measured['second']) == (0.0, 1.0)


def test_who_is_left_out_of_the_first_trip_is_left_out_of_the_second():
  cohort = harness.cohorts(rounds=1)[0]
  broken = [cohort[0], seven_clients.broken(cohort[1]), cohort[2]]
  process = harness.build(_TwoTrips())
  result = process.run_round(process.initialize(), broken)
  assert result.measured['participants'] == 2
  kept = dict(zip(result.kept['client'].tolist(), np.asarray(result.kept['state']['method'])))
  assert kept == {0: 11.0, 1: 0.0, 2: 11.0}
  expected = harness.run(_fed_sgd(), [[cohort[0], cohort[2]]])
  harness.assert_same([process.model_weights(result.state)], expected, 1e-6)


class _OwnRule(fed_avg.FedAvg):
  """FedAvg that combines by the median, whatever the run says."""

  combiner = median.build()


def test_an_exchange_may_combine_in_a_way_of_its_own():
  rounds = harness.cohorts()
  told = harness.build(fed_avg.build(), aggregator=median.build())
  harness.assert_same(harness.run(harness.build(_OwnRule()), rounds), harness.run(told, rounds), 0)
  with pytest.raises(ValueError, match='--secure_aggregation'):
    harness.build(_OwnRule(), sums=sums.SecureSums(1.0, 3))


class _WeighsItself(fed_avg.FedAvg):
  """FedAvg whose clients all count the same, whatever the run says."""

  def work(self, client, message):
    return super().work(client, message)._replace(weight=tf.constant(1.0))


def test_a_method_may_weigh_its_clients():
  rounds = harness.cohorts()
  uniform = harness.build(fed_avg.build(), client_weighting='uniform')
  harness.assert_same(
    harness.run(harness.build(_WeighsItself()), rounds), harness.run(uniform, rounds), 1e-6
  )


class _TwoModels(method.Method):
  """Two models side by side, the second started from zero; clients use the one that fits better."""

  personal = True

  def initial(self):
    start = super().initial()
    models = (start.weights, tuple(tf.zeros_like(w) for w in start.weights))
    specs = tf.nest.map_structure(lambda w: tf.TensorSpec(w.shape, w.dtype), models)
    return start._replace(
      weights=models, optimizer=self.federation.server_optimizer.initialize(specs)
    )

  def work(self, client, message):
    trained = [client.train(model) for model in message]
    updates = tuple(subtract(t.weights, m) for t, m in zip(trained, message))
    return method.Reply(updates, client.state, trained[0])

  def finish(self, server, combined):
    weights = tf.nest.map_structure(lambda w, u: w + u, tuple(server.weights), combined.update)
    return server._replace(weights=weights)

  def models(self, weights):
    return {'first': weights[0], 'second': weights[1]}


def test_several_models():
  rounds = harness.cohorts()
  process = harness.build(_TwoModels())
  state = process.initialize()
  for cohort in rounds:
    state = process.run_round(state, cohort).state
  models = process.models(state)
  harness.assert_same(
    [models['first']], harness.run(harness.build(fed_avg.build()), rounds)[-1:], 1e-6
  )
  assert list(models) == ['first', 'second']
  assert np.any(models['first'][0] != models['second'][0])


class _RunningMean(stacked.StackedRule):
  """The mean of this round's mean and what came out of the round before."""

  def initial_memory(self, zeros):
    return list(zeros)

  def next(self, memory, updates, weights, reference):
    means = [tf.reduce_mean(u, axis=0) for u in updates]
    combined = tuple(0.5 * (m + mean) for m, mean in zip(memory, means))
    return combined, list(combined)


def test_a_rule_may_remember():
  rounds = seven_clients.cohorts()
  history = harness.run(seven_clients.build(_RunningMean()), rounds)
  expected, memory, weights = [], None, harness.model().initial_weights[0]
  for cohort in rounds:
    deltas = _deltas(weights, cohort)
    memory = [0.5 * ((0 if memory is None else m) + d) for m, d in zip(memory or deltas, deltas)]
    weights = [w + m for w, m in zip(weights, memory)]
    expected.append(weights)
  harness.assert_same(history, expected)


def _deltas(weights, cohort):
  """The unweighted mean of what clients would send from these weights."""
  trained = [fed_avg_oracle.local_sgd(weights, data, harness.RATE) for data in cohort]
  return [np.mean(parts, axis=0) - w for w, parts in zip(weights, zip(*trained))]


def test_nobody_left_leaves_the_memory_as_it_is():
  rounds = seven_clients.cohorts(rounds=2)
  process = seven_clients.build(_RunningMean())
  nobody = [seven_clients.broken(rounds[0][0])]
  with_gap = harness.run(process, [rounds[0], nobody, rounds[1]])
  harness.assert_same([with_gap[2]], harness.run(process, rounds)[1:], 0)


class _OnlyTheServer(stacked.StackedRule):
  """What the server's own examples say, whatever the clients send."""

  needs_reference = True

  def next(self, memory, updates, weights, reference):
    return reference, memory


def test_a_rule_may_see_an_update_of_the_servers_own():
  rounds = harness.cohorts()
  own = rounds[0][2]
  process = harness.build(fed_avg.build(), aggregator=_OnlyTheServer(), server_data=own)
  alone = harness.run(harness.build(fed_avg.build()), [[own]] * 3)
  harness.assert_same(harness.run(process, rounds), alone, 1e-6)


@pytest.mark.parametrize('chain', [None, 'top_k', 'qsgd'])
def test_the_halves_make_a_round_without_tff(chain):
  """What a driver does that has real clients: bytes go up, and are read at the server alone."""
  compressor = compression.build({'top_k': {'fraction': 0.5}}) if chain == 'top_k' else None
  if chain == 'qsgd':
    compressor = compression.build({'qsgd': {'levels': 4}})
  cohort = harness.cohorts(rounds=1)[0]
  process = harness.build(fed_avg.build(), compressor=compressor)
  parts, bound = process.parts, process.method
  combiner = mean.build().sent_by(compressor) if compressor else mean.build()
  server = server_half.ServerHalf(parts, bound)
  state = server.initial()
  half = client_half.ClientHalf(parts, bound, bound, combiner.encoder, 0)
  broadcast = server.broadcast(bound, state)
  total, weight = None, 0.0
  for data in cohort:
    tensors = tf.nest.map_structure(tf.constant, data)
    memory = process.initial_client_state or {'method': (), 'compressor': ((),)}
    reply = half.work(broadcast, tensors, memory)
    if compressor:
      assert reply['message'].dtype == tf.uint8
    arrived = server_half.arrive(
      combiner.encoder, half.shapes, reply['message'], reply['weight'], reply['finite']
    )
    parts_of_sum = [arrived['weight'] * u for u in arrived['update']]
    total = parts_of_sum if total is None else [t + p for t, p in zip(total, parts_of_sum)]
    weight += float(arrived['weight'])
  combined = method.Combined(tuple(t / weight for t in total), (), tf.constant(3.0))
  after = server.finish(bound, combiner, state, combined, is_last=True)
  expected = process.run_round(process.initialize(), cohort).state
  harness.assert_same([[w.numpy() for w in after['weights']]], [process.model_weights(expected)])
  assert int(after['round_num']) == 1


def test_attackers_who_collude_need_a_rule_that_shows_updates():
  target = attacks.attack.Target(None, 3, 1.0) if hasattr(attacks, 'attack') else None
  attack = attacks.build('inner_product', target, {})
  factory = summed.Summed(tff.aggregators.MeanFactory())
  with pytest.raises(ValueError, match='--attack'):
    harness.build(fed_avg.build(), aggregator=factory, attack=attack, attackers=(0,))


@pytest.mark.parametrize('name', ['fedavg', 'scaffold', 'ditto'])
def test_no_graph_holds_the_initial_weights(name):
  spec = ModelSpec((100_000,), np.dtype('f4'), (), np.dtype('i4'), Problem.CLASSIFICATION, 2)
  model = models.build('softmax', spec, 0)
  optimizer = tff.learning.optimizers.build_sgdm(harness.RATE)
  process = composition.build_process(
    parts.Parts(
      model, algorithms.build(name, {}), optimizer, optimizer, batch_size=4, population_size=3
    )
  )
  for computation in (process.start, process.next):
    proto = tff.framework.ConcreteComputation.get_proto(computation)
    assert proto.ByteSize() < 4 * model.num_parameters
  weights = process.model_weights(process.initialize())
  np.testing.assert_array_equal(weights[0], model.initial_weights[0][0])
