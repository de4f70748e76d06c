"""Puts small mistakes into a module, one at a time, and sees whether its tests notice.

    python -m tests.mutants --module=fl_research.training.columns --most=20
    python -m tests.mutants --again                 (what survived before, and is not equivalent)

TensorFlow is imported once; then a process is forked for each mutant, one at a time, which imports
the mutated module in place of the module and runs the tests that `tests.changed` finds for it, or
those of `--tests`. A mutant is killed when a test fails or takes far too long. Tests that start
programs of their own run those without it.

What was tried is kept in `tests/mutants.csv`. A survivor is a gap in the tests, or changes nothing
that could be seen; then its `note` says why, which is written by hand and begins with `equivalent`.
"""

import argparse
from collections.abc import Callable
import contextlib
import csv
import datetime
import importlib
import importlib.abc
import importlib.util
import math
import os
import pathlib
import random
import resource
import signal
import sys
import tempfile
import time
from typing import NamedTuple

import pytest

import fl_research  # noqa: F401  its settings of TensorFlow, before that is imported
from tests import build_files, changed, mutations

ROOT = changed.ROOT
COLUMNS = ('module', 'place', 'before', 'after', 'verdict', 'tests', 'date', 'note')
SLOW_IMPORTS = ('tensorflow', 'tensorflow_federated', 'pandas', 'scipy.stats', 'hypothesis')
LONGEST = 1200.0
LONGEST_TEXT = 120
SURVIVED, KILLED, TIMEOUT = 'survived', 'killed', 'timeout'
OUT_OF_TIME = (signal.SIGXCPU, signal.SIGKILL)


class Finder(importlib.abc.MetaPathFinder):
  """Finds one module in another file."""

  def __init__(self, module: str, file: pathlib.Path):
    self._module, self._file = module, file

  def find_spec(self, fullname, path, target=None):
    del path, target
    if fullname == self._module:
      return importlib.util.spec_from_file_location(fullname, self._file)
    return None


Row = dict[str, str]


class Outcome(NamedTuple):
  """What came of a mutant: the verdict, its processor time, and what pytest wrote."""

  verdict: str
  seconds: float
  log: str


def choose(found: list[mutations.Mutation], most: int, seed: int) -> list[mutations.Mutation]:
  """Some mutants by a seed, of as many lines as there are; in the order of the file.

  Those that return nothing come last, being noticed by almost any test.
  """
  waiting = random.Random(seed).sample(found, len(found))
  waiting.sort(key=lambda mutation: mutation.after == 'return None')
  chosen: list[mutations.Mutation] = []
  while waiting and len(chosen) < most:
    lines: set[int] = set()
    for mutation in list(waiting):
      if mutation.line not in lines and len(chosen) < most:
        lines.add(mutation.line)
        chosen.append(mutation)
        waiting.remove(mutation)
  return sorted(chosen)


def tests_of(file: str) -> list[list[str]]:
  """What pytest is to be called with, once or twice, for a file's tests; its own come first."""
  imports = build_files.Project(ROOT).file_imports()
  texts = {name: (ROOT / name).read_text(encoding='utf-8') for name in imports}
  files, contracts = changed.tests_of([file], imports, texts)
  files -= set(changed.ALWAYS)
  own = changed.mirror(file)
  ordered = sorted(files, key=lambda name: (name != own, name))
  parts = [[name, '-k', word] for name, word in sorted(contracts)]
  return [*([ordered] if ordered else []), *parts]


def run_tests(calls: list[list[str]]) -> int:
  """0 where all pass, 5 for a call that selects nothing being as good."""
  options = ['-x', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist', '--hypothesis-seed=0']
  codes = (int(pytest.main([*options, *call])) for call in calls)
  return next((code for code in codes if code not in (0, 5)), 0)


def run_mutant(module: str, source: str, calls: list[list[str]], limit: float) -> Outcome:
  """Runs tests in a forked process whose `module` has this source.

  It may take `limit` seconds of processor time, so that a busy machine changes no verdict, and ten
  times as long by the clock, since what waits for ever takes none.
  """
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / f'{module.rpartition(".")[2]}.py'
    file.write_text(source, encoding='utf-8')
    log = pathlib.Path(folder) / 'log'
    written = os.open(log, os.O_WRONLY | os.O_CREAT)
    child = os.fork()
    if not child:
      code = 1  # Whatever it ends with, a traceback too: not as it should be.
      try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit) + 5))
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.environ['HYPOTHESIS_STORAGE_DIRECTORY'] = folder
        sys.meta_path.insert(0, Finder(module, file))
        code = run_tests(calls)
      finally:
        os._exit(code)
    status, used = _wait(child, time.monotonic() + 10 * limit)
    os.close(written)
    out_of_time = os.WIFSIGNALED(status) and os.WTERMSIG(status) in OUT_OF_TIME
    verdict = TIMEOUT if out_of_time else KILLED if status else SURVIVED
    return Outcome(verdict, used.ru_utime + used.ru_stime, log.read_text(errors='replace'))


def _wait(child: int, until: float) -> tuple[int, resource.struct_rusage]:
  """Its status and what it took; it and what it has begun end at that time, or when we do."""
  try:
    while time.monotonic() < until:
      done, status, used = os.wait4(child, os.WNOHANG)
      if done:
        return status, used
      time.sleep(0.02)
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(child, signal.SIGKILL)
  _, status, used = os.wait4(child, 0)
  return status, used


