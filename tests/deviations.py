"""How far what we compute is from its NumPy twin: the largest deviation in every such test.

    python -m tests.deviations                           (about five minutes)
    python -m tests.deviations tests/algorithms/personal

Runs the tests with `oracle` or `twin` in their names, and notes what `np.testing.assert_allclose`
compares in each: the largest |found - expected| / (1 + |expected|). Beside it is what the test
allows. Without arguments the table is kept in `tests/deviations.csv`.
"""

import csv
import os
import pathlib
import sys

import numpy as np
import pytest

import fl_research  # noqa: F401  its settings of TensorFlow, before that is imported

TABLE = pathlib.Path(__file__).with_suffix('.csv')
FOLDERS = ('tests/algorithms', 'tests/aggregation')
COLUMNS = ('test', 'largest', 'allowed')


class Recorder:
  """Notes deviations by test, in place of `np.testing.assert_allclose`, which it then calls."""

  def __init__(self):
    self.largest: dict[str, tuple[float, float]] = {}
    self._assert = np.testing.assert_allclose

  def __call__(self, actual, desired, rtol=1e-7, atol=0, **options):
    self._assert(actual, desired, rtol=rtol, atol=atol, **options)
    test = os.environ['PYTEST_CURRENT_TEST'].rpartition(' ')[0]
    found, expected = np.asarray(actual, np.float64), np.asarray(desired, np.float64)
    finite = np.isfinite(expected)
    deviation = np.abs(found - expected)[finite] / (1.0 + np.abs(expected[finite]))
    before = self.largest.get(test, (0.0, 0.0))
    self.largest[test] = tuple(map(max, before, (deviation.max(initial=0.0), max(rtol, atol))))


def main() -> int:
  recorder = Recorder()
  np.testing.assert_allclose = recorder
  own = sys.argv[1:]
  options = ['-q', '-p', 'no:xdist', '-p', 'no:cacheprovider', '-k', 'oracle or twin']
  code = int(pytest.main([*options, *(own or FOLDERS)]))
  rows = sorted(
    (test.removeprefix('tests/'), f'{largest:.1e}', f'{allowed:.0e}')
    for test, (largest, allowed) in recorder.largest.items()
  )
  for row in rows:
    print(*row, sep='  ')
  if not own and not code:
    with open(TABLE, 'w', newline='', encoding='utf-8') as file:
      csv.writer(file, lineterminator='\n').writerows([COLUMNS, *rows])
  return code


if __name__ == '__main__':
  sys.exit(main())
