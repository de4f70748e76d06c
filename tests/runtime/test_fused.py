"""What TFF computations give on the fused runtime: the same as on TFF's own."""

import asyncio
import gc

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context as eager_context
import tensorflow_federated as tff

from fl_research import (
  aligned,
  runtime,  # before TensorFlow
)
from fl_research.runtime import (
  chunk_runs,
  client_loop,
  expressions,
  fused,
  graph_functions,
  python_values,
)
from fl_research.runtime import program as programs
from tests.runtime import rounds
from tests.runtime.computations import (
  AT_CLIENTS,
  CASES,
  FLOAT,
  INT,
  INTS_AT_CLIENTS,
  only_a_sum,
  reductions,
  sampled,
  tensorflow,
  three_parameters,
  VECTOR,
)


def run(name, chunks, computation, arguments):
  with runtime.use_context(name, chunks) as context:
    return computation(*arguments), context.report()


@pytest.mark.parametrize('chunks', [1, 2])
@pytest.mark.parametrize('case', CASES)
def test_gives_what_native_gives(case, chunks):
  computation, arguments = CASES[case]
  if computation in (reductions, sampled):
    computation = computation()
  native, _ = run('native', None, computation, arguments)
  fused, report = run('fused', chunks, computation, arguments)
  assert report['fallbacks'] == []
  if case == 'sampled':  # a reservoir larger than the cohort: all of it, in the chunks' order
    native, fused = sorted(native), sorted(fused)
  assert repr(fused) == repr(native)


@pytest.mark.parametrize('sizes', [(5,), (1, 9, 4), (7, 0, 12, 3, 8)])
def test_one_chunk_agrees_with_native_to_rounding(sizes):
  # And to the bit on some processors: the native runtime's worker is another build of TensorFlow.
  native = fused = rounds.first_weights()
  data = rounds.clients(sizes)
  for _ in range(3):
    (native, native_count), _ = run('native', None, rounds.next_round, [native, data])
    (fused, fused_count), _ = run('fused', 1, rounds.next_round, [fused, data])
    assert native_count == fused_count == sum(sizes)
    for a, b in zip(native, fused):
      np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
  assert np.abs(fused[0] - rounds.first_weights()[0]).max() > 1e-2  # it did train


@pytest.mark.parametrize('values', [[1e8, 1.0, -1e8, 3.0], [3.0, 1e8, -1e8], [1e8, -1e8, 3.0]])
def test_one_chunk_adds_in_the_order_of_native(values):
  # What a sum of these numbers gives is a matter of their order alone, whatever the build.
  expected = np.float32(0)
  for value in values:
    expected += np.float32(value)
  for name in ('native', 'fused'):
    assert run(name, 1, only_a_sum, [values])[0] == expected


def test_two_chunks_agree_with_native_to_rounding():
  native = fused = rounds.first_weights()
  data = rounds.clients((7, 0, 12, 3, 8, 30))
  for _ in range(3):
    (native, _), _ = run('native', None, rounds.next_round, [native, data])
    (fused, _), _ = run('fused', 2, rounds.next_round, [fused, data])
  for a, b in zip(native, fused):
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_same_inputs_same_bits():
  data = rounds.clients((7, 2, 12, 3, 8, 30))
  results = [
    run('fused', 2, rounds.next_round, [rounds.first_weights(), data])[0] for _ in range(5)
  ]
  for result in results[1:]:
    assert repr(result) == repr(results[0])


def test_results_are_numpy_in_the_types_containers():
  (state, _), _ = run(
    'fused', 2, rounds.next_round, [rounds.first_weights(), rounds.clients((3, 4))]
  )
  assert type(state) is list
  assert all(type(weights) is np.ndarray for weights in state)


def _scaled(factor):
  multiply = tf.function(lambda x: x * factor)
  local = tensorflow(lambda x: multiply(x), FLOAT)
  return local, tff.federated_computation(
    lambda x: tff.federated_sum(tff.federated_map(local, x)), AT_CLIENTS
  )


def _known_functions():
  gc.collect()
  return set(eager_context.context().list_function_names())


