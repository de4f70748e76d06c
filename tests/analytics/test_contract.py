"""What holds for every analysis of the registry."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from fl_research import analytics, runtime
from fl_research.analytics import running
from fl_research.analytics import settings as analysis_settings
from fl_research.training import run_folder, terminal
from tests import contexts
from tests.analytics import clients

SETTINGS = {
  'kmeans': {'kmeans_clusters': 3},
  'kfed': {'kfed_clusters': 4},
  'pca': {'pca_components': 2},
  'distinct': {'distinct_buckets': 64},
  'heavy_hitters': {'heavy_hitters_capacity': 10},
  'histogram': {'histogram_bins': 4},
  'triehh': {'triehh_epsilon': 4.0, 'triehh_delta': 0.9, 'triehh_length': 3},
  'tff_histogram': {'tff_histogram_bins': 3, 'tff_histogram_high': 20.0},
  'quantiles': {'quantiles_bins': 8, 'column': 'label'},
}
"""Flags with which an analysis does something on four small clients."""

SIZES = {'triehh': (1,) * 200}
"""How many examples its clients have, where it needs more than four of them."""

NAMES = sorted(analytics.ANALYSES)


def setup_of(name, **flags):
  """What an analysis is given, in two rounds where it has several."""
  if analytics.ANALYSES[name].defaults['total_rounds'] > 1:
    flags['total_rounds'] = 2
  data = clients.population(SIZES.get(name, clients.SIZES))
  return clients.setup(data, analysis=name, **SETTINGS[name], **flags)


def rounds_of(setup, folder):
  """The rounds of an analysis in a folder, from where this stands."""
  home = run_folder.RunFolder(setup.settings)
  home.start({'sources': {}, 'passport': {}})
  rounds = running.Rounds(setup.settings, setup, clients.build(setup), home, None)
  assert home.path == folder
  home.close()
  return rounds


def lines(path):
  """A CSV's rows without the seconds."""
  with open(path) as file:
    return [{k: v for k, v in row.items() if k != 'seconds'} for row in csv.DictReader(file)]


@pytest.mark.parametrize('name', NAMES)
def test_runtimes_agree(name):
  found = []
  for context in (contexts.fused(chunks=3), runtime.use_context('native')):
    with context:
      setup = setup_of(name)
      analysis = clients.build(setup)
      cohort = np.arange(len(setup.data.train))[:36]
      found.append(analysis.step(analysis.initial(), 1, cohort))
  for one, other in zip(*(tf.nest.flatten(state) for state in found)):
    one, other = np.asarray(one), np.asarray(other)
    if one.dtype.kind == 'S':
      np.testing.assert_array_equal(one, other)
    else:
      np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_what_it_leaves_and_how_it_is_resumed(name, tmp_path, monkeypatch):
  """A run that is interrupted after each round, and begun again, leaves the same files."""
  monkeypatch.setattr(terminal, 'note', lambda line: None)
  with contexts.fused(chunks=3):
    for place, reason in (('whole', ''), ('pieces', 'enough')):
      flags = {'output_dir': str(tmp_path), 'experiment_name': place}
      if name not in SIZES:
        flags['clients_per_round'] = 3
      setup = setup_of(name, **flags)
      while True:
        rounds = rounds_of(setup, tmp_path / place)
        if rounds.run(lambda reason=reason: reason) == '':
          break
      rounds.write_table()
  assert rounds.round_num == setup.settings.total_rounds
  for file in ('metrics.csv', f'{name}.csv'):
    whole = lines(tmp_path / 'whole' / file)
    assert whole and whole == lines(tmp_path / 'pieces' / file), file
  last = lines(tmp_path / 'whole' / 'metrics.csv')[-1]
  assert last['cohort_size'] == ('3' if name not in SIZES else '36')
  assert int(last['bytes_up']) > 0


@pytest.mark.parametrize('name', NAMES)
def test_its_line_in_the_registry(name):
  entry = analytics.ANALYSES[name]
  assert entry.defaults['total_rounds'] >= 1
  for key, hyperparameter in entry.hyperparameters.items():
    hyperparameter.check(f'{name}_{key}', hyperparameter.default)
    assert f'{name}_{key}' in analysis_settings.own_flags()
  assert 'Differences from the paper:\n1. ' in entry.load().__doc__


def test_what_clients_send_and_are_sent():
  """In numbers of 32 bits; points have 3 dimensions."""
  sent = {
    'kmeans': (3 * (3 + 1), 3 * 3),
    'kfed': (2 * (3 + 1), 0),
    'pca': (2 * (1 + 3 + 9), 0),  # float64
    'histogram': (4 + 2, 4),
    'tff_histogram': (4 + 2 + 1, 0),
    'quantiles': (8 + 4 + 2 + 1, 4),
    'distinct': (64, 0),
    'triehh': (9 * 256, 9 * 3 + 1),
  }
  for name, numbers in sent.items():
    analysis = clients.build(setup_of(name))
    assert (analysis.numbers_up, analysis.numbers_down) == numbers, name
