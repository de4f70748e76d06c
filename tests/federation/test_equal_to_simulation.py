"""A deployed run is the simulation's: the same model, and the same rows but for times."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fl_research import settings as settings_lib
from fl_research.datasets.federated_data import ContiguousClients
from fl_research.federation import engine_data, site_data
from fl_research.federation.site import Site
from fl_research.training import experiment
from tests.federation import in_process, runs

RUNS = {
  'scaffold': {'algorithm': 'scaffold'},
  'top_k': {'compressor': 'top_k', 'top_k_fraction': 0.3},
  'private': {'dp_noise_multiplier': 0.5, 'dp_clip_norm': 0.5},
}


@pytest.mark.parametrize('name', RUNS)
def test_same_model_and_rows(name, tmp_path, monkeypatch):
  settings = runs.settings(tmp_path, experiment_name='simulated', **RUNS[name])
  simulated = experiment.run(settings, lambda: '')
  deployed, _, _ = runs.of_sites(settings, monkeypatch, tmp_path)
  deployed = dataclasses.replace(deployed, experiment_name='deployed')
  at_sites = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  first, second = (np.load(o.folder.path / 'model.npz') for o in (simulated, at_sites))
  for weight in first.files:
    np.testing.assert_array_equal(first[weight], second[weight])
  tables = [pd.read_csv(o.folder.metrics) for o in (simulated, at_sites)]
  first, second = (table.drop(columns='seconds') for table in tables)
  pd.testing.assert_frame_equal(first, second, rtol=1e-6)


def _tables(folder):
  """Three hospitals' rows, one of which has a column without values; in files of their own."""
  draw = np.random.default_rng(5)
  folder.mkdir()
  for name, rows in (('a', 60), ('b', 45), ('c', 20)):
    age = draw.normal(55, 9, rows).round()
    table = pd.DataFrame(
      {
        'age': age,
        'cholesterol': np.nan if name == 'b' else draw.normal(220, 40, rows).round(),
        'pain': draw.choice(['none', 'some', 'much'], rows),
        'split': np.where(np.arange(rows) % 5 == 0, 'test', 'train'),
        'ill': np.where(age + draw.normal(0, 6, rows) > 55, 'yes', 'no'),
      }
    )
    table.to_csv(folder / f'{name}.csv', index=False)


def test_tables_of_their_own(tmp_path, monkeypatch):
  files = tmp_path / 'files'
  _tables(files)
  own = {'task': 'tabular', 'label_column': 'ill'}
  flags = {**own, 'model': 'softmax', 'num_clients': 0, 'clients_per_round': 3}
  simulated = experiment.run(
    runs.settings(tmp_path, **flags, experiment_name='simulated', data_file=str(files)), lambda: ''
  )
  found = {}
  for name in ('a', 'b', 'c'):
    of_site = settings_lib.from_flags({**own, 'data_file': str(files / f'{name}.csv')})
    data = site_data.TableData(name, of_site, 1)
    found[name] = Site(name, data, in_process.Anything(), tmp_path / 'sites' / name)
  transport = in_process.InProcess({name: site.handle for name, site in found.items()})
  monkeypatch.setattr(engine_data, 'connect', lambda address: transport)
  deployed = dataclasses.replace(
    runs.settings(tmp_path, **flags, experiment_name='deployed'),
    runtime='federation',
    federation='x',
  )
  at_sites = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  first, second = (np.load(o.folder.path / 'model.npz') for o in (simulated, at_sites))
  for weight in first.files:
    np.testing.assert_allclose(first[weight], second[weight], atol=1e-6)
  tables = [pd.read_csv(o.folder.metrics) for o in (simulated, at_sites)]
  first, second = (table.drop(columns='seconds') for table in tables)
  curves = ['eval/auc', 'eval/auprc']  # Of rounded scores.
  np.testing.assert_allclose(first[curves], second[curves], atol=2e-3)
  first, second = (table.drop(columns=curves) for table in (first, second))
  pd.testing.assert_frame_equal(first, second, rtol=1e-5)


