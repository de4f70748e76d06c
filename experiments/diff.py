"""Says where two runs part, and which flag, version or data file may explain it."""

from collections.abc import Sequence

from absl import flags

from experiments import command_line
from fl_research.analysis import divergence
from fl_research.registry import UsageError

INTRODUCTION = """
Compares all that two runs wrote to metrics.csv, times aside: names the first round and column in
which they part, and the flags, data files and versions that differ. Exit code 0 when they are the
same, 1 when they are not.

  python -m experiments.diff results/first_run results/second_run
"""
_MOST_CAUSES = 20


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {
      'Comparison': ['  --tolerance [0]: relative difference up to which numbers are the same']
    }
    command_line.print_help('python -m experiments.diff A B', INTRODUCTION, groups)
    return 0
  values = flags.FlagValues()
  flags.DEFINE_float('tolerance', 0.0, 'relative difference', flag_values=values)
  a, b = command_line.parse(values, argv, ('A', 'B'))
  if not 0 <= values.tolerance < 1:
    raise UsageError(f'--tolerance={values.tolerance}: accepted is a number in [0, 1)')
  found = divergence.diverge(a, b, values.tolerance)
  print_divergence(found)
  return 0 if found.same else 1


def print_divergence(found: divergence.Divergence) -> None:
  """Prints where two runs part, and why they may."""
  parting = found.parting
  if parting:
    print(f'The runs part in round {parting.round_num}, column {parting.column}:')
    print(f'  A {_text(parting.a)}\n  B {_text(parting.b)}')
    others = [name for name in parting.columns if name != parting.column]
    if others:
      print(f'In that round also differ: {", ".join(others)}')
    if parting.round_num == 0:
      print('Round 0 is the untrained model: initial weights or evaluation data differ.')
  else:
    print(f'All values of the {found.rounds} rounds that both have are the same, times aside.')
  if found.lengths[0] != found.lengths[1]:
    print(f'A ends after round {found.lengths[0]}, B after round {found.lengths[1]}.')
  if found.only_in_one:
    print(f'Only one of them has: {", ".join(found.only_in_one)}')
  if found.causes:
    print('\nWhat differs between them' + (' and may be why:' if not found.same else ':'))
    _print_rows(found.causes[:_MOST_CAUSES])
    if len(found.causes) > _MOST_CAUSES:
      print(f'  and {len(found.causes) - _MOST_CAUSES} more')
  elif not found.same:
    print('\nNothing in their flags, data, versions or machines explains it.')
  if found.harmless:
    print('\nDiffers, and cannot change results beyond the last digits:')
    _print_rows(found.harmless)


def _print_rows(rows) -> None:
  for what, a, b in rows:
    print(f'  {what}: A {a}, B {b}')


def _text(value) -> str:
  if value is None or value != value:
    return '(empty)'
  return repr(float(value)) if isinstance(value, float) else str(value)


if __name__ == '__main__':
  command_line.run_main(main)
