"""docs/extending.md is true: its files and registry lines, added as it says, run from flags."""

import pathlib
import re
import sys
import types

import pandas as pd
import pytest

from experiments import train
from fl_research import aggregation, algorithms, datasets, registry, runtime, tasks, validation
from fl_research import settings as settings_lib

_PAGE = pathlib.Path(__file__).parent.parent / 'docs' / 'extending.md'
_BLOCKS = re.findall(r'```python\n(.*?)```', _PAGE.read_text(), re.DOTALL)
_TABLES = {
  'fl_research.algorithms': algorithms.ALGORITHMS,
  'fl_research.aggregation': aggregation.AGGREGATORS,
}


def _files():
  """Module name -> source, of the blocks that begin with a path."""
  named = [block for block in _BLOCKS if block.startswith('# fl_research/')]
  paths = [block.splitlines()[0].removeprefix('# ').removesuffix('.py') for block in named]
  return {path.replace('/', '.'): block for path, block in zip(paths, named)}


def _registry_lines():
  return [block for block in _BLOCKS if block.startswith("'")]


@pytest.fixture(autouse=True)
def _extended(monkeypatch):
  for name, source in _files().items():
    module = types.ModuleType(name)
    module.__file__ = name
    exec(compile(source, name, 'exec'), module.__dict__)
    monkeypatch.setitem(sys.modules, name, module)
  for line in _registry_lines():
    ((name, entry),) = eval('{' + line + '}', {'registry': registry}).items()
    package = entry.module.rpartition('.')[0]
    monkeypatch.setitem(_TABLES[package], name, entry)
  monkeypatch.setitem(datasets.MODULES, 'iris', 'fl_research.datasets.iris')
  (task_line,) = [block for block in _BLOCKS if block.startswith('_task(')]
  task = eval(task_line, {'_task': tasks._task})
  monkeypatch.setitem(tasks.TASKS, task.name, task)
  yield
  runtime.shutdown()


def _train(tmp_path, **flags):
  method = {name: flags.pop(name) for name in list(flags) if name in settings_lib.registry_flags()}
  settings = settings_lib.Settings(
    experiment_name='extended',
    output_dir=str(tmp_path),
    total_rounds=3,
    clients_per_round=5,
    num_clients=10,
    method_flags=method,
    tensorboard=False,
    **flags,
  )
  validation.validate(settings)
  assert train.train(settings) == 0
  return pd.read_csv(tmp_path / 'extended' / 'metrics.csv')


def test_the_page_has_what_it_says():
  assert len(_files()) == 3 and len(_registry_lines()) == 2


def test_algorithm(tmp_path):
  table = _train(tmp_path, task='digits', algorithm='directionavg', directionavg_radius=0.5)
  assert table['eval/loss'].iloc[-1] < table['eval/loss'].iloc[0]


def test_aggregator(tmp_path):
  table = _train(tmp_path, task='digits', aggregator='mid_range')
  assert table['eval/loss'].iloc[-1] < table['eval/loss'].iloc[0]


def test_data_set(tmp_path):
  table = _train(tmp_path, task='iris')
  assert table['eval/loss'].iloc[-1] < table['eval/loss'].iloc[0]
