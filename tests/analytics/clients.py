"""Small populations that tests of analyses share."""

import numpy as np

from fl_research.analytics import running
from fl_research.analytics import settings as analysis_settings
from fl_research.datasets import federated_data
from fl_research.datasets.federated_data import Problem
from fl_research.training import run_data

SIZES = (7, 12, 1, 9)


def examples(size, seed, dimension=3):
  """Points around four corners, whose label says around which."""
  generator = np.random.default_rng(seed)
  y = generator.integers(0, 4, size).astype(np.int32)
  corners = 4.0 * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
  x = corners[y] + generator.normal(size=(size, dimension))
  return {'x': x.astype(np.float32), 'y': y}


def population(sizes=SIZES, seed=0):
  """Clients of these sizes, as data of a run."""
  pool = examples(sum(sizes), seed)
  offsets = np.cumsum([0, *sizes])
  clients = federated_data.ContiguousClients(pool, offsets)
  test = examples(10, seed + 1)
  return federated_data.FederatedData(clients, test, Problem.CLASSIFICATION, num_classes=4)


def settings(**flags):
  """The settings of these flags, checked but for the task, of which there is none."""
  made = analysis_settings.from_flags({'experiment_name': 'x', **flags})
  made.own_parameters()
  return made


def setup(data=None, **flags):
  """What an analysis of these flags is given."""
  chosen = settings(**flags)
  return running.set_up(chosen, run_data.of(data or population(), chosen))


def build(setup):
  """The analysis of a setup."""
  return running.build(setup.settings, setup)
