"""What every registered method must do; a new one joins by being registered.

A method runs with the defaults of its registry entry, on three clients of 9, 5 and 14 examples, two
epochs of batches of four a round. Softmax regression makes the task convex; methods with private
layers have a hidden layer to share, normalised where the private layers are those that normalise.
"""

import collections
import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import algorithms, client_data, runtime
from fl_research.models import layers
from fl_research.models import model as model_lib
from fl_research.round import client as client_lib
from fl_research.round import composition, server_half
from fl_research.training import checkpoints, client_states
from fl_research.training import loop as loop_lib
from tests.algorithms import harness
from tests.oracles import softmax_regression as problem

METHODS = tuple(algorithms.ALGORITHMS)
ROUNDS = 3
# They need a hidden layer, and name none.
OF_HIDDEN_LAYERS = ('heterofl', 'moon', 'knnper', 'fedpac', 'fedproto', 'fedgh', 'dbe')
# Their loss is that of a part of the examples which is another in every round.
LOSS_OF_OTHERS = ('fedrecon',)
# What their clients use is trained first, in which units are dropped.
TRAINED_TO_ANSWER = ('fedrecon', 'perfedavg')
# All clients are in one cluster until their updates disagree.
ALIKE_AT_FIRST = ('cfl',)
RATES_ARE_ZERO = 100  # from this round on, counted from 0


@pytest.fixture(scope='module')
def contexts():
  """The runtimes: `one` and `two` chunks of clients on the fused one, and `native`."""
  made = {}
  with runtime.use_context('fused', chunks=2) as made['two']:
    pass
  with runtime.use_context('fused', chunks=1) as made['one']:
    pass
  with runtime.use_context('native') as made['native']:
    pass
  yield made


@pytest.fixture(autouse=True)
def _one_chunk(contexts):
  with tff.framework.get_context_stack().install(contexts['one']):
    yield


@functools.cache
def _examples():
  """Clients whose labels one linear model gives."""
  rng = np.random.default_rng(4)
  truth = rng.normal(size=(problem.DIMENSION, problem.CLASSES))
  made = []
  for size in problem.SIZES:
    x = rng.normal(size=(size, problem.DIMENSION)).astype(np.float32)
    made.append({'x': x, 'y': np.argmax(x @ truth, axis=1).astype(np.int32)})
  return made


def _data(client, round_num, num_examples=None, epochs=2):
  examples = {name: array[:num_examples] for name, array in _examples()[client].items()}
  return client_data.client_data(
    examples, batch_size=problem.BATCH, epochs=epochs, seed=7, round_num=round_num, client=client
  )


def _cohort(round_num):
  return [_data(client, round_num) for client in range(len(problem.SIZES))]


def _schedule(round_num):
  return tf.where(round_num >= RATES_ARE_ZERO, 0.0, 1.0)


def _layered(normalized):
  """A model with a hidden layer."""
  normalization = 'layer' if normalized else 'none'
  return harness.model(name='mlp', hidden_units=8, hidden_layers=1, normalization=normalization)


def _dropping(rate, normalized):
  """A model with a hidden layer whose units are dropped in training."""
  network = layers.sequential(
    layers.Dense(8),
    *([layers.GroupNorm(1)] if normalized else []),
    layers.Dropout(rate),
    layers.Dense(problem.CLASSES),
  )
  return model_lib.Model(network, harness.model().spec, seed=3)


def _parts(name):
  """The method with its defaults; a server rate that suits the adaptive ones, too."""
  entry = algorithms.ALGORITHMS[name]
  private = entry.hyperparameters.get('private_layers')
  return harness.parts(
    algorithms.build(name, {}),
    model=_layered(private and private.default == 'normalization')
    if private or name in OF_HIDDEN_LAYERS
    else harness.model(),
    server_optimizer=tff.learning.optimizers.build_sgdm(0.2),
    client_schedule=_schedule,
    server_schedule=_schedule,
    client_weighting=entry.defaults.get('client_weighting', 'num_examples'),
    server_data=_data(2, 0) if entry.needs_server_examples else None,
  )


@functools.cache
def _composition(name):
  return composition.Composition(_parts(name))


@functools.cache
def _process(name):
  return _composition(name).process()


def _step(process, progress, cohort):
  """One round, as the training loop has it; gives what was measured."""
  result = process.run_round(progress.state, cohort, progress.client_states)
  progress.state = result.state
  progress.round_num += 1
  return result.measured


def _run(process, rounds, folder=None):
  """The progress after these rounds, and what was measured in each."""
  progress = loop_lib.start(process, client_states.build(process, folder))
  return progress, [_step(process, progress, cohort) for cohort in rounds]


@functools.cache
def _three_rounds(name):
  """Three rounds of everybody, in one chunk; not to be changed."""
  return _run(_process(name), [_cohort(r) for r in range(1, ROUNDS + 1)])


def _leaves(progress):
  """All numbers of a progress: the server's, then the clients' in their order."""
  states = progress.client_states
  clients = states.get(range(len(problem.SIZES))) if states else []
  return [np.asarray(leaf) for leaf in tf.nest.flatten((progress.state, clients))]


