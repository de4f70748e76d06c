"""TFF programs as their users write them, on both runtimes: FedAvg of Keras models."""

import collections
from collections.abc import Callable, Sequence
import os
import statistics
import sys
import time
from typing import Any

from absl import flags
import numpy as np
import rich.console
import rich.table
import tensorflow as tf
import tensorflow_federated as tff

from benchmarks import machine, processes, round_time
from experiments import command_line
from fl_research import registry, runtime

INTRODUCTION = """
Times rounds of `tff.learning.algorithms.build_weighted_fed_avg` of small Keras models over tf.data,
on TFF's own runtime and on the fused one. A round of each is run in turn. Seconds are the median
over rounds, CPU seconds (all processes together) the mean; the first round, which compiles, is
apart.

  python -m benchmarks.foreign_programs
"""

layers = tf.keras.layers
_CROSS_ENTROPY = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
_LABELS = tf.TensorSpec([None], tf.int32)

RESULTS = processes.ROOT / 'benchmarks' / 'results' / 'foreign_programs.txt'
"""Where `--save` puts what was measured."""

_SAVE = 'write the table to benchmarks/results'

Program = tuple[Any, list[tf.data.Dataset]]
"""A learning process and its clients' data sets."""


def _process(keras_model: Callable, loss: Any, spec: Any, metrics: Sequence = (), **options: Any):
  def build():
    own = [metric() for metric in metrics]
    return tff.learning.models.from_keras_model(
      keras_model(), loss, spec, metrics=own or None, **options
    )

  return tff.learning.algorithms.build_weighted_fed_avg(
    build, tff.learning.optimizers.build_sgdm(0.05), tff.learning.optimizers.build_sgdm(1.0)
  )


def _numbers(*shape: int) -> np.ndarray:
  return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def _integers(below: int, *shape: int) -> np.ndarray:
  return np.random.default_rng(shape).integers(0, below, shape, np.int32)


def _data_set(x: Any, y: Any) -> tf.data.Dataset:
  return tf.data.Dataset.from_tensor_slices((x, y)).batch(10)


def two_inputs() -> Program:
  """Two inputs, joined."""

  def model():
    a, b = tf.keras.Input((8,), name='a'), tf.keras.Input((4,), name='b')
    hidden = layers.Dense(16, 'relu')(layers.Concatenate()([a, b]))
    return tf.keras.Model({'a': a, 'b': b}, layers.Dense(3)(hidden))

  inputs = collections.OrderedDict(a=tf.TensorSpec([None, 8]), b=tf.TensorSpec([None, 4]))
  x = collections.OrderedDict(a=_numbers(40, 8), b=_numbers(40, 4))
  process = _process(model, _CROSS_ENTROPY, (inputs, _LABELS))
  return process, [_data_set(x, _integers(3, 40))] * 3


def two_outputs() -> Program:
  """Two outputs, each with a loss of its own."""

  def model():
    x = tf.keras.Input((8,))
    hidden = layers.Dense(16, 'relu')(x)
    return tf.keras.Model(x, [layers.Dense(3)(hidden), layers.Dense(1)(hidden)])

  losses = [_CROSS_ENTROPY, tf.keras.losses.MeanSquaredError()]
  spec = (tf.TensorSpec([None, 8]), [_LABELS, tf.TensorSpec([None, 1])])
  process = _process(model, losses, spec, loss_weights=[1.0, 0.5])
  return process, [_data_set(_numbers(40, 8), (_integers(3, 40), _numbers(40, 1)))] * 3


def normalised_cnn() -> Program:
  """A CNN with batch normalisation and dropout."""

  def model():
    middle = [layers.Conv2D(8, 3), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2)]
    ends = [layers.Flatten(), layers.Dense(5)]
    return tf.keras.Sequential([layers.InputLayer((12, 12, 1)), *middle, *ends])

  process = _process(model, _CROSS_ENTROPY, (tf.TensorSpec([None, 12, 12, 1]), _LABELS))
  return process, [_data_set(_numbers(40, 12, 12, 1), _integers(5, 40))] * 3


def recommender() -> Program:
  """The product of a user's and an item's embedding."""

  def model():
    user, item = (tf.keras.Input((1,), dtype=tf.int32, name=name) for name in ('user', 'item'))
    embeddings = [layers.Embedding(50, 8)(user), layers.Embedding(80, 8)(item)]
    score = layers.Flatten()(layers.Dot(2)(embeddings))
    return tf.keras.Model({'user': user, 'item': item}, score)

  inputs = {name: tf.TensorSpec([None, 1], tf.int32) for name in ('item', 'user')}
  x = collections.OrderedDict(item=_integers(80, 40, 1), user=_integers(50, 40, 1))
  spec = (collections.OrderedDict(inputs), tf.TensorSpec([None, 1]))
  process = _process(model, tf.keras.losses.MeanSquaredError(), spec)
  return process, [_data_set(x, _numbers(40, 1))] * 3


