"""Writes one page about many runs."""

from collections.abc import Sequence
import pathlib

from absl import flags

from experiments import command_line
from fl_research import analysis
from fl_research.analysis import html_report
from fl_research.registry import UsageError
from fl_research.training import atomic_files

INTRODUCTION = """
Writes one HTML page about the runs in a folder: results over seeds with intervals, curves, how
clients fare, costs, settings. The page needs no other file and no network.

  python -m experiments.report results --out=report.html
  python -m experiments.report results/sweep:algorithm=fedavg --measure="eval/accuracy final"
"""
_HELP = {
  'out': 'the page to write',
  'measure': 'result in the tables: "COLUMN last N", "COLUMN final", "COLUMN rounds to TARGET" '
  'or "COLUMN hours to TARGET"; '
  'when empty, how the problem is scored (eval/accuracy, ...; personal/... of personal models) '
  'over the last tenth of the rounds',
  'target': "value of the measure's column; adds rounds and bytes until it was reached",
  'by': 'settings that make a cell, with commas between; empty: all that differ but the seed',
}


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {'Report': [f'  --{name}: {text}' for name, text in _HELP.items()]}
    command_line.print_help('python -m experiments.report FOLDER', INTRODUCTION, groups)
    return 0
  values = flags.FlagValues()
  flags.DEFINE_string('out', 'report.html', _HELP['out'], flag_values=values)
  flags.DEFINE_string('measure', '', _HELP['measure'], flag_values=values)
  flags.DEFINE_float('target', None, _HELP['target'], flag_values=values)
  flags.DEFINE_string('by', '', _HELP['by'], flag_values=values)
  (place,) = command_line.parse(values, argv, ('FOLDER',))
  out = pathlib.Path(values.out)
  if not out.absolute().parent.is_dir():
    raise UsageError(f'--out={out}: there is no folder {out.absolute().parent}')
  runs = analysis.load_runs(place)
  measure = analysis.choose_measure(values.measure, runs)
  by = [name for name in values.by.split(',') if name] or None
  page = html_report.render(runs, measure, values.target, by, title=place)
  atomic_files.write_atomically(out, page.encode())
  print(f'{out}: {len(runs)} runs, {len(page) / 1e6:.1f} MB')
  return 0


if __name__ == '__main__':
  command_line.run_main(main)
