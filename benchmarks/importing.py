"""What it costs to import files of one's own: seconds, processor seconds, memory.

    python -m benchmarks.importing --rows=10000000 --pictures=20000 --save

Made-up files of three forms are put into our format by `experiments.import_data --write`, each by a
process of its own: a CSV of numbers, categories, dates and a label by client; PNGs in folders by
client and class; and, with `--femnist=FILE` (an .npz file with x, y and writer), LEAF's JSON of
these writers. Beside each stands what reading the same bytes takes. Files are made in a temporary
folder (see TMPDIR).
"""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

from benchmarks import machine, processes

RESULTS = processes.ROOT / 'benchmarks' / 'results' / 'importing.txt'
_CHUNK = 500_000


def make_csv(folder: pathlib.Path, rows: int) -> list[str]:
  """A CSV of so many rows by 200 clients; gives the flags that read it."""
  path = folder / 'table.csv'
  for first in range(0, rows, _CHUNK):
    count = min(_CHUNK, rows - first)
    draws = np.random.default_rng(first)
    days = pd.to_timedelta(draws.integers(2000, size=count), 'D')
    table = pd.DataFrame(
      {
        'site': draws.integers(200, size=count),
        'age': draws.integers(18, 90, count),
        'dose': draws.normal(5, 2, count).round(3),
        'pressure': draws.normal(120, 15, count).round(1),
        'ward': draws.choice(['surgery', 'medicine', 'intensive care'], count),
        'admitted': pd.Timestamp('2020-01-01') + days,
        'sick': draws.integers(2, size=count),
      }
    )
    table.to_csv(path, index=False, mode='a', header=not first)
  return [f'--data_file={path}', '--client_column=site', '--label_column=sick']


def make_pictures(folder: pathlib.Path, count: int) -> list[str]:
  """So many PNGs of 32 x 32 pixels by 100 clients and 10 classes; gives the flags."""
  from PIL import Image

  draws = np.random.default_rng(0)
  root = folder / 'pictures'
  for number in range(count):
    place = root / f'client_{number % 100}' / f'class_{number // 100 % 10}'
    place.mkdir(parents=True, exist_ok=True)
    pixels = draws.integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(place / f'{number}.png')
  return [f'--data_file={root}', '--folder_levels=client/class']


def make_leaf(folder: pathlib.Path, femnist: str) -> list[str]:
  """LEAF's JSON of an .npz file's writers; gives the flags."""
  with np.load(femnist) as arrays:
    x, y, writer = arrays['x'], arrays['y'], arrays['writer']
  users = [f'f{name}' for name in np.unique(writer)]
  data = {}
  for user, name in zip(users, np.unique(writer)):
    own = writer == name
    pixels = (x[own].reshape(own.sum(), -1) / 255).round(4).tolist()
    data[user] = {'x': pixels, 'y': y[own].tolist()}
  content = {
    'users': users,
    'num_samples': [len(data[user]['y']) for user in users],
    'user_data': data,
  }
  path = folder / 'all_data.json'
  path.write_text(json.dumps(content))
  return [f'--data_file={path}']


def measure(flags: list[str], out: pathlib.Path) -> dict[str, float]:
  """What importing takes, in a process of its own."""
  command = [sys.executable, '-m', 'experiments.import_data', *flags, f'--write={out}']
  before, begin, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic(), 0
  with subprocess.Popen(command, cwd=processes.ROOT, stdout=subprocess.DEVNULL) as process:
    while process.poll() is None:
      # Not what `getrusage` says, which is this process's own size where that is larger.
      peak = max(peak, processes.peak_bytes(process.pid))
      time.sleep(0.02)
  if process.returncode:
    raise subprocess.CalledProcessError(process.returncode, command)
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  return {'seconds': time.monotonic() - begin, 'CPU seconds': cpu, 'peak MiB': peak / 2**20}


@contextlib.contextmanager
def _scratch() -> Iterator[pathlib.Path]:
  with tempfile.TemporaryDirectory() as folder:
    yield pathlib.Path(folder)


def run(name: str, make: Callable[[pathlib.Path], list[str]]) -> str:
  """A line of the table."""
  with _scratch() as folder:
    flags = make(folder)
    files = [path for path in folder.rglob('*') if path.is_file()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    begin = time.monotonic()
    for path in files:
      path.read_bytes()
    read = time.monotonic() - begin
    found = measure(flags, folder / 'imported')
  figures = ''.join(f'{value:14,.1f}' for value in (megabytes, read, *found.values()))
  return f'{name:<28}{figures}'


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--pictures', type=int, default=20_000)
  parser.add_argument('--rows', type=int, default=10_000_000)
  parser.add_argument('--femnist', default='')
  parser.add_argument('--save', action='store_true')
  given = parser.parse_args()
  columns = ('MB', 'reading, s', 'seconds', 'CPU seconds', 'peak MiB')
  lines = [f'{key}: {value}' for key, value in machine.describe().items()]
  lines.append(f'{"":<28}{"".join(f"{column:>14}" for column in columns)}')
  works = {f'{given.pictures:,} PNGs': lambda folder: make_pictures(folder, given.pictures)}
  if given.femnist:
    works["LEAF's JSON, FEMNIST"] = lambda folder: make_leaf(folder, given.femnist)
  works[f'CSV, {given.rows:,} rows'] = lambda folder: make_csv(folder, given.rows)
  for name, make in works.items():
    lines.append(run(name, make))
    print(lines[-1], flush=True)
  if given.save:
    RESULTS.write_text('\n'.join(lines) + '\n')


if __name__ == '__main__':
  main()
