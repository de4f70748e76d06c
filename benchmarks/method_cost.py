"""What a round of every method costs, beside FedAvg's and beside how much it computes.

    python -m benchmarks.method_cost --save                  (ten minutes)
    python -m benchmarks.method_cost --method=fedsam,ditto

A round is that of W1: the 2NN, ten clients of 600 examples, one epoch in batches of ten. How many
examples a method sends through the model, forwards and backwards, is counted in a run of its own,
by a model that notes it; a step back costs about two forwards, and so

    work = (forwards + 2 backwards) / (the same of FedAvg).

Processor seconds are the median over rounds, FedAvg's taken again beside every method's. `cost` is
their ratio, and `overhead` is cost / work: what a method takes beyond what its paper has it
compute.
Methods whose clients answer with models of their own are trained here, not evaluated. FedBN is not
there, as it needs layers that W1's model has not; it is FedPer with other layers.
"""

import argparse
import contextlib
import csv
import functools
import json
import statistics
import time
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks import machine, processes
from fl_research import algorithms, own_data, runtime, settings
import fl_research.environment  # noqa: F401  before TensorFlow
from fl_research.models import layers
from fl_research.training import assembly, client_states, loop, run_data

RESULTS = processes.ROOT / 'benchmarks' / 'results' / 'method_cost.csv'
COLUMNS = ('method', 'forwards', 'backwards', 'work', 'cpu_ms', 'cost', 'overhead')
_CLIENTS, _EXAMPLES, _FEATURES, _CLASSES = 10, 600, 784, 10
_BEFORE = 2
"""Rounds that are not counted."""

counts = {'forwards': 0, 'backwards': 0}


def _note(name: bytes, examples: np.int32) -> np.int32:
  counts[name.decode()] += int(examples)
  return examples


def _noted(name: str, x: tf.Tensor, tensors):
  """The tensors, and that `x` has passed is noted when they are used."""
  with tf.control_dependencies([tf.numpy_function(_note, [name, tf.shape(x)[0]], tf.int32)]):
    return [tf.identity(tensor) for tensor in tensors]


class Counted(layers.Layer):
  """A network that notes how many examples pass it, forwards and backwards."""

  kind = 'counted'

  def __init__(self, network: layers.Layer):
    self._network = network

  @property
  def weight_names(self):
    return self._network.weight_names

  def initialise(self, shape, generator):
    return self._network.initialise(shape, generator)

  def __call__(self, weights, x, seed=None):
    return self._network(self._counted(weights, x), x, seed)

  def with_features(self, weights, x, seed=None):
    return self._network.with_features(self._counted(weights, x), x, seed)

  def keras(self, weights, x, name):
    return self._network.keras(weights, x, name)

  def _counted(self, weights: layers.Weights, x: tf.Tensor) -> layers.Weights:
    @tf.custom_gradient
    def noted(*own):
      return _noted('forwards', x, own), lambda *slopes: _noted('backwards', x, slopes)

    return tuple(noted(*weights))


class Rounds:
  """Rounds of a method, of which one after the other can be made.

  Args:
    method: its name.
    batch_size: of the clients.
    counted: whether its model notes what passes it.
  """

  def __init__(self, method: str, batch_size: int, counted: bool = False):
    needs: dict[str, Any] = (
      {'server_examples': 200} if algorithms.ALGORITHMS[method].needs_server_examples else {}
    )
    own = settings.Settings(
      algorithm=method,
      experiment_name=method,
      model='2nn',
      client_batch_size=str(batch_size),
      client_learning_rate=0.01,
      clients_per_round=_CLIENTS,
      total_rounds=1000,
      **needs,
    )
    of_run = run_data.of(data(), own)
    own = of_run.decide(own)
    model = assembly.build_model(own, of_run.spec)
    if counted:
      model._network = Counted(model._network)  # No other way is needed by anybody else.
    process = assembly.build_process(own, model, of_run)
    self._driver = assembly.build_driver(own, of_run, process)
    self._progress = loop.start(process, client_states.build(process))
    self._stack = contextlib.ExitStack()
    self._stack.enter_context(self._driver.running())

  def next(self) -> float:
    """Makes a round; its processor seconds, of all threads."""
    progress, begin = self._progress, time.process_time()
    step = self._driver.step(
      progress.round_num + 1, progress.state, progress.client_states, progress.simulated_seconds
    )
    seconds = time.process_time() - begin
    progress.state, progress.round_num = step.state, progress.round_num + 1
    return seconds

  def close(self) -> None:
    self._stack.close()


@functools.cache
def data():
  """Examples of nothing, of clients alike."""
  draw = np.random.default_rng(0)
  y = [draw.integers(0, _CLASSES, _EXAMPLES + 10) for _ in range(_CLIENTS)]
  x = [draw.normal(size=(len(own), _FEATURES)).astype(np.float32) / 10 for own in y]
  of = lambda rows: {f'c{k}': (x[k][rows], y[k][rows]) for k in range(_CLIENTS)}
  return own_data.from_arrays(of(slice(_EXAMPLES)), of(slice(_EXAMPLES, None)))


class Passes(NamedTuple):
  """Examples that go through the model in a round."""

  forwards: int
  backwards: int

  @property
  def work(self) -> int:
    """In forwards."""
    return self.forwards + 2 * self.backwards


def passes(method: str, batch_size: int = 10) -> Passes:
  """Of the second round: in the first, some methods know nobody yet."""
  with contextlib.closing(Rounds(method, batch_size, counted=True)) as rounds:
    rounds.next()
    counts.update(forwards=0, backwards=0)
    rounds.next()
  return Passes(counts['forwards'], counts['backwards'])


def measure(method: str, batch_size: int, rounds: int, plain: Passes) -> dict[str, Any]:
  """A method's row."""
  own = passes(method, batch_size)
  with (
    contextlib.closing(Rounds(method, batch_size)) as measured,
    contextlib.closing(Rounds('fedavg', batch_size)) as fed_avg,
  ):
    times = [(measured.next(), fed_avg.next()) for _ in range(_BEFORE + rounds)][_BEFORE:]
  cost = statistics.median(a / b for a, b in times)
  work = own.work / plain.work
  cpu = 1000 * statistics.median(a for a, _ in times)
  numbers = (f'{work:.2f}', f'{cpu:.0f}', f'{cost:.2f}', f'{cost / work:.2f}' if work else '')
  return dict(zip(COLUMNS, (method, *own, *numbers)))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  trained = [name for name in algorithms.ALGORITHMS if name != 'fedbn']
  parser.add_argument('--method', default=','.join(trained), help='which, by commas')
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--batch_size', type=int, default=10)
  parser.add_argument('--save', action='store_true', help=f'write {RESULTS.name}')
  arguments = parser.parse_args()
  before = machine.describe()
  runtime.set_context('fused')
  plain, rows = passes('fedavg', arguments.batch_size), []
  print(*(f'{name:>10}' for name in COLUMNS))
  for method in arguments.method.split(','):
    rows.append(measure(method, arguments.batch_size, arguments.rounds, plain))
    print(*(f'{value:>10}' for value in rows[-1].values()), flush=True)
    runtime.memory.trim()
  if arguments.save:
    with open(RESULTS, 'w', newline='', encoding='utf-8') as file:
      writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
      writer.writeheader()
      writer.writerows(rows)
    RESULTS.with_name('method_cost_machine.json').write_text(json.dumps(before, indent=2) + '\n')


if __name__ == '__main__':
  main()
