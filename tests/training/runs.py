"""Small runs on the digits, in this process, for tests of what a run leaves behind."""

import csv
import json
import pathlib

import numpy as np

from experiments import command_line, train
from fl_research import tasks
from fl_research.datasets.federated_data import ContiguousClients
from fl_research.settings import Settings
from fl_research.training import experiment

FLAGS = (
  '--task=digits',
  '--partition=shards',
  '--num_clients=6',
  '--clients_per_round=3',
  '--client_batch_size=50',
  '--total_rounds=6',
  '--rounds_per_evaluation=2',
  '--rounds_per_checkpoint=2',
  '--clients_csv',
  '--seed=5',
)


def start(folder: pathlib.Path, *flags: str) -> int:
  """Runs, or resumes, the run of this folder; later flags win over `FLAGS`. Gives the exit code."""
  place = (f'--output_dir={folder.parent}', f'--experiment_name={folder.name}')
  return command_line.run(train.main, ['train.py', *FLAGS, *flags, *place])


def settings(folder: pathlib.Path, *flags: str):
  """The settings of `start`."""
  from absl import flags as absl_flags

  values = absl_flags.FlagValues()
  command_line.define_settings_flags(values)
  place = (f'--output_dir={folder.parent}', f'--experiment_name={folder.name}')
  command_line.parse(values, ['train.py', *FLAGS, *flags, *place])
  return command_line.to_settings(values)


def run_on(data, folder: pathlib.Path, monkeypatch, **changes) -> experiment.Outcome:
  """A run on data of the test's own, with the default flags but these."""
  monkeypatch.setattr(tasks, 'load', lambda *_: data)
  place = {'output_dir': str(folder.parent), 'experiment_name': folder.name}
  given = {'task': 'tabular', 'rounds_per_evaluation': 10, **place, **changes}
  return experiment.run(Settings(**given), lambda: '')


def clients_of(examples, owner: np.ndarray) -> ContiguousClients:
  """Examples that are ordered by their owner, 0, 1, …, as clients."""
  return ContiguousClients(examples, np.concatenate([[0], np.cumsum(np.bincount(owner))]))


def rows(path: pathlib.Path) -> list[dict[str, str]]:
  """A CSV's rows as texts by column."""
  with open(path, newline='') as file:
    return list(csv.DictReader(file))


def manifest(folder: pathlib.Path) -> dict:
  return json.loads((folder / 'manifest.json').read_text())


def weights(folder: pathlib.Path) -> list[np.ndarray]:
  """The final model."""
  with np.load(folder / 'model.npz', allow_pickle=False) as arrays:
    return list(arrays.values())


def unfinish(folder: pathlib.Path) -> None:
  """Makes it look as if the process had died after its last round."""
  (folder / 'manifest.json').write_text(json.dumps({**manifest(folder), 'finished': False}))


def assert_same_results(one: pathlib.Path, other: pathlib.Path) -> None:
  """All numbers of two runs are the same, but for the seconds."""
  timeless = lambda f: [{**row, 'seconds': ''} for row in rows(f / 'metrics.csv')]
  assert timeless(one) == timeless(other)
  for name in ('clients.csv', 'model.npz'):
    assert (one / name).read_bytes() == (other / name).read_bytes(), name


def loss_and_accuracy(weights, examples):
  """Of softmax regression, in NumPy."""
  x = np.reshape(examples['x'], (len(examples['x']), -1)).astype(np.float64)
  logits = x @ weights[0].astype(np.float64) + weights[1]
  logits -= logits.max(axis=1, keepdims=True)
  log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
  return (
    -log_p[np.arange(len(x)), examples['y']].mean(),
    np.mean(logits.argmax(axis=1) == examples['y']),
  )


class Pause:
  """Asks to pause after so many questions."""

  def __init__(self, questions):
    self._left = questions

  def __call__(self):
    self._left -= 1
    return 'tired' if self._left < 0 else ''
