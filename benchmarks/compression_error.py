"""The error of one-bit compressors, as in table 1 of DRIVE (Vargaftik et al. 2021)."""

from collections.abc import Sequence
import functools

from absl import flags
import numpy as np
import rich.console
import rich.table
import tensorflow as tf

from experiments import command_line
from fl_research.aggregation import compression
from fl_research.aggregation.compression import chain
from fl_research.registry import UsageError

INTRODUCTION = """
Ten clients hold the same vector of numbers drawn from a lognormal distribution, each sends it with
random numbers of its own, and the server averages. Prints the mean over trials of

    NMSE = |average - vector|² / |vector|²

beside the paper's figures. The default takes a minute; --dimensions=128,8192,524288,33554432 is the
paper's whole table and takes hours.

  python -m benchmarks.compression_error
"""

PAPER = {
  128: {'rotation,quantize:1': 0.5308, 'drive': 0.0591},
  8192: {'rotation,quantize:1': 1.3338, 'drive': 0.0571},
  524288: {'rotation,quantize:1': 2.1456, 'drive': 0.0571},
  33554432: {'rotation,quantize:1': 2.9332, 'drive': 0.0571},
}
"""NMSE of table 1, by dimension and chain: "Hadamard + 1-bit SQ" and "DRIVE (Hadamard)"."""

CLIENTS = 10
_DIMENSIONS = 'sizes of the vector, of those in the table'
_TRIALS = 'trials; 0: fewer, the larger the vector'


@functools.cache
def _average(text: str):
  """The average of what a server decodes from ten clients that send the same vector."""
  compressor = compression.build(chain.parse(text, {}))
  round_trip = tf.autograph.experimental.do_not_convert(compressor.round_trip)

  @tf.function
  def average(vector, trial):
    total = tf.zeros_like(vector)
    for client in tf.range(CLIENTS):
      seed = tf.stack([trial, client])
      total += round_trip((vector,), seed)[0][0]
    return total / CLIENTS

  return average


def nmse(text: str, dimension: int, trials: int) -> np.ndarray:
  """The NMSE of a chain without memory in each of so many trials, each with a fresh vector."""
  errors = []
  for trial in range(trials):
    vector = np.random.default_rng([dimension, trial]).lognormal(size=dimension).astype(np.float32)
    average = np.asarray(_average(text)(tf.constant(vector), tf.constant(trial)), np.float64)
    errors.append(np.sum((average - vector) ** 2) / np.sum(np.square(vector, dtype=np.float64)))
  return np.asarray(errors)


def main(argv: Sequence[str]) -> int:
  """Prints the table."""
  flag_values = flags.FlagValues()
  flags.DEFINE_list('dimensions', '128,8192,524288', _DIMENSIONS, flag_values=flag_values)
  flags.DEFINE_integer('trials', 0, _TRIALS, lower_bound=0, flag_values=flag_values)
  if command_line.wants_help(argv):
    lines = {'Flags': [f'  --dimensions: {_DIMENSIONS}', f'  --trials: {_TRIALS}']}
    command_line.print_help('python -m benchmarks.compression_error', INTRODUCTION, lines)
    return 0
  command_line.parse(flag_values, argv)
  table = rich.table.Table('n', 'chain', 'NMSE', 'paper', 'trials')
  for dimension in flag_values.dimensions:
    if not dimension.isdigit() or int(dimension) not in PAPER:
      raise UsageError(f'--dimensions={dimension}: accepted are {", ".join(map(str, PAPER))}')
    trials = flag_values.trials or max(3, min(1000, 2**22 // int(dimension)))
    for text, paper in PAPER[int(dimension)].items():
      errors = nmse(text, int(dimension), trials)
      spread = errors.std() / np.sqrt(trials)
      measured = f'{errors.mean():.4f} ± {spread:.4f}'
      table.add_row(dimension, text, measured, f'{paper:.4f}', str(trials))
  rich.console.Console().print(table)
  return 0


if __name__ == '__main__':
  command_line.run_main(main)