def _linear(sizes: Sequence[int], dimension: int = 8) -> Program:
  model = lambda: tf.keras.Sequential([layers.InputLayer((dimension,)), layers.Dense(3)])
  spec = (tf.TensorSpec([None, dimension]), _LABELS)
  process = _process(model, _CROSS_ENTROPY, spec, [tf.keras.metrics.SparseCategoricalAccuracy])
  return process, [_data_set(_numbers(size, dimension), _integers(3, size)) for size in sizes]


def _preprocessed() -> Program:
  process, data = _linear([40] * 5)
  divide = lambda x, y: (x / 2, y)
  shuffled = [d.unbatch().repeat(5).shuffle(100, seed=1) for d in data]
  return process, [d.batch(20).map(divide).prefetch(10) for d in shuffled]


PROGRAMS = {
  'two_inputs': two_inputs,
  'two_outputs': two_outputs,
  'normalised_cnn': normalised_cnn,
  'empty_client': lambda: _linear([40, 0, 25]),
  'recommender': recommender,
  'small_batches': lambda: _linear([300] * 5),
  'preprocessed': _preprocessed,
}
"""Every program by name: models that differ; a client without examples; 5 clients of 30 batches of
ten; data sets that repeat, shuffle, batch and map, as TFF's tutorials do."""


def _round(process: Any, state: Any, data: list) -> tuple[Any, float, float]:
  """The state after a round, its seconds and its CPU seconds."""
  family = processes.family(os.getpid())
  cpu, begin = sum(map(processes.cpu_seconds, family)), time.perf_counter()
  state = process.next(state, data).state
  seconds = time.perf_counter() - begin
  return state, seconds, sum(map(processes.cpu_seconds, family)) - cpu


def measure(program: Program, rounds: int) -> dict[str, dict[str, float]]:
  """Seconds, CPU seconds and seconds of the first round, by runtime."""
  process, data = program
  with runtime.use_context('fused'):  # TFF's own default would leave its worker behind.
    states = dict.fromkeys(('native', 'fused'), process.initialize())
  contexts, times = {}, collections.defaultdict(list)
  for name in states:
    with runtime.use_context(name) as contexts[name]:
      pass
  for _ in range(2 + rounds):
    for name, context in contexts.items():
      with tff.framework.get_context_stack().install(context):
        states[name], *measured = _round(process, states[name], data)
      times[name].append(measured)
  result = {}
  for name, own in times.items():
    seconds, cpu = zip(*own[2:])
    result[name] = {
      'seconds': statistics.median(seconds),
      'cpu_seconds': statistics.mean(cpu),
      'first_seconds': own[0][0],
    }
  return result


def main(argv: Sequence[str]) -> int:
  """Prints the table."""
  values = flags.FlagValues()
  own: dict[str, Any] = {'flag_values': values}
  flags.DEFINE_list('program', list(PROGRAMS), 'which of the programs', **own)
  flags.DEFINE_integer('rounds', 20, 'timed rounds of each', lower_bound=1, **own)
  flags.DEFINE_bool('save', False, _SAVE, **own)
  if command_line.wants_help(argv):
    lines = {'Flags': round_time.flag_lines(values)}
    command_line.print_help('python -m benchmarks.foreign_programs', INTRODUCTION, lines)
    return 0
  command_line.parse(values, argv)
  runtime.set_context('fused')
  columns = ('program', 'native s', 'fused s', '×', 'native CPU s', 'fused CPU s', '×', 'first s')
  table = rich.table.Table(*columns)
  for name in values.program:
    result = measure(registry.lookup('program', name, PROGRAMS)(), values.rounds)
    native, fused = result['native'], result['fused']
    cells = []
    for key in ('seconds', 'cpu_seconds'):
      cells += [f'{native[key]:.4f}', f'{fused[key]:.4f}', f'{native[key] / fused[key]:.1f}']
    table.add_row(name, *cells, f'{native["first_seconds"]:.1f}, {fused["first_seconds"]:.1f}')
  _print(table, sys.stdout)
  if values.save:
    with open(RESULTS, 'w', encoding='utf-8') as file:
      _print(table, file)
  return 0


def _print(table: rich.table.Table, file: Any) -> None:
  for key, value in machine.describe().items():
    print(f'{key}: {value}', file=file)
  rich.console.Console(file=file, width=110).print(table)


if __name__ == '__main__':
  command_line.run_main(main)