def read_table(path: str) -> list[Row]:
  if not os.path.exists(path):
    return []
  with open(path, newline='', encoding='utf-8') as file:
    return list(csv.DictReader(file))


def row_of(module: str, mutation: mutations.Mutation, verdict: str = '', tests: str = '') -> Row:
  place = f'{mutation.line}:{mutation.column}'
  texts = (mutation.before[:LONGEST_TEXT], mutation.after[:LONGEST_TEXT])
  today = datetime.date.today().isoformat()
  return dict(zip(COLUMNS, (module, place, *texts, verdict, tests, today, '')))


def text_of(row: Row) -> tuple[str, ...]:
  """What a mutant changes, wherever it is."""
  return row['module'], row['before'], row['after']


def merged(old: list[Row], new: list[Row], possible: list[Row]) -> list[Row]:
  """The table with new verdicts.

  Args:
    old: the table.
    new: rows of one module.
    possible: all mutants of that module as it is now. Old rows move with their code; what is no
      longer possible is left out.
  """
  key = lambda row: (*text_of(row), row['place'])
  rows = {key(row): row for row in old if row['module'] != possible[0]['module']}
  before = [row for row in old if row['module'] == possible[0]['module']]
  left = {key(row): row for row in possible}
  for exact in (True, False):
    for row in list(before):
      of = (at for at in left if (at == key(row) if exact else at[:-1] == text_of(row)))
      if at := next(of, None):
        rows[at] = {**row, 'place': left.pop(at)['place']}
        before.remove(row)
  for row in new:
    note = rows[key(row)]['note'] if key(row) in rows and row['verdict'] == SURVIVED else ''
    rows[key(row)] = {**row, 'note': note}
  place = lambda row: [int(number) for number in row['place'].split(':')]
  return sorted(rows.values(), key=lambda row: (row['module'], place(row), row['after']))


def write_table(path: str, rows: list[Row]) -> None:
  with open(path, 'w', newline='', encoding='utf-8') as file:
    writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)


def try_module(
  module: str, calls: list[list[str]], options: argparse.Namespace, wanted: Callable[[Row], bool]
) -> None:
  """Tries some mutants of a module, and keeps what came of it.

  Args:
    module: its name.
    calls: what pytest is called with.
    options: the command's.
    wanted: which mutants, by their rows, may be chosen.
  """
  source = path_of(module).read_text(encoding='utf-8')
  plain = run_mutant(module, source, calls, limit=LONGEST)
  if plain.verdict != SURVIVED:
    sys.exit(f'{plain.log}\n{module}: its tests do not pass as it is: {calls}')
  found = list(mutations.of(source))
  possible = [row_of(module, mutation) for mutation in found]
  of_use = [mutation for mutation, row in zip(found, possible) if wanted(row)]
  chosen = choose(of_use, options.most, options.seed)
  print(f'{module}: {len(chosen)} mutants, {plain.seconds:.1f} s where all is well', flush=True)
  for mutation in chosen:
    outcome = run_mutant(module, mutation.source, calls, limit=10 + 3 * plain.seconds)
    row = row_of(module, mutation, outcome.verdict, ' ; '.join(map(' '.join, calls)))
    write_table(options.table, merged(read_table(options.table), [row], possible))
    change = f'{row["place"]}: {row["before"]}  ->  {row["after"]}'
    print(f'  {outcome.verdict:8} {outcome.seconds:5.1f} s  {change}', flush=True)


def path_of(module: str) -> pathlib.Path:
  return ROOT.joinpath(*module.split('.')).with_suffix('.py')


def try_again(options: argparse.Namespace) -> None:
  """Tries what survived, with the tests of the time, where it is not equivalent."""
  waiting = [
    row
    for row in read_table(options.table)
    if row['verdict'] == SURVIVED
    and not row['note'].startswith('equivalent')
    and row['module'].startswith(options.module)
  ]
  for module, tests in sorted({(row['module'], row['tests']) for row in waiting}):
    texts = {text_of(row) for row in waiting if (row['module'], row['tests']) == (module, tests)}
    calls = [call.split() for call in tests.split(';')]
    try_module(module, calls, options, lambda row, texts=texts: text_of(row) in texts)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--module', default='', help='the module whose tests are tested')
  parser.add_argument('--most', type=int, default=20, help='how many mutants are tried')
  parser.add_argument('--seed', type=int, default=0, help='which of them are tried')
  parser.add_argument('--tests', help='test files, by commas; otherwise what tests.changed finds')
  parser.add_argument('--lines', help='only mutants of these lines, by commas')
  parser.add_argument('--again', action='store_true', help='try again what survived')
  parser.add_argument('--table', default=str(ROOT / 'tests' / 'mutants.csv'), help='for results')
  options = parser.parse_args()
  module = options.module
  if not options.again and not path_of(module).is_file():
    parser.error(f'--module={module}: there is no such module')
  for package in SLOW_IMPORTS:
    importlib.import_module(package)
  os.chdir(ROOT)
  os.nice(10)
  if options.again:
    try_again(options)
    return
  file = str(path_of(module).relative_to(ROOT))
  calls = [options.tests.split(',')] if options.tests else tests_of(file)
  if not calls:
    parser.error(f'--module={module}: no test imports it; name some with --tests')
  lines = options.lines.split(',') if options.lines else None
  is_there = lambda row: lines is None or row['place'].split(':')[0] in lines
  try_module(module, calls, options, is_there)


if __name__ == '__main__':
  main()
