"""Every method that can be deployed, deployed and simulated: how far the two are apart.

    python -m tests.federation.every_method

Two rounds each on six clients, at two sites in this process: the largest differences of the final
global models, and of what metrics.csv says of models of the clients' own. Takes some minutes, and
is no test.
"""

import dataclasses
import pathlib
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest

from fl_research import algorithms
from fl_research.federation import engine_data
from fl_research.training import experiment
from tests.federation import runs

_CLIENTS = runs.FLAGS['num_clients']
_FLAGS = {'fedbn': {'mlp_normalization': 'layer'}}
"""What some methods cannot do without."""


def _models(name, folder, monkeypatch):
  flags = {'algorithm': name, 'clients_per_round': _CLIENTS, 'total_rounds': 2, 'model': 'mlp'}
  flags.update(_FLAGS.get(name, {}))
  settings = runs.settings(folder, experiment_name='simulated', **flags)
  yield experiment.run(settings, lambda: '')
  settings, _, _ = runs.of_sites(settings, monkeypatch, folder)
  settings = dataclasses.replace(settings, experiment_name='deployed')
  yield experiment.run(settings, lambda: '', engine_data.load(settings))


def main() -> int:
  furthest = 0.0
  for name, entry in algorithms.ALGORITHMS.items():
    if not all(each.accepts('runtime', 'federation') for each in entry.requires):
      continue
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
      outcomes = _models(name, pathlib.Path(folder), monkeypatch)
      paths = [outcome.folder.path for outcome in outcomes]
      first, second = (np.load(path / 'model.npz') for path in paths)
      apart = max(float(np.abs(first[key] - second[key]).max()) for key in first.files)
      tables = [pd.read_csv(path / 'metrics.csv') for path in paths]
    own = [n for n in tables[0] if n.startswith('personal/') and n in tables[1]]
    of_clients = max((float((tables[0][n] - tables[1][n]).abs().max()) for n in own), default=0.0)
    print(f'{name}: {apart:.2g}, {len(own)} columns of own models: {of_clients:.2g}', flush=True)
    furthest = max(furthest, apart, of_clients)
  return int(furthest > 1e-6)


if __name__ == '__main__':
  sys.exit(main())
