"""Runs of `experiments.sweep` in this process, for tests that are about what the runs give.

A process of its own takes a run as long to start as many of them train. That each has one, with its
cores, and how they end, is what the tests of `sweeps.runner` and of `experiments.sweep` are about.
"""

import contextlib
import time

from experiments import command_line, sweep, train
from fl_research.sweeps import runner


def run_jobs(jobs, slots):
  """Stands in for `runner.run_jobs`: one job after the other, their output in their logs."""
  del slots
  for job in jobs:
    assert job.program == sweep.TRAIN == 'experiments.train'
    job.log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with (
      open(job.log, 'w') as log,
      contextlib.redirect_stdout(log),
      contextlib.redirect_stderr(log),
    ):
      code = command_line.run(train.main, ['train.py', *job.arguments])
    yield runner.Ended(job, code, time.monotonic() - begin)
