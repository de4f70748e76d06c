"""What a site has: its clients, their examples, and what it tells others of them."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, Optional

import numpy as np

from fl_research.datasets.federated_data import (
  Clients,
  ContiguousClients,
  FederatedData,
  PooledData,
)
from fl_research.importing import memory, preprocessing, shared_fit, table_source
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError
from fl_research.settings import Settings
from fl_research.training import run_data


class SiteData:
  """The data that a site's settings name.

  Args:
    settings: `task` and where its files are.
    clients: ids of the task's clients that are this site's; all of them when empty.

  Attributes:
    statistics: names of what the sites have to be asked together before the data can be made.
  """

  statistics: Sequence[str] = ()

  def __init__(self, settings: Settings, clients: Sequence[str] = ()):
    self._settings, self._clients = settings, tuple(clients)
    self._data: Optional[run_data.RunData] = None

  def answer(
    self, what: str, facts: Mapping[str, Any], numbers: Sequence[np.ndarray]
  ) -> tuple[dict[str, Any], list[np.ndarray]]:
    """This site's part of a sum that all sites are asked for."""
    del facts, numbers
    raise UsageError(f'statistics {what}: this site has no such')

  def load(self, shared: Mapping[str, Any]) -> None:
    """Makes the data, with what all sites have found out together."""
    del shared
    if self._data is None:
      self._data = self._loaded()

  def _loaded(self) -> run_data.RunData:
    data = run_data.load(self._settings)
    if not self._clients:
      return data
    train = _chosen(data.train, self._clients)
    tests = data.test_clients
    return dataclasses.replace(
      data, train=train, test_clients=tests and _chosen(tests, self._clients)
    )

  @property
  def _there(self) -> run_data.RunData:
    if self._data is None:
      raise UsageError('the engine has to ask what data there are before it begins')
    return self._data

  @property
  def columns(self) -> tuple[str, ...]:
    """The columns that models are given or predict, where sites found them out together."""
    return ()

  @property
  def train(self) -> Clients:
    """The clients that train."""
    return self._there.train

  @property
  def tests(self) -> Clients:
    """The clients with test examples; where they are nobody's, one of the site's name."""
    data = self._there
    if data.test_clients is not None:
      return data.test_clients
    if self._clients:
      return data.train.select([])
    return ContiguousClients(data.test, np.array([0, len(data.test['y'])]), ['test'])

  @property
  def spec(self) -> ModelSpec:
    """What a model must accept."""
    return self._there.spec

  def facts(self) -> dict[str, Any]:
    """What is the same at all sites, and who reads it must know."""
    data = self._there
    return {'class_names': list(data.class_names), 'task': self._settings.task}


class TableData(SiteData):
  """A table of a site's own, of which other sites have other rows.

  Means, deviations, categories and classes are found out by all of them together
  (`fl_research.importing.shared_fit`); rows that no column and no file name gives an owner are the
  site's own, as one client.

  Args:
    name: of the site.
    settings: `data_file` and how it is read.
    least: how many training rows a category must have to be named to others.
  """

  statistics = shared_fit.ROUNDS

  def __init__(self, name: str, settings: Settings, least: int):
    super().__init__(settings)
    self._name, self._options = name, run_data.options(settings)
    self._part = shared_fit.Part(self._options, least)

  def answer(self, what, facts, numbers):
    if what == 'facts':
      return self._part.facts(), []
    if what == 'categories':
      return self._part.categories(facts['columns']), []
    if what == 'sums':
      return {}, [self._part.sums(facts['columns'], facts['categories'])]
    if what == 'squares' and len(numbers) == 1:
      return {}, [self._part.squares(facts['columns'], numbers[0])]
    return super().answer(what, facts, numbers)

  @property
  def columns(self):
    fitted = self._there.preprocessing
    assert fitted is not None
    label = fitted['label']
    labels = label.get('columns') or [label['column']]
    return (*(column['name'] for column in fitted['columns']), *labels)

  def load(self, shared):
    try:
      fitted = preprocessing.Preprocessing.from_data(shared)
    except (KeyError, TypeError, ValueError) as error:
      raise UsageError(f'describe: what all sites found out cannot be read ({error})') from error
    data = memory.read(table_source.TableSource(self._options, fitted))
    if isinstance(data, PooledData):
      data = _of_one(self._name, data)
    self._data = run_data.of(data, self._settings)


def _of_one(name: str, data: PooledData) -> FederatedData:
  """The data as those of one client."""
  fields = {
    f.name: getattr(data, f.name)
    for f in dataclasses.fields(FederatedData)
    if hasattr(data, f.name)
  }
  train, test = (
    ContiguousClients(own, np.array([0, len(own['y'])]), [name]) for own in (data.train, data.test)
  )
  return FederatedData(**{**fields, 'train': train, 'test_clients': test})


def _chosen(clients: Clients, ids: Sequence[str]) -> Clients:
  positions = {own: place for place, own in enumerate(clients.ids)}
  missing = [own for own in ids if own not in positions]
  if missing:
    raise UsageError(
      f'--clients={",".join(missing)}: no such clients; there are {", ".join(list(positions)[:10])}'
    )
  return clients.select([positions[own] for own in ids])
