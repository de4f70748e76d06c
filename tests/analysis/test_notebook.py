"""The notebooks run from top to bottom; a table is the one worked out by hand, one the ledger's."""

import json
import pathlib

import matplotlib
from matplotlib import pyplot as plt
import numpy as np
import pytest

from experiments import command_line, sweep
from tests.analysis.fabricate import write_run

NOTEBOOKS = pathlib.Path(__file__).parents[2] / 'notebooks'


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Runs that rise evenly to accuracy 1: in `steps` rounds, at the better learning rate."""
  steps = {('full', 'iid'): 50, ('10', 'iid'): 10, ('full', 'shards'): 100, ('10', 'shards'): 20}
  number = 0
  for (batch_size, partition), count in steps.items():
    for rate, slower in ((0.1, 2.0), (1.0, 1.0)):
      for seed in (0, 1, 2):
        # Seeds are 1 % apart, around their mean.
        slope = 1 / (count * slower * (1 + (seed - 1) / 100))
        accuracy = [min(1.0, slope * round_num) for round_num in range(201)]
        clients = [[200, f'c{i}', 'eval', 3, 'accuracy', (i + 1) / 5] for i in range(5)]
        write_run(
          tmp_path / 'runs' / f'r{number}',
          {'eval/accuracy': accuracy, 'bytes_up': [None] + [100] * 200},
          clients,
          client_batch_size=batch_size,
          partition=partition,
          client_learning_rate=rate,
          seed=seed,
        )
        number += 1
  monkeypatch.setenv('FL_RESEARCH_RUNS', str(tmp_path / 'runs'))
  return tmp_path / 'runs'


def sources(name='paper_table'):
  cells = json.loads((NOTEBOOKS / f'{name}.ipynb').read_text())['cells']
  return [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']


def run_all(name):
  matplotlib.use('Agg')
  space = {'__name__': '__main__'}
  for source in sources(name):
    exec(compile(source, name, 'exec'), space)
  plt.close('all')
  return space


def test_from_top_to_bottom(folder):
  space = run_all('paper_table')
  # 0.9 of 50, 10, 100 and 20 rounds.
  assert space['table'].loc['B = 10'].tolist() == ['9 (5.0×)', '18 (5.0×)']
  assert space['table'].loc['B = ∞'].tolist() == ['45 (1.0×)', '90 (1.0×)']
  assert set(space['best']['client_learning_rate']) == {1.0}
  np.testing.assert_allclose(space['fairness']['gini'], 0.4 / 1.5, atol=1e-9)
  for name in ('figure.pdf', 'clients.pdf'):
    assert (folder / name).read_bytes().startswith(b'%PDF')


def test_its_sweep_is_accepted(folder, capsys):
  space = {}
  for source in sources()[:3]:
    exec(compile(source, 'paper_table', 'exec'), space)
  arguments = ['sweep.py', *space['sweep'], '--launch=print', f'--output_dir={folder}/new']
  assert command_line.run(sweep.main, arguments) == 0
  assert len(capsys.readouterr().out.splitlines()) == 36


def test_published_table_from_committed_curves():
  space = run_all('mcmahan2017_table1')  # It asserts itself that the ledger says the same.
  found = space['found']
  assert (found['seeds'] >= 3).all()
  assert (space['table'] != '–').sum().sum() == len(found)
