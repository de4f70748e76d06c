"""A deployed run is the simulation's: the same model, and the same rows but for times."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fl_research import settings as settings_lib
from fl_research.federation import engine_data
from fl_research.training import experiment, run_data
from tests.federation import in_process

FLAGS = {
  'task': 'synthetic',
  'num_clients': 6,
  'clients_per_round': 4,
  'client_batch_size': 10,
  'client_learning_rate': 0.05,
  'total_rounds': 3,
  'rounds_per_checkpoint': 2,
  'tensorboard': False,
  'seed': 3,
}
RUNS = {
  'fedavg': {},
  'scaffold': {'algorithm': 'scaffold'},
  'top_k': {'compressor': 'top_k', 'top_k_fraction': 0.3},
  'private': {'dp_noise_multiplier': 0.5, 'dp_clip_norm': 0.5},
  'median': {'aggregator': 'median'},
}


def _settings(tmp_path, **flags):
  given = {**FLAGS, 'output_dir': str(tmp_path), **flags}
  return settings_lib.from_flags(given)


def _of_sites(settings, monkeypatch, tmp_path):
  """Two sites with three clients each."""
  own = settings_lib.from_flags({n: FLAGS[n] for n in ('task', 'num_clients', 'seed')})
  ids = run_data.load(own).train.ids
  clients_of = {'a': ids[:3], 'b': ids[3:]}
  found = in_process.sites(own, clients_of, tmp_path / 'sites')
  transport = in_process.InProcess({name: site.handle for name, site in found.items()})
  monkeypatch.setattr(engine_data, 'connect', lambda address: transport)
  deployed = dataclasses.replace(settings, runtime='federation', federation='x', num_clients=0)
  return deployed, transport, found


@pytest.mark.parametrize('name', RUNS)
def test_same_model_and_rows(name, tmp_path, monkeypatch):
  settings = _settings(tmp_path, experiment_name='simulated', **RUNS[name])
  simulated = experiment.run(settings, lambda: '')
  deployed, _, _ = _of_sites(settings, monkeypatch, tmp_path)
  deployed = dataclasses.replace(deployed, experiment_name='deployed')
  at_sites = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  first, second = (np.load(o.folder.path / 'model.npz') for o in (simulated, at_sites))
  for weight in first.files:
    np.testing.assert_array_equal(first[weight], second[weight])
  tables = [pd.read_csv(o.folder.metrics) for o in (simulated, at_sites)]
  print(set(tables[0]) - set(tables[1]), set(tables[1]) - set(tables[0]))
  common = [column for column in tables[1] if column in tables[0] and column != 'seconds']
  pd.testing.assert_frame_equal(tables[0][common], tables[1][common], rtol=1e-6)
