"""Kills a run again and again, restarts it, and compares it with one that was never disturbed.

    python -m tests.soak_kills --kills=20

Kills are SIGKILLs at random moments (the start-up included) and in the middle of the writing of
checkpoints, CSVs, the manifest and the final model. The final weights, clients.csv and metrics.csv
must be byte for byte those of the undisturbed run, the `seconds` column aside. Takes about ten
seconds per kill; not part of the test suite, which kills three times only.
"""

import argparse
import csv
import itertools
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).parents[1]
FLAGS = (
  '--task=digits',
  '--partition=dirichlet',
  '--partition_alpha=0.3',
  '--num_clients=20',
  '--held_out_clients_fraction=0.1',
  '--clients_per_round=5',
  '--client_batch_size=10',
  '--client_learning_rate=0.05',
  '--server_optimizer=adam',
  '--server_learning_rate=0.01',
  '--straggler_fraction=0.4',
  '--rounds_per_checkpoint=7',
  '--rounds_per_evaluation=3',
  '--clients_csv',
  '--seed=7',
)
"""Options that make as much state as there can be."""

MOMENTS = (
  'torn:*/metrics.csv',
  'torn:*/clients.csv',
  'torn:*/checkpoints/*.npz.*.tmp',
  'unnamed:*/checkpoints/*.npz',
  'renamed:*/checkpoints/*.npz',
  'torn:*/manifest.json.*.tmp',
)
"""What `tests.experiments.dying_train` is told; each file is written at least once per start."""


def command(module: str, folder: pathlib.Path, *flags: str) -> list[str]:
  """The command of a run in this folder."""
  place = (f'--output_dir={folder.parent}', f'--experiment_name={folder.name}')
  return [sys.executable, '-m', module, *flags, *place]


def start(module: str, folder: pathlib.Path, *flags: str):
  """A process that runs, or resumes, a run; only its complaints are kept."""
  return subprocess.Popen(
    command(module, folder, *flags),
    cwd=PROJECT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )


def run_to_the_end(folder: pathlib.Path, flags, start=start) -> None:
  """Runs, or resumes, and must reach the end; its complaints are shown."""
  process = start('experiments.train', folder, *flags)
  _, complaints = process.communicate()
  assert process.returncode == 0, complaints
  assert json.loads((folder / 'manifest.json').read_text())['finished']


def run_to_a_death(folder: pathlib.Path, flags, moment: str, start=start) -> None:
  """Runs until the process kills itself at this moment."""
  process = start('tests.experiments.dying_train', folder, moment, *flags)
  _, complaints = process.communicate()
  assert process.returncode == -9, f'{moment} never came: {complaints}'


def run_to_a_kill(folder: pathlib.Path, flags, rows: int, delay: float, start=start) -> None:
  """Runs until metrics.csv has so many rows more, and a little longer, then kills the process."""
  before = last_round(folder)
  process = start('experiments.train', folder, *flags)
  while process.poll() is None and last_round(folder) < before + rows:
    time.sleep(0.01)
  time.sleep(delay)
  process.kill()
  assert process.wait() == -9, 'the run had ended before it was killed'


def last_round(folder: pathlib.Path) -> int:
  """The last round in metrics.csv."""
  path = folder / 'metrics.csv'
  rows = path.read_text().splitlines()[1:] if path.exists() else []
  return int(rows[-1].split(',')[0] or -1) if rows else -1


def without_seconds(path: pathlib.Path) -> list[list[str]]:
  """The texts of metrics.csv, but for how long rounds took."""
  with open(path, newline='') as file:
    rows = list(csv.reader(file))
  column = rows[0].index('seconds')
  return [row[:column] + row[column + 1 :] for row in rows]


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
  """The files in which two runs differ, and what a killed one has left lying about."""
  found = []
  if without_seconds(one / 'metrics.csv') != without_seconds(other / 'metrics.csv'):
    found.append('metrics.csv')
  for name in ('model.npz', 'clients.csv'):
    if (one / name).read_bytes() != (other / name).read_bytes():
      found.append(name)
  checkpoints = [sorted(p.name for p in (f / 'checkpoints').iterdir()) for f in (one, other)]
  if checkpoints[0][-1] != checkpoints[1][-1]:
    found.append('the last checkpoint')
  return found + [str(path) for path in other.rglob('*.tmp*')]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=20)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('flags', nargs='*', help='further flags of experiments.train, after --')
  options = parser.parse_args()
  draw = random.Random(options.seed)
  flags = (*FLAGS, f'--total_rounds={60 * options.kills}', *options.flags)
  with tempfile.TemporaryDirectory() as scratch:
    calm, killed = pathlib.Path(scratch, 'calm'), pathlib.Path(scratch, 'killed')
    moments = itertools.cycle(MOMENTS)
    for number in range(options.kills):
      if number % 2:
        rows, delay = draw.randint(0, 30), draw.uniform(0, 0.1)
        what = f'at random, {rows} rows and {delay:.3f} s after the start'
        run_to_a_kill(killed, flags, rows, delay)
      else:
        what = next(moments)
        what += ':1' if 'manifest' in what else f':{draw.randint(1, 4)}'
        run_to_a_death(killed, flags, what)
      print(f'kill {number + 1}: {what}; now at round {last_round(killed)}', flush=True)
    run_to_the_end(killed, flags)
    run_to_the_end(calm, flags)
    found = differences(calm, killed)
    rounds = last_round(calm)
  print(f'{options.kills} kills, {rounds} rounds: ' + (f'DIFFER in {found}' if found else 'equal'))
  sys.exit(1 if found else 0)


if __name__ == '__main__':
  main()
