"""Submitting the runs of a sweep to a cluster."""

from collections.abc import Sequence
import pathlib
import shlex
import shutil
import subprocess
import sys

from fl_research.sweeps.planning import Run

LAUNCHERS = ('print', 'slurm')


def job_line(launch: str, run: Run, folder: pathlib.Path) -> list[str]:
  """The command that submits a run to a cluster (or runs it, for `print`)."""
  command = (sys.executable, '-m', run.program, *run.arguments)
  log = folder.absolute() / 'logs' / f'{run.folder.name}.log'
  if launch == 'slurm':
    cores = run.settings.client_parallelism or 1
    return [
      'sbatch',
      f'--job-name={run.folder.name}',
      f'--cpus-per-task={cores}',
      f'--chdir={pathlib.Path.cwd()}',
      f'--output={log}',
      f'--wrap={shlex.join(command)}',
    ]
  return list(command)


def launch_runs(launch: str, runs: Sequence[Run], folder: pathlib.Path) -> int:
  """Submits the runs that are not finished, or prints the lines that would; gives the exit code."""
  there = launch == 'slurm' and shutil.which('sbatch') is not None
  waiting = [run for run in runs if not run.finished]
  if there:
    (folder / 'logs').mkdir(parents=True, exist_ok=True)
  elif launch != 'print':
    print(f'sbatch was not found: these lines submit the {len(waiting)} runs', file=sys.stderr)
  for run in waiting:
    line = job_line(launch, run, folder)
    if not there:
      print(shlex.join(line))
    elif subprocess.run(line, check=False).returncode:
      print(f'{run.folder.name}: could not be submitted', file=sys.stderr)
      return 1
  return 0
