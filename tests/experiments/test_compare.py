"""The binary that compares two settings."""

import pytest

from experiments import command_line, compare
from tests.analysis.fabricate import write_run


@pytest.fixture
def folder(tmp_path):
  for name, level in (('a', 0.8), ('b', 0.7)):
    for seed in (0, 1, 2, 3):
      accuracy = [0.1, level + seed / 10 + (seed % 2) / 100 * level]
      write_run(tmp_path / f'{name}{seed}', {'eval/accuracy': accuracy}, seed=seed, algorithm=name)
  return tmp_path


def run(*arguments):
  return command_line.run(compare.main, ['compare.py', *map(str, arguments)])


def test_winner(folder, capsys):
  assert run(f'{folder}/a*', f'{folder}:algorithm=b', '--measure=eval/accuracy final') == 0
  out = capsys.readouterr().out
  assert 'algorithm: A a, B b' in out
  assert 'mean of A - B: 0.1005' in out
  assert out.endswith('A is better (higher values are).\n')


def test_no_winner(folder, capsys):
  assert run(f'{folder}/a*', f'{folder}/a*') == 0
  assert 'No winner: 4 pairs do not tell A from B.' in capsys.readouterr().out


def test_one_seed_gives_numbers_and_no_winner(folder, capsys):
  assert run(f'{folder}/a0', f'{folder}/b0') == 0
  out = capsys.readouterr().out
  assert 'mean of A - B: 0.1\n' in out and 'interval:' not in out
  assert 'No winner: from one seed nothing is known of the spread' in out


def test_by_default_what_the_runs_have(tmp_path, capsys):
  for name, level in (('a', 0.8), ('b', 0.7)):
    rmse = [5.0, *[level] * 20]
    write_run(tmp_path / name, {'eval/rmse': rmse, 'eval/loss': rmse}, total_rounds=20)
  assert run(tmp_path / 'a', tmp_path / 'b') == 0
  assert '\neval/rmse last 2\n' in capsys.readouterr().out
  assert run(tmp_path / 'a', tmp_path / 'b', '--measure=eval/rmse last 21') == 2
  assert '"eval/rmse last 21": the runs have 20 rounds only' in capsys.readouterr().err


def test_help(capsys):
  assert run('--help') == 0
  assert '--measure' in capsys.readouterr().out


@pytest.mark.parametrize(
  'arguments, message',
  [
    ([], 'nothing: expected is A B'),
    (['{f}/a0'], '{f}/a0: expected is A B'),
    (['{f}/a*', '{f}/b*', '{f}/c'], 'expected is A B'),
    (['{f}/a*', '{f}/none'], '{f}/none: there is no such folder'),
    (['{f}/a0', '{f}/b1'], 'a seed must be in both'),
    (['{f}', '{f}'], 'A holds runs that differ in algorithm (a, b)'),
    (['{f}/a*', '{f}/b*', '--measure=eval/accuracy'], "'eval/accuracy': is not a measure"),
    (['{f}/a*', '{f}/b*', '--measure=eval/auc final'], 'eval/auc: no column of metrics.csv'),
    (['{f}/a*', '{f}/b*', '--measure=eval/accuracy rounds to 0.99'], 'the run a0 has no value of'),
    (['{f}/a*', '{f}/b*', '--confidence=1'], '--confidence=1.0: accepted is'),
    (['{f}/a*', '{f}/b*', '--bootstrap_seed=-1'], '--bootstrap_seed=-1: accepted is'),
    (['{f}/a*', '{f}/b*', '--seed=1'], '--seed: there is no such flag'),
  ],
)
def test_mistakes_are_one_line(folder, capsys, arguments, message):
  assert run(*(argument.format(f=folder) for argument in arguments)) == 2
  error = capsys.readouterr().err
  assert message.format(f=folder) in error
  assert error.count('\n') == 1
