"""What it costs to cut a round in two, as asynchronous training does: `work` and `apply` to `next`.

    python -m benchmarks.split_rounds --work=W1,W3,W4 --rounds=10 --save

Each round is made three times in turn, from the same state and with the same clients: by `next`; in
halves, `work` for all its clients and `apply` for all their results; and one client at a time, both
halves for each, which is FedAsync's way. The first two must end in the same bits. Seconds are
medians over the rounds, by the clock and of the processors; ratios are medians of the rounds' own.
"""

import argparse
from collections.abc import Callable
import json
import pathlib
import statistics
import tempfile
import time

import numpy as np
import tensorflow as tf

from benchmarks import machine, processes, works
from fl_research import optimizers, runtime
from fl_research.algorithms.optimization import fed_avg
import fl_research.environment  # noqa: F401  before TensorFlow
from fl_research.round import split
from fl_research.round.parts import Parts

RESULTS = processes.ROOT / 'benchmarks' / 'results' / 'split_rounds.txt'
NEXT, HALVES, SINGLES = 'next', 'work + apply', 'one at a time'
_BEFORE = 2
"""Rounds that are not counted."""


def build(job: works.Job) -> split.SplitProcess:
  """The process of a work."""
  return split.build_process(
    Parts(
      model=job.build_model(),
      method=fed_avg.build(),
      client_optimizer=optimizers.build('sgd', job.work.learning_rate, {}),
      server_optimizer=optimizers.build('sgd', 1.0, {}),
      batch_size=job.work.batch_size,
    )
  )


def halves(process: split.SplitProcess, state, cohort):
  """A round, or what a part of its clients does, by its halves."""
  sent = process.run_work(state, runtime.stack_clients(cohort))
  results = runtime.stack_clients([each.result for each in sent])
  return process.run_apply(state, results, np.ones(len(results))).state


def singles(process: split.SplitProcess, state, cohort):
  """One client after the other."""
  for data in cohort:
    state = halves(process, state, [data])
  return state


def measure(job: works.Job, rounds: int) -> dict[str, tuple[list[float], list[float]]]:
  """Seconds, and processor seconds, of every round by each way."""
  process = build(job)
  ways: dict[str, Callable] = {
    NEXT: lambda state, cohort: process.run_round(state, runtime.stack_clients(cohort)).state,
    HALVES: lambda state, cohort: halves(process, state, cohort),
    SINGLES: lambda state, cohort: singles(process, state, cohort),
  }
  taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in ways}
  state = process.initialize()
  for round_num in range(1, rounds + _BEFORE + 1):
    cohort = job.cohort_data(round_num, job.cohort(round_num))
    ends = {}
    for name, way in ways.items():
      begin, cpu = time.monotonic(), time.process_time()
      ends[name] = way(state, cohort)
      if round_num > _BEFORE:
        taken[name][0].append(time.monotonic() - begin)
        taken[name][1].append(time.process_time() - cpu)
    for a, b in zip(tf.nest.flatten(ends[NEXT]), tf.nest.flatten(ends[HALVES]), strict=True):
      np.testing.assert_array_equal(a, b)
    state = ends[NEXT]
  return taken


def rows(name: str, taken: dict[str, tuple[list[float], list[float]]]) -> list[str]:
  """A work's lines of the table."""
  lines = []
  for way, times in taken.items():
    figures = []
    for own, plain in zip(times, taken[NEXT]):
      ratio = statistics.median(a / b for a, b in zip(own, plain))
      figures.append(f'{statistics.median(own):10.4f} {ratio:6.2f}')
    lines.append(f'{name:6} {way:14} {"   ".join(figures)}')
  return lines


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--work', default='W1,W3,W4', help='works of benchmarks.works')
  parser.add_argument('--rounds', type=int, default=10)
  parser.add_argument('--save', action='store_true', help=f'write {RESULTS.name}')
  arguments = parser.parse_args()
  before = machine.describe()
  runtime.set_context('fused')
  lines = [f'{"":21} {"seconds":>10} {"to next":>6}   {"CPU s":>10} {"to next":>6}']
  with tempfile.TemporaryDirectory() as scratch:
    for name in arguments.work.split(','):
      path = pathlib.Path(scratch) / 'work.npz'
      works.save(works.WORKS[name], path)
      lines += rows(name, measure(works.Job.load(name, path), arguments.rounds))
  text = '\n'.join([*lines, json.dumps(before)]) + '\n'
  print(text, end='')
  if arguments.save:
    RESULTS.write_text(text)


if __name__ == '__main__':
  main()
