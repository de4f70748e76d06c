"""docs/extending.md is true: its files and registry lines, added as it says, run from flags."""

import dataclasses
import pathlib
import re
import subprocess
import sys
import types

import pandas as pd
import pytest

from baselines import reproduce
from experiments import train
from fl_research import aggregation, algorithms, registry, runtime, tasks
from fl_research import settings as settings_lib
from fl_research.aggregation import compression
from fl_research.soundness import validation
from fl_research.sweeps import runner
from tests import jobs

_PAGE = pathlib.Path(__file__).parent.parent / 'docs' / 'extending.md'
_BLOCKS = re.findall(r'```\w+\n(.*?)```', _PAGE.read_text(), re.DOTALL)
_TABLES = {
  'fl_research.algorithms.optimization': algorithms.ALGORITHMS,
  'fl_research.aggregation': aggregation.AGGREGATORS,
  'fl_research.aggregation.compression': compression.COMPRESSORS,
  'fl_research.datasets': tasks.TASKS,
}
_NAMES = {'registry': registry, 'StageEntry': compression.StageEntry, 'Task': tasks.Task}


def _files():
  """Module name -> source, of the blocks that begin with a path."""
  named = [block for block in _BLOCKS if block.startswith('# fl_research/')]
  paths = [block.splitlines()[0].removeprefix('# ').removesuffix('.py') for block in named]
  return {path.replace('/', '.'): block for path, block in zip(paths, named)}


def _paper_files():
  """Path in `baselines` -> content, without the line that names it."""
  named = [block for block in _BLOCKS if block.startswith('# baselines/')]
  parts = [block.partition('\n') for block in named]
  return {first.removeprefix('# baselines/'): content for first, _, content in parts}


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
    ((name, entry),) = eval('{' + line + '}', _NAMES).items()
    package = entry.module.rpartition('.')[0]
    monkeypatch.setitem(_TABLES[package], name, entry)
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
    hyperparameters=method,
    tensorboard=False,
    **flags,
  )
  validation.validate(settings)
  assert train.train(settings) == 0
  return pd.read_csv(tmp_path / 'extended' / 'metrics.csv')


def test_the_page_has_what_it_says():
  assert len(_files()) == 4 and len(_registry_lines()) == 4 and len(_paper_files()) == 3


def test_algorithm(tmp_path):
  table = _train(tmp_path, task='digits', algorithm='directionavg', directionavg_radius=0.5)
  assert table['eval/loss'].iloc[-1] < table['eval/loss'].iloc[0]
  assert (table['method/norm'].iloc[1:] > 0).all()


def test_a_learning_process(tmp_path):
  (block,) = [block for block in _BLOCKS if block.startswith('# my_process.py')]
  (tmp_path / 'my_process.py').write_text(block)
  table = _train(tmp_path, task='digits', algorithm=f'{tmp_path}/my_process.py:noisy')
  assert table['train/loss'].iloc[1:].notna().all()
  assert (table['aggregation/zeroing/dp_query_metrics/clip'].iloc[1:] > 0).all()


def test_a_method_that_keeps_states_need_not_ask_for_cohorts_without_repetition(
  monkeypatch, tmp_path
):
  silent = dataclasses.replace(algorithms.ALGORITHMS['ditto'], requires=())
  monkeypatch.setitem(algorithms.ALGORITHMS, 'ditto', silent)
  with pytest.raises(
    registry.UsageError, match='--cohort_sampling=with_replacement: not with --alg'
  ):
    _train(tmp_path, task='digits', algorithm='ditto', cohort_sampling='with_replacement')


def test_a_rule_on_the_page_counts_clients_as_it_says():
  """Of the contract tests of all rules the one that an attribute decides."""
  assert aggregation.build('mid_range', {}).uses_weights is False


def test_aggregator(tmp_path):
  table = _train(tmp_path, task='digits', aggregator='mid_range')
  assert table['eval/loss'].iloc[-1] < table['eval/loss'].iloc[0]


def test_compressor(tmp_path):
  table = _train(tmp_path, task='digits', compressor='rotation,scaled_sign')
  assert table['eval/loss'].iloc[-1] < table['eval/loss'].iloc[0]
  assert table['bytes_up'].iloc[-1] * 20 < table['bytes_up_uncompressed'].iloc[-1]


def test_data_set(tmp_path):
  table = _train(tmp_path, task='iris')
  assert table['eval/loss'].iloc[-1] < table['eval/loss'].iloc[0]


def test_paper(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(reproduce, 'HERE', tmp_path)
  monkeypatch.setattr(runner, 'run_jobs', jobs.run_jobs)
  for name, content in _paper_files().items():
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
  for words in (['init', '-q'], ['add', '.'], ['commit', '-q', '-m', 'Rows']):
    who = ['-c', 'user.name=a', '-c', 'user.email=a@b']
    subprocess.run(['git', '-C', str(tmp_path), *who, *words], check=True)
  (command,) = [block for block in _BLOCKS if block.startswith('python -m baselines.reproduce')]
  arguments = command.split()[2:]
  assert reproduce.main([*arguments, f'--output_dir={tmp_path / "runs"}']) == 0
  (claim,) = reproduce.ledger(tmp_path / 'doe2020')
  assert (claim.verdict, claim.n_seeds) == ('consistent', '2')
  assert claim.registered
  assert (tmp_path / 'doe2020' / 'results' / 'softmax.csv').exists()
  assert (tmp_path / 'doe2020' / 'README.md').read_text().startswith('# Doe 2020, Federated Digits')
  assert 'doe2020' in (tmp_path / 'README.md').read_text()