def test_what_was_compiled_goes_when_nothing_can_call_it(monkeypatch):
  monkeypatch.setattr(fused, '_CACHE_SIZE', 2)
  with runtime.use_context('fused', 1) as context:
    before = _known_functions()
    for factor in range(5):
      local, mapped = _scaled(factor)
      assert mapped([1.0, 2.0]) == local(3.0) == 3.0 * factor
    assert len(context._by_identity) == 2
    assert _known_functions() - before
    del local, mapped
    assert _known_functions() - before
    assert (len(context._by_content), len(context._by_identity)) == (2, 0)
    context._by_content.clear()
    fused.forget()
    assert _known_functions() <= before


def test_what_one_runtime_has_compiled_serves_the_next(monkeypatch):
  compiled = []
  compile_one = fused.FusedContext._compile
  record = lambda self, comp, proto: compiled.append(comp) or compile_one(self, comp, proto)
  monkeypatch.setattr(fused.FusedContext, '_compile', record)
  fused.forget()
  kept = [_scaled(2) for _ in range(2)]
  for chunks in (1, 1, 2):
    with runtime.use_context('fused', chunks) as context:
      for local, mapped in kept:  # built anew, and so called otherwise inside
        assert mapped([1.0, 2.0]) == local(3.0) == 6.0
      assert context.report()['compilations'] == 1
    assert len(compiled) == 2
  with runtime.use_context('fused', 1):
    assert _scaled(3)[0](3.0) == 9.0
  assert len(compiled) == 3


def test_the_state_may_come_as_tensors():
  data = rounds.clients((3, 4))
  tensors = [tf.constant(weights) for weights in rounds.first_weights()]
  (a, _), _ = run('fused', 1, rounds.next_round, [tensors, data])
  (b, _), _ = run('fused', 1, rounds.next_round, [rounds.first_weights(), data])
  np.testing.assert_array_equal(a[0], b[0])


def test_arguments_are_left_as_they_were():
  weights, data = rounds.first_weights(), rounds.clients((3, 4))
  run('fused', 2, rounds.next_round, [weights, data])
  np.testing.assert_array_equal(weights[0], rounds.first_weights()[0])
  np.testing.assert_array_equal(data[1]['examples']['x'], rounds.client(1, 4)['examples']['x'])


@pytest.mark.parametrize('context', ['fused', 'native'])
def test_a_result_is_read_only_and_does_not_share_an_argument_that_may_change(context):
  identity = tensorflow(lambda x: x, VECTOR)
  argument = aligned.align(np.zeros(3, FLOAT))
  result, _ = run(context, 1, identity, [argument])
  argument[0] = 1
  assert result[0] == 0
  with pytest.raises(ValueError, match='read-only'):
    result[0] = 1


def test_a_model_goes_from_round_to_round_without_being_copied():
  doubled, identity = tensorflow(lambda x: 2 * x, VECTOR), tensorflow(lambda x: x, VECTOR)
  first, _ = run('fused', 1, doubled, [np.ones(3, FLOAT)])
  second, _ = run('fused', 1, identity, [first])
  assert np.shares_memory(first, second)
  third, _ = run('fused', 1, doubled, [second])
  assert (second.tolist(), third.tolist()) == ([2] * 3, [4] * 3)


