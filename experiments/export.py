"""Exports the final model of a run as a SavedModel that takes raw columns."""

from collections.abc import Sequence
import pathlib

from absl import flags

from experiments import command_line
from fl_research.registry import UsageError

INTRODUCTION = """
Exports the final global model of a run as a TensorFlow SavedModel, for TF Serving, for TFLite, and
for any program with TensorFlow: nothing of this package is needed to load it. Its signature takes
the columns of the training files as they are, by name (numbers, NaN where missing; text, '' where
missing), or x where the run was trained on arrays, and gives the predicted class with the
probabilities of all, or the number in its own unit.

  python -m experiments.export --run=results/hospitals --out=hospitals_model

--flagfile=FILE reads flags from a file, one per line.
"""
_OWN = {
  'run': 'folder of the run, <output_dir>/<experiment_name>',
  'out': 'the folder to write, which must not be there yet',
}


def main(argv: Sequence[str]) -> int:
  if command_line.wants_help(argv):
    groups = {'Flags': [f'  --{name}: {text}' for name, text in _OWN.items()]}
    command_line.print_help('python -m experiments.export', INTRODUCTION, groups)
    return 0
  flag_values = flags.FlagValues()
  command_line.parse_own(flag_values, argv, _OWN, needed=list(_OWN))
  run, out = pathlib.Path(flag_values.run).resolve(), pathlib.Path(flag_values.out).absolute()
  if out.exists() or not out.parent.is_dir():
    raise UsageError(
      f'--out={flag_values.out}: must be a new folder, in a folder that there is already'
    )
  from fl_research.training import run_folder, stored_data

  # Said before TensorFlow is imported, which takes seconds.
  manifest, stored = run_folder.read_ended(run), stored_data.load(run)
  from fl_research.training import reevaluation, saved_model

  model, weights = reevaluation.global_model(run, manifest, stored.spec)
  columns = saved_model.save(out, model, weights, stored)
  taken = ', '.join(f'{name} ({kind})' for name, kind in columns.items())
  print(f'{flag_values.out}: takes {taken}')
  return 0


if __name__ == '__main__':
  command_line.run_main(main)
