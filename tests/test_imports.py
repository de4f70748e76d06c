"""Imports run one way: no package of the library imports one above it.

All imports count, those inside functions and for type checkers too, and so do modules that are only
named, as registries do.
"""

import pathlib

import pytest

from tests import build_files

_ORDER = (
  (
    'aligned',
    'domains',
    'environment',
    'gini',
    'hooks',
    'protocols',
    'random_streams',
    'registry',
    'secure_aggregation',
    'tff_private',
  ),
  ('runtime',),
  ('datasets',),
  ('importing',),
  ('client_data', 'metrics'),
  ('models',),
  ('optimizers',),
  ('aggregation',),
  ('population',),
  ('round',),
  ('algorithms',),
  ('tasks',),
  ('settings',),
  ('soundness', 'analysis'),
  ('training',),
  ('analytics', 'federation', 'sweeps'),
  ('api', 'own_data'),
)
"""The packages and modules of fl_research, low ones first; none imports another of its own row."""

_RANKS = {name: rank for rank, names in enumerate(_ORDER) for name in names}


@pytest.fixture(scope='module')
def imports():
  """Module of the library -> the project's modules, and others' packages, that it imports."""
  project = build_files.Project(pathlib.Path(__file__).resolve().parent.parent)
  return {m: names for m, names in project.imports().items() if m.startswith('fl_research.')}


def _room(module):
  """Its package or module directly below fl_research; None for what is not of the library."""
  library, _, rest = module.partition('.')
  return rest.partition('.')[0] if library == 'fl_research' and rest else None


def _between_rooms(imports):
  """Importing module, its room, and another room that it imports from."""
  for module, names in imports.items():
    for room in {_room(name) for name in names} - {None, _room(module)}:
      yield module, _room(module), room


def test_every_package_has_a_rank(imports):
  assert {_room(module) for module in imports} == set(_RANKS)


def test_no_package_imports_one_above_it(imports):
  wrong = [
    f'{module} imports {other}'
    for module, room, other in _between_rooms(imports)
    if _RANKS[other] >= _RANKS[room]
  ]
  assert wrong == []


def test_the_library_imports_nothing_built_on_it(imports):
  above = {'experiments', 'baselines', 'benchmarks', 'tests'}
  wrong = {m: n for m, names in imports.items() for n in names if n.partition('.')[0] in above}
  assert wrong == {}
