"""How long the whole command takes."""

import pathlib
import subprocess
import sys
import tempfile
import time

from fl_research.registry import UsageError

_HERE = pathlib.Path(__file__).parent


def minutes(data_dir: str = '../shared/data', *, seed: int) -> float:
  """Wall minutes of `experiments.train` with lr_mnist.flags, from the command to its end."""
  with tempfile.TemporaryDirectory() as folder:
    command = [
      *(sys.executable, '-m', 'experiments.train'),
      f'--flagfile={_HERE / "lr_mnist.flags"}',
      f'--data_dir={data_dir}',
      f'--output_dir={folder}',
      f'--seed={seed}',
      '--experiment_name=timed',
    ]
    begin = time.monotonic()
    done = subprocess.run(
      command, cwd=_HERE.parents[1], capture_output=True, text=True, check=False
    )
    took = time.monotonic() - begin
  if done.returncode:
    raise UsageError(f'experiments.train failed: {done.stderr.strip().splitlines()[-1]}')
  return took / 60
