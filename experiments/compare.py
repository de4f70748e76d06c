"""Compares two settings on the same seeds."""

from collections.abc import Sequence

from absl import flags

from experiments import command_line
from fl_research import analysis
from fl_research.registry import UsageError

INTRODUCTION = """
Compares two settings, A and B, run by run on the same seed, and says which is better if the data
tell. A and B are folders or patterns, each holding the runs of one setting; after a colon follow
settings that choose among the runs of a folder.

  python -m experiments.compare "results/fedavg_*" "results/fedprox_*"
  python -m experiments.compare results/sweep:algorithm=fedavg results/sweep:algorithm=scaffold \\
    --measure="eval/accuracy rounds to 0.9"

There is a winner only when both intervals of the mean difference exclude 0, for which it takes two
seeds or more.
"""
_FLAGS = {
  'measure': '  --measure: "COLUMN last N", "COLUMN final", "COLUMN rounds to TARGET" or "COLUMN '
  'hours to\n      TARGET"; when empty, how the problem is scored (eval/accuracy, ...; '
  'personal/... of personal\n      models) over the last tenth of the rounds',
  'confidence': '  --confidence [0.95]: of the intervals',
  'bootstrap_seed': '  --bootstrap_seed [0]: fixes the resampling',
}


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {'Comparison': list(_FLAGS.values())}
    command_line.print_help('python -m experiments.compare A B', INTRODUCTION, groups)
    return 0
  values = flags.FlagValues()
  flags.DEFINE_string('measure', '', 'what to compare', flag_values=values)
  flags.DEFINE_float('confidence', 0.95, 'of the intervals', flag_values=values)
  flags.DEFINE_integer('bootstrap_seed', 0, 'fixes the resampling', flag_values=values)
  places = command_line.parse(values, argv, ('A', 'B'))
  if not 0 < values.confidence < 1:
    raise UsageError(f'--confidence={values.confidence}: accepted is a number between 0 and 1')
  if values.bootstrap_seed < 0:
    raise UsageError(f'--bootstrap_seed={values.bootstrap_seed}: accepted is a number from 0 on')
  a, b = (analysis.load_runs(place) for place in places)
  measure = analysis.choose_measure(values.measure, analysis.concatenate((a, b)))
  print_comparison(analysis.compare(a, b, measure, values.confidence, values.bootstrap_seed))
  return 0


def print_comparison(found: analysis.Comparison) -> None:
  """Prints a comparison in full: settings, pairs, difference, intervals, verdict."""
  for name, (a, b) in found.settings.items():
    print(f'{name}: A {a or "(default)"}, B {b or "(default)"}')
  print(f'\n{found.measure}')
  print(found.pairs.rename(columns={'a': 'A', 'b': 'B', 'difference': 'A - B'}).to_string())
  print(f'\nmean of A - B: {found.difference:.6g}')
  if len(found.pairs) == 1:
    print('\nNo winner: from one seed nothing is known of the spread; compare two seeds or more.')
    return
  percent = f'{100 * found.confidence:g} %'
  print(f'{percent} bootstrap interval: {found.bootstrap.low:.6g} to {found.bootstrap.high:.6g}')
  print(f'{percent} t interval: {found.t.low:.6g} to {found.t.high:.6g}')
  if not found.same_data:
    print('A pair shares its seed only: its clients do not hold the same data in A and B.')
  if found.winner:
    direction = 'lower' if found.measure.falls else 'higher'
    print(f'\n{found.winner.upper()} is better ({direction} values are).')
  else:
    print(f'\nNo winner: {len(found.pairs)} pairs do not tell A from B.')


if __name__ == '__main__':
  command_line.run_main(main)
