"""The owner's commands; docs/federation_policy.md shows what they print when all goes well."""

import pytest

from experiments import command_line, site
from fl_research.federation import policy as policies
from fl_research.federation.guard import Guard
from tests.federation.requested import asked


@pytest.fixture
def folder(tmp_path):
  """A site with a request that waits."""
  (tmp_path / 'policy.toml').write_text('[privacy]\nleast_noise = 0\n')
  Guard(tmp_path, policies.Policy()).propose(asked())
  return tmp_path


def _run(*arguments):
  return command_line.run(site.main, ['site', *arguments])


@pytest.mark.parametrize(
  'arguments, message',
  [
    ([], 'nothing: is no command'),
    (['requets'], 'requets: is no command (did you mean requests?)'),
    (['show'], 'expected is ID'),
    (['show', 'ab'], 'ab: no request begins so'),
    (['deny', 'RUN'], '--reason: must be given'),
    (['requests', '--status=open'], '--status=open: accepted is waiting, approved'),
    (['requests', '--stats=open'], '--stats: there is no such flag; did you mean --status?'),
    (['log', '--lines=x'], '--lines=x: accepted is an integer'),
    (['policy', '--policy=none.toml'], 'none.toml: No such file or directory'),
    (['requests', '--folder=none'], '--folder=none: there is no such folder'),
  ],
)
def test_a_mistake_is_one_line(folder, capsys, arguments, message):
  run = asked().run_id[:8]
  given = [run if argument == 'RUN' else argument for argument in arguments]
  if given and not any(argument.startswith('--folder') for argument in given):
    given.append(f'--folder={folder}')
  assert _run(*given) == command_line.EXIT_USAGE
  [line] = capsys.readouterr().err.splitlines()
  assert message in line


def test_a_broken_log_is_said_and_nothing_is_approved(folder, capsys):
  path = folder / 'audit.log'
  path.write_bytes(path.read_bytes().replace(b'waiting', b'allowed'))
  for given in ([], ['--verify'], ['--noted=' + '0' * 64]):
    assert _run('log', f'--folder={folder}', *given) == 1
    assert 'line 1 is not the one that the head file names' in capsys.readouterr().out
  assert _run('approve', asked().run_id[:8], f'--folder={folder}') == command_line.EXIT_USAGE
  assert 'line 1 is not the one' in capsys.readouterr().err


def test_what_the_policy_denies_cannot_be_approved(folder, capsys):
  (folder / 'policy.toml').write_text('data.sets = []')
  assert _run('approve', asked().run_id[:8], f'--folder={folder}') == command_line.EXIT_USAGE
  assert 'the policy denies it: The data set heart_disease is none' in capsys.readouterr().err


def test_the_policy_is_said_in_sentences(folder, capsys):
  assert _run('policy', f'--folder={folder}') == 0
  said = capsys.readouterr().out
  for sentence in (
    'A request within all limits: a person decides.',
    'Anybody may ask.',
    'noise multiplier of each at least 0.',
  ):
    assert sentence in ' '.join(said.split())


@pytest.mark.parametrize('name', site.COMMANDS)
def test_every_command_has_help_that_names_its_flags(capsys, name):
  assert _run(name, '--help') == 0
  said = capsys.readouterr().out
  for flag in (*site.COMMANDS[name].flags, 'folder', 'policy'):
    assert f'--{flag}' in said
  assert _run('--help') == 0
  assert f'  {name}' in capsys.readouterr().out


def test_the_key_of_a_site_goes_into_its_policy(folder, capsys):
  assert _run('key', f'--folder={folder}') == 0
  key = capsys.readouterr().out.strip()
  assert _run('key', f'--folder={folder}') == 0
  assert capsys.readouterr().out.strip() == key
  (folder / 'policy.toml').write_text(f'[secure_aggregation]\nsites = {{ north = "{key}" }}\n')
  assert _run('policy', f'--folder={folder}') == 0
  assert 'Sums by the protocol are signed, and among north only' in capsys.readouterr().out
  own = Guard(folder, policies.read(folder / 'policy.toml'))
  assert own.signer('north').name == 'north'
