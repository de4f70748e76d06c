"""Whose examples are whose: the data dealt out to clients, and what is set aside of them."""

import dataclasses
from typing import Any, Optional

import numpy as np

from fl_research import random_streams, tasks
from fl_research import settings as settings_lib
from fl_research.datasets import federated_data, partition, splits
from fl_research.datasets.federated_data import (
  Clients,
  ContiguousClients,
  FederatedData,
  PooledData,
  Problem,
)
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.training import terminal

_DEFAULT_NUM_CLIENTS = 100
_LABELLED = (Problem.CLASSIFICATION, Problem.BINARY)


def deal_out(data: tasks.Data, settings: Settings) -> FederatedData:
  """The data by client: as they come, or by the scheme that `--partition` names."""
  natural = isinstance(data, FederatedData)
  scheme = settings.partition or (settings_lib.NATURAL if natural else 'iid')
  if scheme == settings_lib.NATURAL:
    if not isinstance(data, FederatedData):
      raise UsageError(
        f'--partition=natural: {settings.task} has no clients of its own; accepted are '
        f'{", ".join(partition.SCHEMES)}'
      )
    if settings.num_clients and not tasks.get_task(settings.task).makes_clients:
      raise UsageError(
        f'--num_clients={settings.num_clients}: {settings.task} has clients of its own '
        f'({len(data.train)}); leave it out, or choose a --partition scheme'
      )
    return data
  pool = _as_pool(data) if isinstance(data, FederatedData) else data
  parameters = settings.hyperparameters_of('partition')
  count = settings.num_clients or min(_DEFAULT_NUM_CLIENTS, len(pool.train['y']))
  if isinstance(data, FederatedData):
    _note_dealing_anew(data, scheme, count, settings)
  train = partition.partition(pool, scheme, count, settings.seed, **parameters)
  test_clients = partition.partition_test(
    train, pool.test, pool.problem, scheme, settings.seed, **parameters
  )
  return FederatedData(train, pool.test, test_clients=test_clients, **_kept(pool))


def _kept(data: tasks.Data) -> dict[str, Any]:
  """What dealing examples to other clients leaves as it is."""
  names = ('problem', 'num_classes', 'sources', 'vocabulary_size', 'inputs', 'label_scale')
  return {name: getattr(data, name) for name in (*names, 'class_names', 'preprocessing')}


def _note_dealing_anew(data: FederatedData, scheme: str, count: int, settings: Settings) -> None:
  own = f'{len(data.train)} client{"" if len(data.train) == 1 else "s"} of its own'
  terminal.note(
    f'--partition={scheme}: {settings.task} has {own}, whose examples are pooled and dealt out '
    f'anew to {count} (--num_clients); leave --partition out to keep them'
  )


def _as_pool(data: FederatedData) -> PooledData:
  return PooledData(data.train.pooled(), data.test, **_kept(data))


def test_on_own(data: FederatedData, settings: Settings) -> FederatedData:
  """Tests the training clients on examples of their own, where the settings say so."""
  if not settings.own_test_fraction:
    return data
  by_label = data.problem in _LABELLED
  train, test_clients = splits.own_tests(data.train, settings.own_test_fraction, by_label)
  if not len(test_clients):
    raise UsageError(
      f'--own_test_fraction={settings.own_test_fraction}: no client has two examples to divide'
    )
  return dataclasses.replace(
    data, train=train, test=test_clients.pooled(), test_clients=test_clients
  )


def hold_out(clients: Clients, settings: Settings) -> tuple[Clients, Optional[Clients]]:
  """Splits off the clients that never train, at least one where there are to be any."""
  fraction = settings.held_out_clients_fraction
  if not fraction:
    return clients, None
  count = max(1, round(fraction * len(clients)))
  if count >= len(clients):
    raise UsageError(
      f'--held_out_clients_fraction={fraction}: holds out all of the {len(clients)} clients'
    )
  generator = random_streams.generator(settings.seed, 'held-out clients')
  chosen = np.zeros(len(clients), bool)
  chosen[generator.choice(len(clients), count, replace=False)] = True
  return clients.select(np.flatnonzero(~chosen)), clients.select(np.flatnonzero(chosen))


def servers_own(clients: Clients, settings: Settings) -> Optional[federated_data.Examples]:
  """Examples of the training clients that the server has as well, any with the same probability."""
  count, total = settings.server_examples, int(clients.sizes.sum())
  if not count:
    return None
  if count > total:
    raise UsageError(f'--server_examples={count}: the training clients have {total} in all')
  generator = random_streams.generator(settings.seed, 'server examples')
  chosen = np.sort(generator.choice(total, count, replace=False))
  ends = np.cumsum(clients.sizes)
  owners = np.searchsorted(ends, chosen, side='right')
  rows = chosen - (ends - clients.sizes)[owners]
  parts = []
  for owner in np.unique(owners):
    examples = clients.examples(int(owner))
    parts.append({name: array[rows[owners == owner]] for name, array in examples.items()})
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def one_client(clients: Clients) -> Clients:
  pool = clients.pooled()
  return ContiguousClients(pool, np.array([0, len(pool['y'])]), ['centralized'])


def few(clients: Optional[Clients], settings: Settings) -> Optional[Clients]:
  """At most `--max_evaluation_clients` of the clients, always the same ones for a seed."""
  if clients is None or not settings.max_evaluation_clients:
    return None
  if len(clients) <= settings.max_evaluation_clients:
    return clients
  generator = random_streams.generator(settings.seed, 'evaluation clients')
  drawn = generator.choice(len(clients), settings.max_evaluation_clients, replace=False)
  return clients.select(np.sort(drawn))
