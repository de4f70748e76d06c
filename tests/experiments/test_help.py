"""Help: short for a first run, all of it, of one name; and where to start."""

import re
import shlex

import pytest

from experiments import command_line, evaluate, help_pages, sweep, train
from fl_research import settings as settings_lib


def helped(capsys, argument='--help', main=train.main):
  """What a program prints, its code being 0."""
  assert command_line.run(main, ['train.py', argument]) == 0
  out = capsys.readouterr().out
  assert all(len(line) <= 100 for line in out.splitlines()), argument
  return out


def test_help_is_a_dozen_flags_and_says_where_the_rest_is(capsys):
  out = helped(capsys)
  assert len(out.splitlines()) < 50
  assert out.count('and more: --help=') == 2 and 'and more: --help=algorithm' in out
  shown = re.findall(r'^  --(\w+)(?: \[.*\])?: ', out, re.MULTILINE)
  assert tuple(shown) == help_pages.FIRST and len(shown) == 12
  for topic in ('--help=all', '--help=start', '--help=scaffold'):
    assert topic in out
  assert helped(capsys, '-h') == out


@pytest.mark.parametrize('argument', ['--help=all', '--helpfull'])
def test_all_flags(argument, capsys):
  out = helped(capsys, argument)
  assert all(f'\n  --{name}' in out for name in settings_lib.flag_types())


def names():
  """Every name that has an entry, and a flag of each kind."""
  tables = help_pages.tables().values()
  return [*sorted({n for table in tables for n in table}), 'scaffold_option', 'seed', 'model']


def test_of_each_name(capsys):
  for name in names():
    out = helped(capsys, f'--help={name}')
    assert name in out and len(out.splitlines()) > 3, name


def test_of_a_method_its_flags_and_its_paper(capsys):
  out = helped(capsys, '--help=scaffold')
  assert out.startswith('python -m experiments.train --help=scaffold\n\n--algorithm=scaffold\n')
  assert '  --scaffold_option [II]: ' in out and 'Differences from the paper:' in out
  assert '"SCAFFOLD: Stochastic Controlled Averaging' in out
  assert '  --client_column: ' in helped(capsys, '--help=tabular')
  assert '--client_beta_1' in helped(capsys, '--help=adam')
  flag = helped(capsys, '--help=client_optimizer')
  assert '  momentum: gradient descent with' in flag


def test_of_what_there_is_not(capsys):
  assert command_line.run(train.main, ['train.py', '--help=scafold']) == 2
  out, err = capsys.readouterr()
  assert out == '' and err.count('\n') == 1
  assert '--help=scafold: unknown (did you mean scaffold?); accepted are all' in err


def test_where_to_start_is_shown_without_a_task(capsys):
  assert command_line.run(train.main, ['train.py']) == 2
  out, err = capsys.readouterr()
  assert out == helped(capsys, '--help=start') and out.startswith('Where to start')
  assert err.startswith('train.py: --task: must be given, or --data_file ') and err.count('\n') == 1


def test_commands_of_the_first_hour_are_flags_that_there_are():
  text = help_pages.WHERE_TO_START.replace('\\\n', ' ')
  commands = re.findall(r'python -m experiments\.train (.*)', text)
  assert len(commands) == 3
  for command in commands:
    given = command_line.read_flags(shlex.split(command))
    assert (given.get('task') or given['data_file']) and given['experiment_name']


def test_other_programs_take_the_same_questions(capsys):
  assert '--allow_test_target' in helped(capsys, '--help', sweep.main)
  out = helped(capsys, '--help=all', sweep.main)
  assert '--allow_test_target' in out and '--client_momentum' in out
  assert '--run' in helped(capsys, '--help=all', evaluate.main)
