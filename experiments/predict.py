"""Asks the final model of a run about new examples."""

from collections.abc import Sequence
import pathlib

from absl import flags

from experiments import command_line
from fl_research.registry import UsageError

INTRODUCTION = """
Asks the final model of a run about new examples, and writes a CSV: the columns of the file, then
the answers. Classes and tags come with their probabilities, numbers in their own units.

  python -m experiments.predict --run=results/hospitals --data_file=new.csv --out=answers.csv
  python -m experiments.predict --run=results/mine --data_file=new.csv --client=north --out=a.csv

What a file holds depends on what the run was trained on (labels need not be there):

  tables    a table with the same columns, in any order; of time series likewise
  pictures  a picture or a folder of them
  text      a .txt file or a folder of them, a table with the texts, LEAF's JSON, TFF's HDF5 or
            SQLite; what follows each text is answered, the three likeliest tokens
  arrays    a .npz file with an array x, LEAF's JSON, TFF's HDF5 or SQLite

What made numbers of the training files' values is done to the new ones as well: the run's
preprocessing.json says it.

The default of a flag stands in brackets. --flagfile=FILE reads flags from a file, one per line.
"""
_OWN = {
  'run': 'folder of the run, <output_dir>/<experiment_name>',
  'data_file': 'the new examples',
  'out': 'the CSV to write',
  'client': "whose own model answers, of methods that give clients one; needs the run's data",
}
_DIALECT = ('separator', 'decimal', 'encoding', 'header', 'missing')
_CHANGEABLE = (*_DIALECT, 'data_dir', 'runtime', 'client_parallelism')


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {
      'Flags': [f'  --{name}: {text}' for name, text in _OWN.items()],
      'How a CSV is written, and where and on what a client answers': command_line.changes_help(
        _CHANGEABLE
      ),
    }
    command_line.print_help('python -m experiments.predict', INTRODUCTION, groups)
    return 0
  flag_values = flags.FlagValues()
  needed = ('run', 'data_file', 'out')
  command_line.parse_own(flag_values, argv, _OWN, needed, _CHANGEABLE)
  out = pathlib.Path(flag_values.out).absolute()
  if not out.parent.is_dir() or out.is_dir():
    raise UsageError(f'--out={flag_values.out}: cannot be written; the folder must be there')
  if out == pathlib.Path(flag_values.data_file).absolute():
    raise UsageError(f'--out={flag_values.out}: is the --data_file; choose another name')
  changes = command_line.to_changes(flag_values, _CHANGEABLE)
  from fl_research.datasets.federated_data import DatasetOptions
  from fl_research.importing import dialect as dialects
  from fl_research.training import prediction

  dialect = {name: changes.pop(name) for name in _DIALECT if name in changes}
  given = dialects.given(DatasetOptions('', **dialect))
  tables = prediction.predict(
    pathlib.Path(flag_values.run).resolve(),
    flag_values.data_file,
    given,
    flag_values.client,
    changes,
  )
  rows = prediction.write(tables, out)
  print(f'{flag_values.out}: {rows} row{"" if rows == 1 else "s"}')
  return 0


if __name__ == '__main__':
  command_line.run_main(main)