def test_large_constants_of_one_number_are_made_when_needed():
  """Zeros of aggregations are as large as models, and TensorFlow keeps whatever is constant."""
  size = 300_000

  @tff.tensorflow.computation(FLOAT)
  def constants(x):
    both = lambda: (tf.constant(x.dtype.max, shape=[size]), tf.fill([size // 2, 2], 7))
    return tf.cond(x > 0, both, lambda: (tf.zeros([size]), tf.zeros([size // 2, 2], tf.int32)))

  results = {c: [run(c, 1, constants, [FLOAT(x)])[0] for x in (1, -1)] for c in ('fused', 'native')}
  assert repr(results['fused']) == repr(results['native'])
  graph = graph_functions.Piece(tff.framework.ConcreteComputation.get_proto(constants))._graph
  bodies = [graph.node, *(function.node_def for function in graph.library.function)]
  held = [tf.make_ndarray(n.attr['value'].tensor) for b in bodies for n in b if n.op == 'Const']
  assert max(array.size for array in held) < 10
  assert sum(n.op == 'PlaceholderWithDefault' for body in bodies for n in body) == 4


def test_ragged_clients_never_recompile():
  rng = np.random.default_rng(3)
  with runtime.use_context('fused', 2) as context:
    for _ in range(20):
      sizes = (1 + 3 * rng.pareto(1.5, size=rng.integers(1, 9))).astype(int)
      rounds.next_round(rounds.first_weights(), rounds.clients(sizes))
    assert context.report()['compilations'] == 1


@tff.tensorflow.computation(FLOAT)
def below_ten(x):
  with tf.control_dependencies([tf.debugging.assert_less(x, 10.0)]):
    return tf.identity(x)


@tff.federated_computation(AT_CLIENTS)
def sum_below_ten(x):
  return tff.federated_sum(tff.federated_map(below_ten, x))


@pytest.mark.parametrize('chunks', [1, 2])
@pytest.mark.parametrize('position', [0, 3, 6])
def test_a_failing_client_is_named(chunks, position):
  values = [1.0] * 7
  values[position] = 11.0
  with pytest.raises(runtime.ComputationError, match='did not hold') as error:
    run('fused', chunks, sum_below_ten, [values])
  assert error.value.client == position
  assert f'client {position} of the cohort' in str(error.value)
  assert '\n' not in str(error.value)


def test_a_failure_that_does_not_repeat_is_nobodys():
  failure = tf.errors.InternalError(None, None, 'out of luck')
  piece = chunk_runs.Slice(0, [0, 2, 4, 6])
  error = chunk_runs._client_error(lambda count: [], piece, failure)
  assert (error.client, str(error)) == (None, 'out of luck')


def test_native_fails_with_the_same_error():
  with pytest.raises(runtime.ComputationError, match='did not hold'):
    run('native', None, sum_below_ten, [[1.0, 11.0]])


@pytest.mark.parametrize('name', ['native', 'fused'])
@pytest.mark.parametrize(
  'values', [[np.int64(1)], [np.float64(1)], [np.zeros(3, FLOAT)], (1.0, 2.0), ['a'], [1e300], 3.0]
)
def test_values_of_another_type_are_refused(name, values):
  with pytest.raises(TypeError):
    run(name, 1, only_a_sum, [values])


@pytest.mark.parametrize('name', ['native', 'fused'])
def test_numbers_too_large_for_their_type_are_refused(name):
  identity = tensorflow(lambda x: x, tff.TensorType(np.int8, (2,)))
  with pytest.raises(TypeError, match='int8'):
    run(name, 1, identity, [[300, -1]])


@pytest.mark.parametrize(
  ('value', 'dtype'),
  [
    ([], np.str_),
    (['a'], np.str_),
    ([1, 2], np.int8),
    ([], INT),
    ([float('inf')], FLOAT),
    ([1j], np.complex64),
  ],
)
def test_numbers_that_fit_are_taken(value, dtype):
  array = python_values.as_array(value, tff.TensorType(dtype, (len(value),)))
  assert array.tolist() == value


@pytest.mark.parametrize('name', ['native', 'fused'])
def test_arguments_of_different_lengths_are_refused(name):
  with pytest.raises(ValueError):
    run(name, 1, three_parameters, [1.0, [1.0], [1.0, 2.0]])


def test_a_wrong_client_is_named():
  with pytest.raises(TypeError, match='client 1 of the cohort'):
    run('fused', 1, only_a_sum, [[1.0, np.int64(3)]])


def test_what_is_not_reducible_runs_natively_and_says_why(caplog, monkeypatch):
  monkeypatch.delitem(expressions._INTRINSICS, 'federated_select')
  computation, arguments = CASES['select']
  with runtime.use_context('auto', 1) as context, caplog.at_level('WARNING'):
    for _ in range(2):
      assert computation(*arguments) == 11.0
    (reason,) = context.report()['fallbacks']
  assert 'it uses federated_select' in reason
  assert len([r for r in caplog.records if 'not the fused one' in r.message]) == 1


@tff.federated_computation(tff.FunctionType(FLOAT, FLOAT), AT_CLIENTS)
def mapped_by_argument(function, x):
  return tff.federated_sum(tff.federated_map(function, x))


def test_a_function_as_parameter_runs_natively(caplog):
  square = tensorflow(lambda x: x * x, FLOAT)
  result, report = run('fused', 1, mapped_by_argument, [square, [1.0, 2.0]])
  assert result == 5.0
  assert 'a function is among its parameters' in report['fallbacks'][0]


@tff.federated_computation(tff.SequenceType(INT))
def sum_of_a_sequence(x):
  return tff.sequence_sum(x)


def test_what_no_runtime_runs_is_refused_with_the_reason():
  in_jax = tff.jax.computation(lambda x: x + 1, INT)
  in_parts = tff.federated_computation(lambda x: tff.federated_map(in_jax, x), INTS_AT_CLIENTS)
  for computation, argument in ((in_jax, 1), (in_parts, [1, 2])):
    with pytest.raises(runtime.ComputationError, match='written in JAX'):
      run('fused', 1, computation, [argument])
  with pytest.raises(runtime.ComputationError, match='use sequence_reduce'):
    run('fused', 1, sum_of_a_sequence, [[1, 2]])


@pytest.mark.parametrize('name', ['native', 'fused'])
def test_federated_programs_await_a_runtime(name):
  async def program():
    total = only_a_sum([1.0, 2.0])
    return await tff.program.materialize_value((total, only_a_sum([3.0])))

  context = tff.program.NativeFederatedContext(runtime.async_context(name, 1))
  with tff.framework.get_context_stack().install(context):
    assert asyncio.run(program()) == (3.0, 3.0)


def test_what_is_left_at_the_clients_comes_in_their_order():
  values = [float(v) for v in (3, 1, 4, 1, 5, 9, 2, 6)]
  for chunks in (1, 2, 3):
    (_, (left, *_)), _ = run('fused', chunks, swapped, [values])
    assert left == [-v for v in values]


@tff.federated_computation(AT_CLIENTS)
def swapped(x):
  negative = tensorflow(lambda x: -x, FLOAT)
  return tff.federated_sum(x), (tff.federated_map(negative, x), x)


def _rows_aggregation(accumulate, value_type, zero_rows=0):
  rows = tff.TensorType(FLOAT, (None, 3))
  concatenate = lambda a, b: tf.concat([a, b], axis=0)

  @tff.federated_computation(tff.FederatedType(value_type, tff.CLIENTS))
  def computation(x):
    return tff.federated_aggregate(
      x,
      tensorflow(lambda: tf.fill([zero_rows, 3], -1.0))(),
      tensorflow(accumulate, rows, value_type),
      tensorflow(concatenate, rows, rows),
      tensorflow(lambda a: a, rows),
    )

  return computation


def _append(a, b):
  return tf.concat([a, b], axis=0)


def _append_row(a, b):
  return tf.concat([a, 2 * b[tf.newaxis]], axis=0)


def _prepend(a, b):
  return tf.concat([b, a], axis=0)


def _append_twice_the_first(a, b):
  return tf.concat([a, b + tf.reduce_sum(a)], axis=0)


ROWS = tff.TensorType(FLOAT, (2, 3))


@pytest.mark.parametrize(
  ('accumulate', 'value_type', 'zero_rows', 'grows'),
  [
    (_append, ROWS, 0, True),
    (_append, ROWS, 2, True),
    (_append_row, VECTOR, 0, True),
    (_prepend, ROWS, 0, False),
    (_append_twice_the_first, ROWS, 1, False),
  ],
)
def test_appended_rows_are_collected_and_joined_once(accumulate, value_type, zero_rows, grows):
  computation = _rows_aggregation(accumulate, value_type, zero_rows)
  (step,) = [step for step in programs.program_of(computation).steps if step.at_clients]
  assert [client_loop.only_grows(aggregation) for aggregation in step.aggregations] == [grows]
  values = [np.full(value_type.shape, n, FLOAT) for n in (1, 4, 3)]
  native, _ = run('native', None, computation, [values])
  fused, _ = run('fused', 1, computation, [values])
  np.testing.assert_array_equal(fused, native)