def _assert_same(first, second, tolerance):
  a, b = _leaves(first), _leaves(second)
  assert len(a) == len(b)
  for u, v in zip(a, b):
    np.testing.assert_allclose(u, v, rtol=tolerance, atol=tolerance)


def _report(process, measured):
  """Columns of the report, rows in the order of the clients."""
  order = np.argsort(np.asarray(measured['report']['client']))
  return dict(zip(process.report_columns, np.asarray(measured['report']['values'])[order].T))


def _assert_finite(progress):
  assert all(np.all(np.isfinite(leaf)) for leaf in _leaves(progress))


@pytest.mark.parametrize('name', [name for name in METHODS if name not in LOSS_OF_OTHERS])
def test_loss_falls(name):
  _, measured = _three_rounds(name)
  reports = [_report(_process(name), each) for each in measured]
  losses = [np.sum(r['loss']) / np.sum(r['num']) for r in reports]
  assert losses[2] < losses[1] < losses[0]


@pytest.mark.parametrize('name', METHODS)
def test_resuming_from_a_checkpoint_changes_no_bit(name, tmp_path):
  process = _process(name)
  progress, _ = _run(process, [_cohort(r) for r in range(1, ROUNDS)], tmp_path)
  checkpoints.CheckpointStore(tmp_path, 1, progress.client_states).save(
    loop_lib.to_checkpoint(progress)
  )
  if progress.client_states:
    progress.client_states.close()
  states = client_states.build(process, tmp_path)
  checkpoint = checkpoints.CheckpointStore(tmp_path, 1, states).restore()
  resumed = loop_lib.from_checkpoint(process, checkpoint, states)
  _step(process, resumed, _cohort(ROUNDS))
  _assert_same(resumed, _three_rounds(name)[0], 0)


@pytest.mark.parametrize('name', METHODS)
def test_other_runtimes_agree(name, contexts):
  # One chunk adds clients up in the order of the native runtime, whose worker however rewrites
  # arithmetic in its own way: most methods agree to the bit, some differ in a last one. Two chunks
  # add up each its half, which rounds differently, but the same way every time.
  process, rounds = _process(name), [_cohort(r) for r in range(1, ROUNDS + 1)]
  install = tff.framework.get_context_stack().install
  with install(contexts['native']):
    _assert_same(_run(process, rounds)[0], _three_rounds(name)[0], harness.ANOTHER_BUILD)
  with install(contexts['two']):
    first, second = (_run(process, rounds)[0] for _ in range(2))
  _assert_same(first, _three_rounds(name)[0], 1e-6)
  _assert_same(first, second, 0)


@pytest.mark.parametrize('name', METHODS)
def test_same_seed_gives_the_same_bits(name):
  # From the data's shuffles on, in a process built anew.
  fresh = composition.build_process(_parts(name))
  again, _ = _run(fresh, [_cohort(r) for r in range(1, ROUNDS + 1)])
  _assert_same(again, _three_rounds(name)[0], 0)


@pytest.mark.parametrize('name', METHODS)
def test_order_of_the_cohort_does_not_matter(name):
  # But for the rounding of sums, which depends on the order of what is added.
  reordered, _ = _run(_process(name), [_cohort(r)[::-1] for r in range(1, ROUNDS + 1)])
  _assert_same(reordered, _three_rounds(name)[0], 1e-6)


def _scores(process, progress, client):
  """What a client's model answers to its examples."""
  states = progress.client_states
  state = states.get([client])[0]['method'] if states else ()
  person = client_lib.Client(
    process.parts.model, process.parts.client_optimizer, _data(client, 1), state
  )
  server = tf.nest.map_structure(tf.constant, progress.state['server'])
  predict = process.method.predictor(server_half.server_of(server), person)
  return np.asarray(predict(tf.constant(_examples()[client]['x'])), np.float64)


@pytest.mark.parametrize('name', METHODS)
def test_clients_predict_better_than_at_first(name):
  process = _process(name)
  trained = _three_rounds(name)[0]
  untrained = loop_lib.start(process, client_states.build(process))

  def loss(progress, client):
    scores = _scores(process, progress, client)
    assert scores.shape == (problem.SIZES[client], problem.CLASSES)
    of_labels = np.take_along_axis(scores, _examples()[client]['y'][:, None], 1)[:, 0]
    return np.mean(np.log(np.sum(np.exp(scores), axis=1)) - of_labels)

  losses = np.array([[loss(p, k) for p in (untrained, trained)] for k in range(len(problem.SIZES))])
  assert losses[:, 1].mean() < losses[:, 0].mean()


@pytest.mark.parametrize('name', [name for name in METHODS if name not in ALIKE_AT_FIRST])
def test_who_has_no_model_of_its_own_uses_the_global_one(name):
  process, trained = _process(name), _three_rounds(name)[0]
  weights, x = process.model_weights(trained.state), _examples()[1]['x']
  globally = process.parts.model.predict_on_batch((weights, ()), tf.constant(x), training=False)
  same = np.allclose(_scores(process, trained, client=1), globally)
  assert same == (not process.method.personal)