def test_withheld_metrics_change_nothing_else(tmp_path, monkeypatch, capfd):
  # Of a method whose clients report numbers of their own.
  settings = runs.settings(tmp_path, experiment_name='released', algorithm='heterofl', model='mlp')
  deployed, _, sites = runs.of_sites(settings, monkeypatch, tmp_path)

  def run(name, **flags):
    changed = dataclasses.replace(deployed, experiment_name=name, clients_csv=True, **flags)
    outcome = experiment.run(changed, lambda: '', engine_data.load(changed))
    rows = pd.read_csv(outcome.folder.metrics).drop(columns='seconds')
    return rows, pd.read_csv(outcome.folder.path / 'clients.csv'), capfd.readouterr().err

  first, by_client, said = run('released')
  training = [column for column in first if column.startswith(('train/', 'method/'))]
  assert len(training) > 2 and 'withheld' not in said
  assert not first[training][1:].isna().any(axis=None)
  second, _, said = run('withheld', site_metrics='withhold')
  assert second[training].isna().all(axis=None)
  assert f'training metrics are withheld at all sites: no {", ".join(training)}' in said
  # Of one site only, by its owner's policy: the others' clients are there as before.
  sites['b']._guard.withholds = True
  third, of_site_a, said = run('withheld_at_b')
  assert f'withheld at site b: {", ".join(training)} are of the other clients only' in said
  for other in (second, third):
    pd.testing.assert_frame_equal(first.drop(columns=training), other.drop(columns=training))
  assert not third[training][1:].isna().any(axis=None)
  trains = by_client.phase == 'train'
  at_b = trains & by_client.client_id.str.startswith('b/')
  assert of_site_a[at_b].value.isna().all() and trains.sum() > at_b.sum() > 0
  pd.testing.assert_frame_equal(by_client[~at_b], of_site_a[~at_b])


def test_a_client_without_test_examples_counts_nowhere(tmp_path, monkeypatch):
  settings = runs.settings(
    tmp_path, experiment_name='some', total_rounds=1, clients_csv=True, algorithm='fedavg'
  )
  deployed, _, sites = runs.of_sites(settings, monkeypatch, tmp_path)
  data = sites['a']._data
  data.load({})
  tests = data.tests
  ends = np.array([0, tests.sizes[0], tests.sizes[0], tests.sizes.sum()])
  fewer = ContiguousClients(tests.pooled(), ends, tests.ids)
  data._data = dataclasses.replace(data._data, test_clients=fewer)
  outcome = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  row = pd.read_csv(outcome.folder.metrics).iloc[-1]
  by_client = pd.read_csv(outcome.folder.path / 'clients.csv')
  by_client = by_client[(by_client['round'] == 1) & (by_client.phase == 'eval')]
  for metric in ('loss', 'accuracy'):
    own = by_client[by_client.metric == metric]
    assert own.num_examples.tolist()[:3] == [ends[1], 0, ends[3] - ends[1]]
    known = own.dropna()
    assert len(known) == 5
    mean = np.average(known.value, weights=known.num_examples)
    assert row[f'eval/{metric}'] == pytest.approx(mean, rel=1e-12)


# One whose predictor looks at what the client keeps, one whose predictor trains on its examples.
@pytest.mark.parametrize('algorithm', ['ditto', 'perfedavg'])
def test_models_of_clients_own_are_evaluated_where_they_are(algorithm, tmp_path, monkeypatch):
  settings = runs.settings(tmp_path, experiment_name='simulated', algorithm=algorithm)
  settings = dataclasses.replace(settings, total_rounds=2, clients_csv=True)
  simulated = experiment.run(settings, lambda: '')
  deployed, _, _ = runs.of_sites(settings, monkeypatch, tmp_path)
  deployed = dataclasses.replace(deployed, experiment_name='deployed')
  at_sites = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  tables = [pd.read_csv(o.folder.metrics).drop(columns='seconds') for o in (simulated, at_sites)]
  # There is no test set of everybody's.
  first = tables[0].drop(columns=['eval/loss', 'eval/accuracy'])
  assert {'personal/loss', 'global/loss', 'eval_clients/loss_mean'} <= set(first)
  pd.testing.assert_frame_equal(first, tables[1], rtol=1e-6)
  rows = [pd.read_csv(o.folder.path / 'clients.csv') for o in (simulated, at_sites)]
  numbers = [table.groupby(['round', 'phase', 'metric']).value.apply(list) for table in rows]
  for own, other in zip(*numbers, strict=True):
    np.testing.assert_allclose(own, other, rtol=1e-6)


def test_clients_that_do_not_train_have_no_model_of_their_own(tmp_path, monkeypatch):
  settings = runs.settings(tmp_path, experiment_name='some', algorithm='ditto', total_rounds=1)
  deployed, _, sites = runs.of_sites(settings, monkeypatch, tmp_path)
  for name, kept in (('a', ('x', 1, 'y')), ('b', ('x', 'y', 'z'))):
    data = sites[name]._data
    data.load({})
    ids = [data.tests.ids[each] if isinstance(each, int) else each for each in kept]
    ends = np.concatenate([[0], np.cumsum(data.tests.sizes)])
    renamed = ContiguousClients(data.tests.pooled(), ends, ids)
    data._data = dataclasses.replace(data._data, test_clients=renamed)
  outcome = experiment.run(deployed, lambda: '', engine_data.load(deployed))
  row = pd.read_csv(outcome.folder.metrics).iloc[-1]
  # Of one client alone, and so the mean over clients is its own loss.
  assert row['eval_clients/loss_mean'] == pytest.approx(row['personal/loss'])
  assert np.isfinite(row['global/loss'])
