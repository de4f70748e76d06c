"""README.md is true: `make`'s commands are run by CI, all others here; speeds are as measured."""

import json
import os
import pathlib
import re
import runpy
import shlex
import subprocess
import sys

import pandas as pd
import pytest

from fl_research.sweeps import runner
from tests import jobs

_ROOT = pathlib.Path(__file__).parent.parent
_DATA = _ROOT.parent / 'shared' / 'data'
_BLOCKS = re.findall(r'```sh\n(.*?)```', (_ROOT / 'README.md').read_text(), re.DOTALL)
_PROCESS = re.compile('--runtime=ray|experiments.doctor|--help|--experiment_name=mcmahan_2nn')
_COMMANDS = [line.split('#')[0].strip() for block in _BLOCKS for line in block.splitlines()]


def test_python_blocks_run():
  blocks = re.findall(r'```python\n(.*?)```', (_ROOT / 'README.md').read_text(), re.DOTALL)
  names: dict = {}
  for block in blocks:
    exec(block, names)  # README is our own
  assert len(names['table']) == 6 and names['process'].initialize() is not None


def test_make_commands_are_those_of_ci():
  ours = [command for command in _COMMANDS if command.startswith('make')]
  ci = (_ROOT / '.ci' / 'run').read_text().splitlines()
  assert ours == ['make demo', 'make test']
  assert [line for line in ci if line.startswith('make')] == ours


def _as_process(words):
  environment = {**os.environ, 'PYTHONPATH': str(_ROOT)}
  command = [sys.executable, *words]
  return subprocess.run(command, env=environment, timeout=600, check=False).returncode


def _in_this_process(words):
  """What `python -m` does, without the seconds that a process takes to start."""
  option, module, *arguments = words
  assert option == '-m'
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(sys, 'argv', [module, *arguments])
    try:
      runpy.run_module(module, run_name='__main__', alter_sys=True)
    except SystemExit as ended:
      return ended.code or 0
  return 0


@pytest.mark.skipif(
  not (_DATA / 'mnist').is_dir() and not os.environ.get('FL_RESEARCH_DATA_DIR'),
  reason='needs the MNIST files in ../shared/data',
)
@pytest.mark.filterwarnings('ignore:.*found in sys.modules')
def test_the_other_commands_run_in_order(tmp_path, monkeypatch, capfd):
  monkeypatch.setattr(runner, 'run_jobs', jobs.run_jobs)
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'experiments').symlink_to(_ROOT / 'experiments')
  commands = [command for command in _COMMANDS if not command.startswith('make')]
  assert len(commands) >= 4
  for command in commands:
    words = shlex.split(command.replace('../shared/data', str(_DATA)))
    assert words[0] == '.venv/bin/python'
    run = _as_process if _PROCESS.search(command) else _in_this_process
    # Like diff, experiments.diff says by its exit code that two runs differ.
    expected = 1 if 'experiments.diff' in command else 0
    assert run(words[1:]) == expected, (command, capfd.readouterr().err[-2000:])
  table = pd.read_csv(tmp_path / 'results' / 'mcmahan_2nn' / 'metrics.csv')
  expected = ['round', 'train/loss', 'train/accuracy', 'eval/loss', 'eval/accuracy', 'seconds']
  assert set(expected) <= set(table.columns)
  assert table['round'].tolist() == list(range(101))
  # What README says it reaches.
  assert table['eval/accuracy'].iloc[-5:].mean() == pytest.approx(0.94, abs=0.02)


def test_speeds_are_those_of_the_benchmark():
  saved = json.loads((_ROOT / 'benchmarks' / 'results' / 'round_time.json').read_text())
  ratios = {work['work']: work['times_fused'] for work in saved['works']}
  row = re.compile(r'^\| .* \| ([0-9.]+) \| ([0-9.]+) \| ([0-9.]+) \|$', re.MULTILINE)
  rows = row.findall((_ROOT / 'README.md').read_text())
  names = ('tff_learning', 'tff_tutorial', 'plain_loop')
  assert len(rows) == 5
  for work, figures in zip(('W3', 'W1', 'W2', 'W4', 'W5'), rows):
    for name, shown in zip(names, figures):
      digits = len(shown.partition('.')[2])
      assert shown == f'{ratios[work][name]:.{digits}f}', (work, name)
