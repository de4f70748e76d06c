"""FedRecon against its oracle, FedBABU and FedAvg; what it sends, keeps and predicts."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import client_data
from fl_research.algorithms.personal import fed_recon
from fl_research.round import client as client_lib
from fl_research.round import minibatches, server_half
from tests import contexts
from tests.algorithms import harness
from tests.oracles import fed_recon as oracle
from tests.oracles import softmax_regression as problem
from tests.oracles import two_layers


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def _network():
  return harness.model(name='mlp', hidden_units=5, hidden_layers=1)


def _build(private='last', fraction=0.4, epochs=3, factor=2.0, **parts):
  method = fed_recon.build(
    private_layers=private,
    support_fraction=fraction,
    reconstruction_epochs=epochs,
    reconstruction_factor=factor,
  )
  return harness.build(method, **{'model': _network(), 'client_weighting': 'uniform', **parts})


@pytest.fixture(scope='module')
def process():
  return _build()


def test_fed_recon_equals_oracle_and_keeps_nothing(process):
  # 0.4 of 9, 5 and 14 examples are 3, 2 and 5: batches that are cut, and two passes over the rest.
  rounds = harness.cohorts(epochs=2)
  expected = oracle.run(
    _network().initial_weights[0],
    rounds,
    harness.RATE,
    fraction=0.4,
    passes=3,
    factor=2.0,
    epochs=2,
  )
  harness.assert_same(harness.run(process, rounds), expected)
  assert not process.keeps_client_state
  # Three passes over one batch of 3, 2 and 5 examples, two over those of 6, 3 and 9.
  report = process.run_round(process.initialize(), rounds[0], None).measured['report']
  steps = np.asarray(report['values'])[:, process.report_columns.index('num_steps')]
  batches = lambda count: -(-count // rounds[0][0]['batches'].shape[1])
  expected = [3 * batches(s) + 2 * batches(q) for s, q in ((3, 6), (2, 3), (5, 9))]
  assert steps[np.argsort(report['client'])].tolist() == expected
  body = sum(w.nbytes for w in _network().initial_weights[0][:2])
  assert process.bytes_up_per_client == process.bytes_down_per_client == body + 4


def test_who_predicts_reconstructs_on_its_training_examples(process):
  data = harness.cohorts(epochs=1)[0][1]
  rng = np.random.default_rng(6)
  initial = _network().initial_weights[0]
  moved = [rng.normal(size=w.shape).astype(np.float32) for w in initial]
  server = tf.nest.map_structure(tf.constant, process.initialize()['server'])
  server['weights'] = tuple(map(tf.constant, moved))
  person = client_lib.Client(process.parts.model, process.parts.client_optimizer, data)
  predict = process.method.predictor(server_half.server_of(server), person)
  rows = data['batches'][data['batches'] >= 0]
  seen = [data['examples'][name][rows] for name in ('x', 'y')]
  w1, b1, w2, b2 = oracle.reconstruct(
    moved, initial, *seen, problem.BATCH, 2.0 * harness.RATE, passes=3
  )
  x = rng.normal(size=(6, problem.DIMENSION)).astype(np.float32)
  expected = np.maximum(x @ w1 + b1, 0.0) @ w2 + b2
  np.testing.assert_allclose(np.asarray(predict(tf.constant(x))), expected, rtol=1e-5, atol=1e-5)


def test_without_a_support_set_it_is_fed_babu():
  rounds = harness.cohorts(epochs=1)
  expected = two_layers.fed_babu(_network().initial_weights[0], rounds, harness.RATE)
  ours = _build(fraction=0.0, client_weighting='num_examples')
  harness.assert_same(harness.run(ours, rounds), expected)


def test_without_local_layers_either_it_is_fed_avg():
  rounds = harness.cohorts(epochs=1)
  ours = _build('none', fraction=0.0, client_weighting='num_examples', model=harness.model())
  harness.assert_same(harness.run(ours, rounds), harness.run(harness.plain(), rounds), 0)


@pytest.mark.parametrize('size', [1, 2, 4, 5, 11])
@pytest.mark.parametrize('epochs', [1, 3])
def test_sections_cut_the_examples_of_every_pass_in_the_same_two(size, epochs):
  examples = {'x': np.zeros((size, 1), np.float32), 'y': np.zeros(size, np.int32)}
  data = client_data.client_data(
    examples, batch_size=4, epochs=epochs, seed=1, round_num=1, client=0
  )
  # Rows of padding at the end, as cohorts are stacked.
  data['batches'] = np.concatenate([data['batches'], np.full((2, 4), -1, np.int32)])
  cut = size // 2
  assert int(minibatches.places(data)) == size
  seen = []
  for begin, end in ((0, cut), (cut, size)):
    part = minibatches.section(data, begin, end)
    batches = np.asarray(part['batches'])
    assert int(part['num_examples']) == end - begin
    steps = -(-(end - begin) // 4) * epochs
    assert np.all((batches >= 0).any(axis=1) == (np.arange(len(batches)) < steps))
    visits = batches[batches >= 0]
    assert np.all(np.unique(visits, return_counts=True)[1] == epochs)
    seen.extend(np.unique(visits))
  assert sorted(seen) == list(range(size))


def test_a_round_of_less_than_an_epoch_cuts_what_it_visits():
  examples = {'x': np.zeros((20, 1), np.float32), 'y': np.zeros(20, np.int32)}
  data = client_data.client_data(examples, batch_size=4, epochs=1, seed=1, round_num=1, client=0)
  data['batches'] = data['batches'][:2]
  assert int(minibatches.places(data)) == 8
  part = np.asarray(minibatches.section(data, 3, 8)['batches'])
  np.testing.assert_array_equal(part[part >= 0], data['batches'].reshape(-1)[3:8])


def _of_tff():
  """TFF's own process of the same model, which cuts what each client's one batch holds."""
  spec = _network().spec
  input_spec = (
    tf.TensorSpec([None, problem.DIMENSION], spec.x_dtype),
    tf.TensorSpec([None], spec.label_dtype),
  )

  def model():
    w1, b1, w2, b2 = map(tf.keras.initializers.Constant, _network().initial_weights[0])
    dense = tf.keras.layers.Dense
    body = dense(5, 'relu', kernel_initializer=w1, bias_initializer=b1)
    head = dense(problem.CLASSES, kernel_initializer=w2, bias_initializer=b2)
    keras = tf.keras.Sequential([tf.keras.Input(problem.DIMENSION), body, head])
    return tff.learning.models.ReconstructionModel.from_keras_model_and_layers(
      keras, global_layers=[body], local_layers=[head], input_spec=input_spec
    )

  def cut(batches):
    examples = batches.unbatch()
    number = examples.reduce(np.int64(0), lambda count, _: count + 1) * 2 // 5
    support = examples.take(number).batch(problem.BATCH).repeat(3)
    return support, examples.skip(number).batch(problem.BATCH)

  sgd = tff.learning.optimizers.build_sgdm
  return tff.learning.algorithms.build_fed_recon(
    model,
    loss_fn=lambda: tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    client_optimizer_fn=sgd(harness.RATE),
    reconstruction_optimizer_fn=sgd(2.0 * harness.RATE),
    client_weighting=tff.learning.ClientWeighting.UNIFORM,
    dataset_split_fn=cut,
  )


def test_tffs_own_process_gives_the_same(process):
  rounds, theirs = harness.cohorts(epochs=1), _of_tff()
  ours = harness.run(process, rounds)
  state, history = theirs.initialize(), []
  for cohort in rounds:
    order = [data['batches'][data['batches'] >= 0] for data in cohort]
    datasets = [
      tf.data.Dataset.from_tensors(tuple(data['examples'][name][rows] for name in ('x', 'y')))
      for data, rows in zip(cohort, order)
    ]
    state = theirs.next(state, datasets).state
    history.append(theirs.get_model_weights(state).trainable)
  harness.assert_same([weights[:2] for weights in ours], history)
