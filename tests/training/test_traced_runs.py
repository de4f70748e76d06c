"""Whole runs on device traces: what the clock says, what they reduce to, how they go on."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest

from fl_research import runtime
from fl_research.datasets import device_traces
from fl_research.population import cohorts, readiness, traced_devices
from fl_research.training import run_data
from tests.population import trace_files
from tests.training import runs

FLAGS = ('--model=softmax', '--num_clients=12', '--device_seconds_per_example=0.05')
TRACE = ('--availability=trace', '--devices=trace')
USERS = (trace_files.ALIKE, {'down_u': 9.0, 'down_sigma': 4.0, 'up_u': 2.0, 'up_sigma': 3.0})


@pytest.fixture(scope='module', autouse=True)
def context():
  """Sets the runtime once, as its remark on a TensorFlow that other tests started is not ours."""
  runtime.set_context('auto')


@pytest.fixture(scope='module')
def phones(tmp_path_factory):
  """A folder of data with phones that are often not ready, of unequal speed."""
  times = [(20 * i, 20 * i + 2 + 3 * i) for i in range(8)]
  records = [trace_files.timer(0, 200, pair) for pair in times]
  return trace_files.write(tmp_path_factory.mktemp('data'), records, (50, 100, 400), USERS)


def number(row, name):
  return float(row[name])


@pytest.mark.parametrize('over_selection', [1.0, 1.5])
def test_the_clock_and_the_dropouts_are_those_of_the_definition(over_selection, phones, tmp_path):
  flags = (*FLAGS, *TRACE, f'--data_dir={phones}', f'--over_selection={over_selection}')
  folder = tmp_path / 'run'
  assert runs.start(folder, *flags) == 0
  rows = runs.rows(folder / 'metrics.csv')[1:]

  sizes = run_data.load(runs.settings(folder, *flags)).train.sizes
  phones_of = readiness.Readiness(device_traces.load_intervals(phones), 12, seed=5)
  sampler = cohorts.CohortSampler('uniform', int(np.ceil(3 * over_selection)), sizes, seed=5)
  clock = traced_devices.TracedDevices(0.05, device_traces.load_phones(phones), 5)
  model = 4 * (65 * 10 + 1)  # bytes: weights and the round's number there, or the weight, back
  now, dropouts, waited = 0.0, 0, 0
  for round_num, row in enumerate(rows, 1):
    begins = now
    while phones_of.at(begins).sum() < 3:
      begins = np.floor(begins) + 1
    waited += begins > now
    cohort = sampler.cohort(round_num, phones_of.at(begins))
    takes = clock.seconds(cohort, sizes[cohort], model, model, round_num)
    left = phones_of.until(cohort, begins) - begins
    reports = np.sort(takes[takes <= left])[: 3 if over_selection > 1 else None]
    lost = left[takes > left]
    needed = lost if len(reports) < 3 or over_selection == 1 else []
    now = begins + max([0.0, *reports, *needed])
    dropouts += len(lost)
    assert number(row, 'simulated_hours') == pytest.approx(now / 3600, rel=1e-12)
    assert number(row, 'dropouts') == len(lost)
    assert (number(row, 'cohort_size'), number(row, 'participants')) == (len(cohort), len(reports))
  assert dropouts and waited


def test_equal_phones_that_are_always_ready_are_the_model_bit_for_bit(tmp_path):
  data_dir = trace_files.write(tmp_path, [trace_files.timer(7, 107, (7, 107))] * 2, (90, 90, 90))
  flags = (*FLAGS, '--over_selection=1.7', '--straggler_fraction=0.4', '--dropout_probability=0.2')
  assert runs.start(tmp_path / 'model', *flags, '--devices=model', '--device_spread=0') == 0
  assert runs.start(tmp_path / 'trace', *flags, *TRACE, f'--data_dir={data_dir}') == 0
  runs.assert_same_results(tmp_path / 'trace', tmp_path / 'model')


def test_a_resumed_run_is_the_uninterrupted_one(phones, tmp_path):
  flags = (*FLAGS, *TRACE, f'--data_dir={phones}', '--dropout_probability=0.2')
  assert runs.start(tmp_path / 'run', *flags, '--total_rounds=4') == 0
  assert runs.start(tmp_path / 'run', *flags, '--total_rounds=8') == 0
  assert runs.start(tmp_path / 'whole', *flags, '--total_rounds=8') == 0
  runs.assert_same_results(tmp_path / 'run', tmp_path / 'whole')
  sources = runs.manifest(tmp_path / 'run')['sources']
  assert {device_traces.INTERVALS, device_traces.SPEEDS, device_traces.SCORES} <= set(sources)


def test_more_clients_than_are_ever_ready_are_refused_before_training(phones, tmp_path, capsys):
  flags = (*FLAGS, *TRACE, f'--data_dir={phones}', '--clients_per_round=12')
  assert runs.start(tmp_path / 'run', *flags) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert '--availability=trace: of 12 clients no more than' in line
  assert not (tmp_path / 'run').exists()
