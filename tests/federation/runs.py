"""Little runs at sites in this process."""

import dataclasses

from fl_research import settings as settings_lib
from fl_research.federation import engine_data
from fl_research.training import run_data
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


def settings(tmp_path, **flags):
  given = {**FLAGS, 'output_dir': str(tmp_path), **flags}
  return settings_lib.from_flags(given)


def of_sites(settings, monkeypatch, tmp_path, names='ab'):
  """Two sites with three clients each, or so many with as many as there are for each."""
  own = settings_lib.from_flags({n: FLAGS[n] for n in ('task', 'num_clients', 'seed')})
  ids = run_data.load(own).train.ids
  each = len(ids) // len(names)
  clients_of = {name: ids[each * k : each * (k + 1)] for k, name in enumerate(names)}
  found = in_process.sites(own, clients_of, tmp_path / 'sites')
  transport = in_process.InProcess({name: site.handle for name, site in found.items()})
  monkeypatch.setattr(engine_data, 'connect', lambda address: transport)
  deployed = dataclasses.replace(settings, runtime='federation', federation='x', num_clients=0)
  return deployed, transport, found
