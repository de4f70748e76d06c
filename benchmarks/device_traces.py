"""What device traces say, and what training on them costs in simulated hours.

    python -m benchmarks.device_traces --data_dir=DIR --save

Prints how many phones are ready at each hour, for how long, and how fast phones and connections
are; then simulated hours until a model is right on 90 % of the examples of held-out clients (MNIST
dealt out by Dirichlet(0.5), 2NN), with and without over-selection, on identical devices and on
traced ones. `--save` writes the tables and a picture to `benchmarks/results/`.
"""

import argparse
import itertools
import pathlib
from typing import Any

import numpy as np
import pandas as pd

from fl_research.datasets import device_traces, files
from fl_research.population.readiness import Readiness
from fl_research.population.traced_devices import TracedDevices

RESULTS = pathlib.Path(__file__).parent / 'results'
TARGET = 0.9
_HOUR, _DAYS, _MANY = 3600, 10, 20_000
_PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
_CASES: dict[str, dict[str, Any]] = {
  'alike, always ready': {},
  'traced devices, always ready': {'devices': 'trace'},
  'traced devices and readiness': {'devices': 'trace', 'availability': 'trace'},
}
_CELLS = (*((1000, 30, name) for name in _CASES), (100, 10, 'traced devices and readiness'))
_SETTINGS: dict[str, Any] = {
  'model': '2nn',
  'partition': 'dirichlet',
  'partition_alpha': 0.5,
  'held_out_clients_fraction': 0.1,
  'client_epochs_per_round': 5.0,
  'client_batch_size': '10',
  'client_learning_rate': 0.05,
  # A Redmi Note 7 Pro takes 0.588 s for a batch of ten of FEMNIST's CNN (Yang et al. 2021).
  'device_seconds_per_example': 0.0588,
  'target_metric': 'held_out/accuracy',
  'target_value': TARGET,
  'rounds_per_evaluation': 1,
  'max_evaluation_clients': 0,
}


def ready_by_hour(intervals: device_traces.Intervals) -> np.ndarray:
  """Share of the phones that are ready at each minute of ten days: float64 [24, ...] by hour."""
  readiness = Readiness(intervals, intervals.count, 0)
  readiness.phones = np.arange(intervals.count)
  minutes = np.arange(0, _DAYS * 24 * _HOUR, 60)
  shares = np.array([readiness.at(float(second)).mean() for second in minutes])
  return shares.reshape(_DAYS, 24, 60).transpose(1, 0, 2).reshape(24, -1)


def measures(
  intervals: device_traces.Intervals, phones: device_traces.Phones
) -> dict[str, np.ndarray]:
  """What is spread between phones, by name."""
  clients = np.arange(_MANY)
  clock = TracedDevices(1.0, phones, 0)
  download, upload = clock.speeds(clients, 0).T / 1000
  ready = np.zeros(intervals.count)
  np.add.at(ready, intervals.phone, intervals.duration / intervals.period)
  return {
    'seconds ready at a time': intervals.duration.astype(float),
    'share of its time a phone is ready, %': 100 * ready,
    'time per example, median phone = 1': clock.slowness(clients),
    'download, kB/s': download,
    'upload, kB/s': upload,
  }


def to_target(clients: int, cohort: int, seed: int, given: dict[str, Any]) -> dict[str, Any]:
  """One run up to the target: rounds, hours, and clients lost."""
  # TensorFlow is not needed for what the traces say.
  from fl_research import api

  settings = {**_SETTINGS, **given, 'seed': seed, 'num_clients': clients}
  run = api.experiment('mnist', clients_per_round=cohort, total_rounds=100, **settings)
  rows = run.run()
  return {
    'rounds': run.rounds,
    'reached': bool(run.stopped),
    'hours': rows['simulated_hours'].iloc[-1],
    'lost %': 100 * rows['dropouts'].sum() / rows['cohort_size'].sum(),
  }


def comparison(data_dir: str, seeds: int) -> pd.DataFrame:
  """Medians over seeds of `to_target`, a row per population, devices and over-selection."""
  rows = []
  for (clients, cohort, name), over_selection in itertools.product(_CELLS, (1.0, 1.3)):
    given = {'over_selection': over_selection, 'data_dir': data_dir, **_CASES[name]}
    runs = pd.DataFrame([to_target(clients, cohort, 1 + s, given) for s in range(seeds)])
    fixed = {'clients': clients, 'cohort': cohort, 'devices': name, 'selected': over_selection}
    hours = {'hours least': runs['hours'].min(), 'hours most': runs['hours'].max()}
    middle = runs[['rounds', 'hours', 'lost %']].median()
    rows.append({**fixed, **middle, **hours, 'reached': int(runs['reached'].sum())})
    print(pd.DataFrame(rows[-1:]).to_string(index=False, header=len(rows) == 1), flush=True)
  return pd.DataFrame(rows)


def plot(by_hour: np.ndarray, spread: dict[str, np.ndarray], path: pathlib.Path) -> None:
  """Who is ready by hour, and how the rest is spread."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  figure, axes = pyplot.subplots(1, 4, figsize=(15, 3.4))
  mean = by_hour.mean(axis=1)
  low, high = np.percentile(by_hour, (10, 90), axis=1)
  axes[0].fill_between(
    range(24), 100 * low, 100 * high, alpha=0.25, label='10th to 90th percentile'
  )
  axes[0].plot(range(24), 100 * mean, marker='.', label='mean')
  axes[0].set(xlabel='hour of the day', ylabel='phones that are ready, %', ylim=0)
  axes[0].legend()
  groups = (list(spread)[:1], list(spread)[2:3], list(spread)[3:])
  for axis, names in zip(axes[1:], groups):
    for name in names:
      values = np.sort(spread[name])
      axis.plot(values, np.arange(1, len(values) + 1) / len(values), label=name)
    axis.set(xscale='log', xlabel=names[0] if len(names) == 1 else 'kB/s', ylim=(0, 1))
    axis.set_ylabel('share that is at most so much')
    if len(names) > 1:
      axis.legend()
  for axis in axes:
    axis.grid(alpha=0.3)
  figure.tight_layout()
  figure.savefig(path, dpi=110)
  pyplot.close(figure)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--data_dir', help='folder of data files')
  parser.add_argument('--seeds', type=int, default=3, help='runs of each kind; 0: only the traces')
  parser.add_argument('--save', action='store_true')
  options = parser.parse_args()
  data_dir = files.data_dir(options.data_dir)
  intervals = device_traces.load_intervals(data_dir)
  phones = device_traces.load_phones(data_dir)
  by_hour, spread = ready_by_hour(intervals), measures(intervals, phones)
  hours = pd.DataFrame({'hour': range(24), 'ready %': 100 * by_hour.mean(axis=1)})
  table = pd.DataFrame({name: np.percentile(v, _PERCENTILES) for name, v in spread.items()}).T
  table.columns = [f'{percentile}th' for percentile in _PERCENTILES]
  print(hours.round(1).to_string(index=False), table.round(2).to_string(), sep='\n\n')
  if options.save:
    plot(by_hour, spread, RESULTS / 'device_traces.png')
    hours.round(2).to_csv(RESULTS / 'device_traces_by_hour.csv', index=False)
    table.round(3).to_csv(RESULTS / 'device_traces_spread.csv', index_label='measure')
  if options.seeds:
    runs = comparison(data_dir, options.seeds)
    if options.save:
      runs.round(3).to_csv(RESULTS / 'device_traces_runs.csv', index=False)


if __name__ == '__main__':
  main()
