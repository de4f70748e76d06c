"""Stands in for experiments.train: writes a run whose accuracy is a function of its settings.

The learning rate decides: 0.3 is best; 9 fails; 8 writes no train/accuracy; 7 prints its process
and takes for ever; 6 leaves a NaN; 5 diverges.
"""

import csv
import json
import math
import os
import pathlib
import sys
import time

from absl import flags

from experiments import command_line
from fl_research import random_streams


def main() -> int:
  given = dict(argument[2:].split('=', 1) for argument in sys.argv[1:])
  rate, seed = float(given['client_learning_rate']), int(given.get('seed', 0))
  folder = pathlib.Path(given['output_dir'], given['experiment_name'])
  if rate == 9:
    print('fake_train.py: something went wrong', file=sys.stderr)
    return 3
  if rate == 7:
    print(os.getpid(), flush=True)
    time.sleep(600)
  folder.mkdir(parents=True)
  accuracy = 0.9 - abs(math.log10(rate) - math.log10(0.3)) / 10 + seed / 1000
  name = 'train/loss' if rate == 8 else 'train/accuracy'
  value = {6: '', 5: 0.99}.get(rate, accuracy)
  with open(folder / 'metrics.csv', 'w', newline='') as file:
    rows = [['round', name, 'seconds'], [0, '', 1.0], [1, value, 1.0], [2, value, 1.0]]
    csv.writer(file, lineterminator='\n').writerows(rows)
  with open(folder / 'hparams.csv', 'w', newline='') as file:
    csv.writer(file, lineterminator='\n').writerows([list(given), list(given.values())])
  values = flags.FlagValues()
  command_line.define_settings_flags(values)
  command_line.parse(values, sys.argv)
  identity = command_line.to_settings(values).identity()
  manifest = {
    'streams': random_streams.VERSION,
    'finished': True,
    'diverged': rate == 5,
    'flags': given,
    'identity': identity,
    'method_flags': {},
    'machine': {'cores': 1, 'processor': 'pretended'},
  }
  (folder / 'manifest.json').write_text(json.dumps(manifest))
  (folder / 'starts').write_text('once')
  return 0


if __name__ == '__main__':
  sys.exit(main())
