"""Numbers that are predicted in units of their own: yields of farms, about 3,000 ± 360."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest
import tensorflow as tf

from fl_research.datasets.federated_data import FederatedData, LabelScale, Problem
from tests.training import runs

SIZES = (136, 92, 50, 71, 113)
NOISE = 113.0


def farms(outputs=()) -> FederatedData:
  """Five farms: yields that rise with three standardised inputs, and tell farms apart."""
  generator = np.random.default_rng(0)
  count = sum(SIZES)
  x = generator.standard_normal((count, 3)).astype(np.float32)
  farm = np.repeat(np.arange(5), SIZES)
  x[:, 2] = (x[:, 2] + farm) / 2 - 1
  yields = 3000 + x @ np.array([250.0, -200.0, 120.0]) + NOISE * generator.standard_normal(count)
  y = yields[:, None] * np.array([1.0, 0.001][: len(outputs)]) if outputs else yields
  scale = LabelScale(
    y.mean(axis=0).astype(np.float32), y.std(axis=0).astype(np.float32), tuple(outputs)
  )
  examples = {'x': x, 'y': y.astype(np.float32)}
  test = np.arange(count) % 5 == 0
  parts = [
    runs.clients_of({name: array[rows] for name, array in examples.items()}, farm[rows])
    for rows in (~test, test)
  ]
  return FederatedData(
    parts[0],
    parts[1].pooled(),
    Problem.REGRESSION,
    1,
    test_clients=parts[1],
    label_scale=scale,
  )


def run(folder, data, monkeypatch, **settings):
  """The last row of a run with the default flags but these."""
  row = runs.run_on(data, folder, monkeypatch, **{'total_rounds': 20, **settings}).last_row
  return {name: float(value) for name, value in row.items() if '/' in name and value}


@pytest.mark.parametrize('algorithm', ['fedavg', 'scaffold', 'ditto'])
def test_default_rates_fit_any_unit(algorithm, tmp_path, monkeypatch):
  data = farms()
  row = run(tmp_path / 'run', data, monkeypatch, algorithm=algorithm)
  phase = 'personal' if algorithm == 'ditto' else 'eval'
  assert row[f'{phase}/rmse'] < 1.3 * NOISE < 0.5 * float(data.label_scale.deviation)
  assert row[f'{phase}/loss'] == pytest.approx(row[f'{phase}/rmse'] ** 2, rel=1e-6)
  assert 0.8 < row[f'{phase}/r2'] < 0.95 and row[f'{phase}/mae'] < row[f'{phase}/rmse']
  assert row['train/rmse'] < 1.5 * NOISE


def test_answers_are_in_their_own_units(tmp_path, monkeypatch):
  data = farms()
  row = run(tmp_path / 'run', data, monkeypatch, model='softmax')
  kernel, bias = runs.weights(tmp_path / 'run')
  scale = data.label_scale
  expected = scale.mean + scale.deviation * (data.test['x'] @ kernel + bias)[:, 0]
  rmse = np.sqrt(np.mean((expected - data.test['y']) ** 2))
  assert row['eval/rmse'] == pytest.approx(rmse, rel=1e-5)
  keras = tf.keras.models.load_model(tmp_path / 'run' / 'model.keras')
  found = keras.predict(data.test['x'], verbose=0)
  np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)


def test_several_numbers(tmp_path, monkeypatch):
  data = farms(outputs=('yield_kg', 'yield_t'))
  row = run(tmp_path / 'run', data, monkeypatch)
  assert row['eval/r2'] > 0.8
  keras = tf.keras.models.load_model(tmp_path / 'run' / 'model.keras')
  found = keras.predict(data.test['x'], verbose=0)
  assert found.shape == data.test['y'].shape
  errors = np.sqrt(np.mean((found - data.test['y']) ** 2, axis=0))
  assert errors[0] < 1.3 * NOISE and errors[1] < 1.3 * NOISE / 1000
  assert row['eval/loss'] == pytest.approx(np.mean(errors**2), rel=1e-5)
  lines = runs.rows(tmp_path / 'run' / 'numbers.csv')
  assert [line['number'] for line in lines] == ['yield_kg', 'yield_t']
  np.testing.assert_allclose([float(line['rmse']) for line in lines], errors, rtol=1e-5)
  r2 = [float(line['r2']) for line in lines]
  assert row['eval/r2'] == pytest.approx(np.mean(r2), rel=1e-5)