@pytest.mark.parametrize('name', [name for name in METHODS if name not in TRAINED_TO_ANSWER])
def test_what_clients_use_drops_nothing(name):
  def scores(rate):
    model = _dropping(rate, normalized=name != 'heterofl')
    given = dataclasses.replace(_parts(name), model=model)
    weights = tuple(tf.constant(w) for w in given.model.initial_weights[0])
    method = given.method.bind(given.federation(weights))
    state = method.initial_client_state(weights)
    person = client_lib.Client(given.model, given.client_optimizer, _data(0, 1), state)
    return method.predictor(method.initial(), person)(tf.constant(_examples()[0]['x']))

  np.testing.assert_array_equal(scores(0.5), scores(0.0))


def _sharing_examples(cohort):
  """The same clients as XLA's loop has them: with everybody's examples, some of them their own."""
  begins = np.cumsum([0, *(len(data['examples']['y']) for data in cohort)])
  everybody = collections.OrderedDict(
    (name, np.concatenate([data['examples'][name] for data in cohort])) for name in ('x', 'y')
  )
  own = lambda rows, begin: np.where(rows < 0, rows, rows + begin).astype(np.int32)
  return [
    collections.OrderedDict(data, examples=everybody, batches=own(data['batches'], begin))
    for data, begin in zip(cohort, begins)
  ]


@pytest.mark.parametrize('name', METHODS)
def test_examples_are_read_by_their_batches_alone(name):
  rounds = [_sharing_examples(_cohort(r)) for r in range(1, ROUNDS + 1)]
  _assert_same(_run(_process(name), rounds)[0], _three_rounds(name)[0], 0)


@pytest.mark.parametrize('name', METHODS)
def test_cohort_of_one_client_with_one_example(name):
  process = _process(name)
  progress, measured = _run(process, [[_data(1, r, num_examples=1)] for r in range(1, 3)])
  _assert_finite(progress)
  assert [int(each['participants']) for each in measured] == [1, 1]
  assert list(_report(process, measured[0])['num_examples']) == [1]
  before = loop_lib.start(process, client_states.build(process))
  moved = [np.any(a != b) for a, b in zip(_leaves(before), _leaves(progress), strict=True)]
  assert sum(moved) > 1  # more than the number of the round


# FedDF's Adam makes steps even of what rounding leaves of a gradient.
@pytest.mark.parametrize('name', [name for name in METHODS if name != 'feddf'])
def test_nothing_moves_when_rates_are_zero(name):
  process = _process(name)
  progress = loop_lib.start(process, client_states.build(process))
  progress.state['server']['round_num'] = np.int32(RATES_ARE_ZERO)
  before = process.model_weights(progress.state)
  _step(process, progress, _cohort(1))
  _assert_finite(progress)
  harness.assert_same([process.model_weights(progress.state)], [before], 0)


@pytest.mark.parametrize('name', METHODS)
def test_a_client_that_is_not_finite_is_dropped_and_counted(name):
  process = _process(name)
  whole = _cohort(1)
  x = whole[1]['examples']['x'].copy()
  x[:, 1] = np.nan
  examples = collections.OrderedDict(x=x, y=whole[1]['examples']['y'])
  broken = [whole[0], collections.OrderedDict(whole[1], examples=examples), whole[2]]
  progress, [measured] = _run(process, [broken])
  assert list(_report(process, measured)['finite']) == [1, 0, 1]
  assert int(measured['participants']) == 2
  _assert_finite(progress)
  expected, _ = _run(process, [[whole[0], whole[2]]])
  if process.keeps_client_state:
    [kept] = progress.client_states.get([1])
    for a, b in zip(tf.nest.flatten(kept), tf.nest.flatten(process.initial_client_state)):
      np.testing.assert_array_equal(a, b)
  _assert_same(progress, expected, 1e-6)


def _has_both(name):
  """Whether there is a global model of use beside clients' own."""
  method = algorithms.build(name, {})
  return method.personal and method.global_model


@pytest.mark.parametrize('name', [name for name in METHODS if _has_both(name)])
def test_a_global_model_beside_clients_own_is_trained_as_a_whole(name):
  process = _process(name)
  trained = process.model_weights(_three_rounds(name)[0].state)
  before = process.parts.model.initial_weights[0]
  assert all(np.any(a != b) for a, b in zip(trained, before, strict=True))


@pytest.mark.parametrize('name', METHODS)
def test_a_site_lets_the_clients_work_run(name):
  harness.assert_allowed_at_sites(_process(name))


@pytest.mark.parametrize('name', METHODS)
def test_the_registry_knows_which_methods_noise_covers(name):
  trips = _composition(name).trips
  in_its_own_way = any(trip.exchange.combiner for trip in trips)
  refused = in_its_own_way or composition.refusal_of_privacy(trips)
  assert bool(refused) == bool(algorithms.ALGORITHMS[name].not_private)
