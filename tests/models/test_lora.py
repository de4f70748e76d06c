"""Low-rank adapters: training them against the oracle, what is sent, and what is saved."""

import numpy as np
import pytest

from fl_research import models
from fl_research.algorithms.optimization import fed_avg
from fl_research.models.specification import Adapters
from fl_research.registry import UsageError
from tests import contexts
from tests.algorithms import harness
from tests.models import test_architectures
from tests.oracles import lora as oracle


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with contexts.fused(2):
    yield


def adapted(case, **settings):
  name, spec = test_architectures.SMALL[case]
  return models.build(name, spec, 1, adapters=Adapters(**settings))


@pytest.mark.parametrize('freeze_a', [False, True])
def test_fed_avg_of_adapters_equals_oracle(freeze_a):
  spec, rounds = harness.model().spec, harness.cohorts(epochs=2)
  adapters = Adapters(rank=2, alpha=3.0, freeze_a=freeze_a)
  model = models.build('softmax', spec, 3, adapters=adapters)
  both = models.build('softmax', spec, 3, adapters=Adapters(rank=2)).initial_weights[0]
  process = harness.build(fed_avg.build(), model=model)
  kernel, bias = harness.model().initial_weights[0]
  expected = oracle.run(kernel, bias, both, rounds, harness.RATE, 1.5, freeze_a)
  harness.assert_same(harness.run(process, rounds), expected)
  assert process.bytes_up_per_client == 4 * ((0 if freeze_a else 4 * 2) + 2 * 3) + 4


@pytest.mark.parametrize('case', ['mlp', 'cnn', 'matrix_factorization'])
def test_begins_as_the_base_and_is_saved_merged(case):
  base, model = test_architectures.small_model(case), adapted(case, rank=2, alpha=4.0)
  x, _ = test_architectures.batch(base.spec, 5)
  answers = lambda model, weights: np.asarray(model.predict_on_batch((weights, ()), x, False))
  np.testing.assert_array_equal(
    answers(model, model.initial_weights[0]), answers(base, base.initial_weights[0])
  )
  weights = test_architectures.moved_weights(model)
  saved = model.named_weights(weights)
  assert set(saved) == {*model.weight_names, *base.weight_names}
  merged = tuple(saved[name] for name in base.weight_names)
  assert all(isinstance(weight, np.ndarray) for weight in merged)
  np.testing.assert_allclose(answers(model, weights), answers(base, merged), atol=1e-5)
  keras = model.keras_model((weights, ()))
  np.testing.assert_allclose(np.asarray(keras(x)), answers(model, weights), atol=1e-5)


def test_full_rank_can_be_any_matrix():
  # Dense layers of 6 x 5, 5 x 5 and 5 x 3: the smaller side is 5 at most.
  base, model = test_architectures.small_model('mlp'), adapted('mlp', rank=6, freeze_a=True)
  wanted = np.random.default_rng(0).normal(size=(6, 5))
  kernel = base.initial_weights[0][0]
  drawn = adapted('mlp', rank=6).initial_weights[0][0]
  b = np.linalg.lstsq(drawn.astype(np.float64), wanted - kernel, rcond=None)[0]
  weights = (b.astype(np.float32), *model.initial_weights[0][1:])
  np.testing.assert_allclose(model.named_weights(weights)['dense_1/kernel'], wanted, atol=1e-4)


def test_the_mean_of_products_is_the_product_of_means_where_a_is_fixed():
  rng = np.random.default_rng(1)
  for freeze_a in (False, True):
    model = adapted('mlp', rank=2, freeze_a=freeze_a)
    clients = [
      [w + rng.normal(size=w.shape).astype(np.float32) for w in model.initial_weights[0]]
      for _ in range(3)
    ]
    merged = [model.named_weights(c)['dense_2/kernel'] for c in clients]
    means = [np.mean(ws, axis=0) for ws in zip(*clients)]
    apart = np.abs(np.mean(merged, axis=0) - model.named_weights(means)['dense_2/kernel']).max()
    assert apart < 1e-5 if freeze_a else apart > 0.1


def test_layers_are_chosen_by_name():
  assert adapted('mlp', rank=1, layers='dense_[12],dense_4').weight_names == tuple(
    f'dense_{i}/lora_{factor}' for i in (1, 2, 4) for factor in 'ab'
  )
  assert adapted('char_lstm', rank=1, layers='lstm_1', freeze_a=True).weight_names == (
    'lstm_1/lora_b',
    'lstm_1/recurrent_kernel_lora_b',
  )


def test_adapters_of_a_run_are_drawn_from_its_seed():
  name, spec = test_architectures.SMALL['mlp']
  first, same, other = (
    models.build(name, spec, seed, adapters=Adapters(2)).initial_weights[0][0] for seed in (1, 1, 2)
  )
  np.testing.assert_array_equal(first, same)
  assert np.all(first != other)


def test_layers_that_do_not_exist_are_refused():
  with pytest.raises(UsageError) as error:
    adapted('mlp', rank=1, layers='dense_1,d')
  assert str(error.value) == (
    '--lora_layers=dense_1,d: the model has no layer "d" with a matrix; accepted are dense_1, '
    'dense_2, dense_3, dense_4'
  )
