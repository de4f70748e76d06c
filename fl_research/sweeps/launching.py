"""Submitting the runs of a sweep to a cluster."""

from collections.abc import Sequence
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

from fl_research.sweeps.planning import Run

LAUNCHERS = ('print', 'slurm', 'ray')
_ROOT = pathlib.Path(__file__).resolve().parents[2]


def job_line(launch: str, run: Run, folder: pathlib.Path) -> list[str]:
  """The command that submits a run to a cluster (or runs it, for `print`)."""
  log = folder.absolute() / 'logs' / f'{run.folder.name}.log'
  if launch == 'slurm':
    cores = run.settings.client_parallelism or 1
    return [
      'sbatch',
      f'--job-name={run.folder.name}',
      f'--cpus-per-task={cores}',
      f'--chdir={pathlib.Path.cwd()}',
      f'--output={log}',
      f'--wrap={shlex.join(run.command)}',
    ]
  if launch == 'ray':
    return ['ray', 'job', 'submit', '--no-wait', f'--working-dir={_ROOT}', '--', *run.command]
  return list(run.command)


def launch_runs(launch: str, runs: Sequence[Run], folder: pathlib.Path) -> int:
  """Submits the runs that are not finished, or prints the lines that would; gives the exit code."""
  there = {
    'slurm': shutil.which('sbatch') is not None,
    'ray': shutil.which('ray') is not None and 'RAY_ADDRESS' in os.environ,
  }.get(launch, False)
  waiting = [run for run in runs if not run.finished]
  if there:
    (folder / 'logs').mkdir(parents=True, exist_ok=True)
  elif launch != 'print':
    needed = 'sbatch was not found' if launch == 'slurm' else 'RAY_ADDRESS is not set'
    print(f'{needed}: these lines submit the {len(waiting)} runs', file=sys.stderr)
  for run in waiting:
    line = job_line(launch, run, folder)
    if not there:
      print(shlex.join(line))
    elif subprocess.run(line, check=False).returncode:
      print(f'{run.folder.name}: could not be submitted', file=sys.stderr)
      return 1
  return 0
