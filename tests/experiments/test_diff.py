"""The binary that says where two runs part."""

import pytest

from experiments import command_line, diff
from tests.analysis.fabricate import write_run

METRICS = {'train/loss': [None, 2.0, 1.0], 'eval/loss': [2.5, 1.5, 1.0], 'seconds': [1.0, 2.0, 3.0]}


def run(*arguments):
  return command_line.run(diff.main, ['diff.py', *map(str, arguments)])


def write(folder, metrics=None, **options):
  return write_run(folder, {**METRICS, **(metrics or {})}, **options)


def test_same_but_for_times(tmp_path, capsys):
  a, b = write(tmp_path / 'a'), write(tmp_path / 'b', {'seconds': [9.0, 9.0, 9.0]})
  assert run(a, b) == 0
  assert 'All values of the 3 rounds that both have are the same' in capsys.readouterr().out


def test_first_round_column_and_cause(tmp_path, capsys):
  changed = {'train/loss': [None, 2.0, 1.1], 'eval/loss': [2.5, 1.4, 1.2]}
  a = write(tmp_path / 'a', manifest={'machine': {'cores': 2}})
  b = write(
    tmp_path / 'b',
    changed,
    client_learning_rate=0.2,
    manifest={
      'machine': {'cores': 4},
      'sources': {'file': 'xyz'},
      'versions': {'numpy': '2.0'},
      'flags': {'client_learning_rate': 0.2, 'output_dir': '/x'},
      'identity': {'client_learning_rate': 0.2},
    },
  )
  assert run(a, b) == 1
  out = capsys.readouterr().out
  assert 'The runs part in round 1, column eval/loss:\n  A 1.5\n  B 1.4\n' in out
  causes = [line.strip() for line in out.splitlines() if ': A ' in line]
  assert causes.index('--client_learning_rate: A 0.1, B 0.2') < causes.index(
    'data file file: A abc, B xyz'
  )
  assert 'version of numpy: A 1.25.2, B 2.0' in causes
  assert 'machine: cores: A 2, B 4' in causes
  assert out.index('cannot change results') < out.index('--output_dir: A (none), B /x')


def test_value_against_none(tmp_path, capsys):
  a, b = write(tmp_path / 'a'), write(tmp_path / 'b', {'eval/loss': [2.5, None, 1.0]})
  assert run(a, b) == 1
  out = capsys.readouterr().out
  assert '  A 1.5\n  B (empty)\n' in out
  assert 'Nothing in their flags, data, versions or machines explains it.' in out


def test_draws_that_no_seed_gives_back_explain_it(tmp_path, capsys):
  fresh = {'manifest': {'privacy': {'same_flags_same_run': False}}}
  a = write(tmp_path / 'a', **fresh)
  b = write(tmp_path / 'b', {'eval/loss': [2.5, 1.4, 1.0]}, **fresh)
  assert run(a, b) == 1
  assert '--dp_noise=cryptographic: A draws anew in every run' in capsys.readouterr().out


def test_tolerance(tmp_path, capsys):
  a, b = write(tmp_path / 'a'), write(tmp_path / 'b', {'eval/loss': [2.5, 1.5 * (1 + 1e-9), 1.0]})
  assert run(a, b) == 1
  assert 'round 1, column eval/loss' in capsys.readouterr().out
  assert run(a, b, '--tolerance=1e-8') == 0


def test_untrained_models_differ(tmp_path, capsys):
  a, b = write(tmp_path / 'a'), write(tmp_path / 'b', {'eval/loss': [2.4, 1.5, 1.0]}, seed=1)
  assert run(a, b) == 1
  out = capsys.readouterr().out
  assert 'Round 0 is the untrained model' in out
  assert '--seed: A 0, B 1' in out


def test_shorter_and_other_columns(tmp_path, capsys):
  a = write(tmp_path / 'a')
  b = write_run(tmp_path / 'b', {'eval/loss': [2.5, 1.5], 'eval/accuracy': [0.1, 0.2]})
  assert run(a, b) == 1
  out = capsys.readouterr().out
  assert 'A ends after round 2, B after round 1.' in out
  assert 'Only one of them has: train/loss, eval/accuracy' in out


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['{f}/a'], 'expected is A B'),
    (['{f}', '{f}/a'], '{f}: holds 2 runs; give the folder of one, such as {f}/a'),
    (['{f}/a', '{f}/c'], '{f}/c: there is no such folder'),
    (['{f}/a', '{f}/b', '--tolerance=-1'], '--tolerance=-1.0: accepted is a number in [0, 1)'),
    (['{f}/a', '{f}/b', '--tolerance=x'], '--tolerance=x: accepted is a number'),
  ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments, message):
  write(tmp_path / 'a')
  write(tmp_path / 'b')
  assert run(*(argument.format(f=tmp_path) for argument in arguments)) == 2
  error = capsys.readouterr().err
  assert message.format(f=tmp_path) in error
  assert error.count('\n') == 1
