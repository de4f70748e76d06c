"""Groups of clients that have the same examples each in a way of its own: the flags that say so."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math
from typing import Optional

import numpy as np

from fl_research.datasets import relabelled, rendered
from fl_research.datasets.federated_data import Clients, FederatedData, Problem
from fl_research.registry import UsageError
from fl_research.settings import Settings

_LABELLED = (Problem.CLASSIFICATION, Problem.BINARY)


def of(data: FederatedData, settings: Settings) -> FederatedData:
  """The data as groups of clients have them, by `--label_namings`, `--rotations`, `--renderings`.

  Raises:
    UsageError: the data have no labels, or no pictures, for it, or are tested on other clients.
  """
  data = _rename_labels(data, settings)
  turns = rendered.turns(settings.rotations)
  data = _render(data, settings, f'rotations={settings.rotations}', turns)
  names = rendered.parse(settings.renderings)
  return _render(data, settings, f'renderings={settings.renderings}', names)


def group_of(ids: Sequence[str], settings: Settings) -> Optional[Mapping[str, int]]:
  """The group of each training client, by its id, numbers from 0 on; None without groups.

  Clients are of one group that have everything in the same way.
  """
  names = rendered.parse(settings.renderings)
  counts = [settings.label_namings, settings.rotations, len(names) if len(set(names)) > 1 else 1]
  if max(counts) == 1:
    return None
  together = math.lcm(*counts)
  return {client_id: k % together for k, client_id in enumerate(ids)}


def _rename_labels(data: FederatedData, settings: Settings) -> FederatedData:
  """Lets groups of clients name the labels differently, where the settings say so."""
  count = settings.label_namings
  if count == 1:
    return data
  if data.problem not in _LABELLED:
    raise UsageError(f'--label_namings={count}: {settings.task} has no class labels')
  num_labels = 2 if data.problem is Problem.BINARY else data.num_classes
  names = relabelled.namings(count, num_labels, settings.seed)
  change = lambda clients, group, part: relabelled.Relabelled(clients, group, names)
  return _by_group(data, count, f'--label_namings={count}', change)


def _render(
  data: FederatedData, settings: Settings, flag: str, names: Sequence[str]
) -> FederatedData:
  """Renders the pictures of groups of clients, where there is anything to do."""
  if set(names) <= {rendered.PLAIN}:
    return data
  _check_pictures(data, settings.task, flag, names)
  change = lambda clients, group, part: rendered.Rendered(
    clients, group, names, settings.seed, part
  )
  return _by_group(data, len(names), f'--{flag}', change)


def _check_pictures(data: FederatedData, task: str, flag: str, names: Sequence[str]) -> None:
  x = data.train.examples(0)['x']
  if x.ndim != 4 or x.dtype != np.float32:
    raise UsageError(f'--{flag}: {task} has no pictures')
  if x.shape[1] != x.shape[2] and set(names) & set(rendered.TURNED):
    raise UsageError(f'--{flag}: {task} has no square pictures')


def _by_group(
  data: FederatedData,
  count: int,
  flag: str,
  change: Callable[[Clients, np.ndarray, str], Clients],
) -> FederatedData:
  """The data with clients changed by their groups.

  Args:
    data: the data.
    count: of groups.
    flag: the flag and its value, for the message.
    change: from clients, the group of each and which of their examples they are to other clients.
  """
  position = {client_id: k for k, client_id in enumerate(data.train.ids)}
  if data.test_clients is None or not set(data.test_clients.ids) <= set(position):
    raise UsageError(
      f'{flag}: the test examples are not those of the clients that train, so nobody knows of '
      'which group they are; set --own_test_fraction or --partition'
    )
  group_of = np.arange(len(data.train)) % count
  tested = group_of[[position[client_id] for client_id in data.test_clients.ids]]
  test_clients = change(data.test_clients, tested, 'test')
  return dataclasses.replace(
    data,
    train=change(data.train, group_of, 'train'),
    test=test_clients.pooled(),
    test_clients=test_clients,
  )
