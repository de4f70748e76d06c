"""TFF's own learning processes give the same on both runtimes."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from fl_research import runtime  # before TensorFlow

SPEC = (tf.TensorSpec([None, 4]), tf.TensorSpec([None], tf.int32))
LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def keras_layers():
  return tf.keras.Sequential(
    [tf.keras.layers.InputLayer((4,)), tf.keras.layers.Dense(3, kernel_initializer='zeros')]
  )


def functional_model():
  return tff.learning.models.functional_model_from_keras(
    keras_layers(),
    LOSS,
    SPEC,
    metrics_constructor=collections.OrderedDict(
      accuracy=tf.keras.metrics.SparseCategoricalAccuracy
    ),
  )


def keras_model():
  return tff.learning.models.from_keras_model(
    keras_layers(), LOSS, SPEC, metrics=[tf.keras.metrics.SparseCategoricalAccuracy()]
  )


def sgd(rate=0.1):
  return tff.learning.optimizers.build_sgdm(rate)


def weighted_fed_avg():
  return tff.learning.algorithms.build_weighted_fed_avg(
    functional_model(), sgd(), tff.learning.optimizers.build_sgdm(1.0, 0.9)
  )


def fed_sgd():
  return tff.learning.algorithms.build_fed_sgd(functional_model(), sgd())


def adaptive_clipping():
  return tff.learning.algorithms.build_unweighted_fed_avg(
    functional_model(),
    sgd(),
    model_aggregator=tff.aggregators.DifferentiallyPrivateFactory.gaussian_adaptive(0.0, 4.0),
  )


def secure_keras():
  return tff.learning.algorithms.build_weighted_fed_avg(
    keras_model, sgd(), model_aggregator=tff.learning.secure_aggregator()
  )


def data_sets():
  rng = np.random.default_rng(0)
  for size in (7, 20, 1, 13):
    x = rng.normal(size=(size, 4)).astype(np.float32)
    y = x[:, :3].argmax(1).astype(np.int32)
    yield tf.data.Dataset.from_tensor_slices((x, y)).batch(5)


def leaves(output):
  values = [np.asarray(leaf) for leaf in tf.nest.flatten([output.state, output.metrics])]
  return [value.astype(np.float64) for value in values if value.dtype.kind in 'iuf']


@pytest.mark.parametrize('build', [weighted_fed_avg, fed_sgd, adaptive_clipping, secure_keras])
def test_process_gives_what_it_gives_natively(build):
  process, clients = build(), list(data_sets())
  results = {}
  for name, chunks in (('native', None), ('fused', 1), ('fused', 2)):
    with runtime.use_context(name, chunks) as context:
      state = process.initialize()
      for _ in range(3):
        output = process.next(state, clients)
        state = output.state
      results[name, chunks] = output
      assert context.report().get('fallbacks', []) == []
  native = results.pop(('native', None))
  for output in results.values():
    tf.nest.assert_same_structure(output.state, native.state)
    for a, b in zip(leaves(output), leaves(native)):
      np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_clusters_are_found_as_natively():
  """Of k-means, which TFF's main branch has since removed."""
  process = tff.learning.algorithms.build_fed_kmeans(3, (4,), random_seed=(1, 2))
  clients = [data.unbatch().map(lambda x, y: x) for data in data_sets()]
  found = {}
  for name in ('native', 'fused'):
    with runtime.use_context(name) as context:
      state = process.initialize()
      for _ in range(3):
        output = process.next(state, clients)
        state = output.state
      found[name] = leaves(output)
  assert context.report()['fallbacks'] == []
  for native, fused in zip(found['native'], found['fused']):
    np.testing.assert_allclose(fused, native, rtol=1e-6)


def test_heavy_hitters_are_counted():
  """By invertible Bloom lookup tables, removed likewise; what is exact needs no other runtime."""
  words = [['a', 'b', 'a'], ['b', 'c'], ['a']]
  count = tff.analytics.heavy_hitters.iblt.build_iblt_computation(
    capacity=10, string_max_bytes=5, max_words_per_user=5, max_heavy_hitters=3, seed=0
  )
  with runtime.use_context('fused') as context:
    found = count([tf.data.Dataset.from_tensor_slices(own).batch(2) for own in words])
  assert context.report()['fallbacks'] == []
  pairs = zip(found.heavy_hitters, found.heavy_hitters_counts)
  assert {word.decode(): int(number) for word, number in pairs} == {'a': 3, 'b': 2, 'c': 1}
