"""Commands that bring a federation up: keys are made, and mistakes end in a line."""

import pathlib

import pytest

from experiments import command_line, federation


def run(*arguments: str) -> int:
  return command_line.run(federation.main, ['federation.py', *arguments])


def test_keys(tmp_path, capsys):
  folder = tmp_path / 'keys'
  flags = (f'--keys={folder}', '--hosts=engine.example.org', '--sites=north,south')
  assert run('keys', *flags, '--experimenters=ada', '--days=10') == 0
  made = sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file())
  assert made == [
    *('ca.crt', 'ca.key', 'experimenters/ada', 'experimenters/ada.pub', 'sites/north'),
    *('sites/north.pub', 'sites/south', 'sites/south.pub', 'superlink.crt', 'superlink.key'),
  ]
  assert 'for engine.example.org, 127.0.0.1, valid until' in capsys.readouterr().out
  assert run('keys', *flags) == 2
  assert 'is there already' in capsys.readouterr().err


MISTAKES = {
  '': 'nothing: accepted is one of keys, superlink, supernode, local',
  'other': 'other: accepted is one of',
  'keys': '--keys: must be given; it is folder of keys',
  'keys --keys={here}/k': '--hosts, --sites, --experimenters: one of them says',
  'keys --keys={here}/k --sites=a/b': '--sites=a/b: accepted are names of letters',
  'keys --keys={here}/k --hosts=h --days=0': '--days=0: accepted is a whole number from 1 to',
  'keys --keys={here}/k --site=a': '--site: there is no such flag; did you mean --sites?',
  'superlink --keys={here} --engine=here': '--engine=here: accepted is unix:/path',
  'superlink --keys={here} --engine=unix:e --port=x': '--port=x: accepted is a whole number',
  'superlink --keys={here} --engine=unix:e': 'sites: there is no .pub file of any site',
  'supernode --site=a --socket=unix:s --key={here}/k --certificate={here}/c --superlink=h:1': (
    'c: cannot be read'
  ),
  'local --folder={here}/f --sites=a,a --site=python --train=python': '--sites: name at least one',
  'local --folder={here}/{long} --sites=a --site=python --train=python': 'a socket takes at most',
  'local --folder={here}/f --sites=a --site=python --train="': '--train: is no command',
}


@pytest.mark.parametrize('line', MISTAKES)
def test_mistakes_are_one_line(line, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  arguments = [word.format(here=tmp_path, long='x' * 100) for word in line.split()]
  assert run(*arguments) == 2
  said = capsys.readouterr()
  assert said.out == ''
  assert said.err.count('\n') == 1
  assert MISTAKES[line] in said.err
  assert list(tmp_path.rglob('*.sock')) == []


def test_flower_that_is_missing(tmp_path, capsys):
  keys = tmp_path / 'k'
  assert run('keys', f'--keys={keys}', '--hosts=h', '--sites=a') == 0
  capsys.readouterr()
  flags = (f'--keys={keys}', '--engine=unix:e', f'--folder={tmp_path}/f', f'--flower={tmp_path}')
  assert run('superlink', *flags) == 2
  assert 'there is no Flower; `make flower` puts it into .flower/' in capsys.readouterr().err


@pytest.mark.parametrize('command', ['', *federation.COMMANDS])
def test_help(command, capsys):
  assert run(*([command] if command else []), '--help') == 0
  said = capsys.readouterr().out
  wanted = federation.FLAGS[command] if command else federation.COMMANDS
  assert all(name in said for name in wanted)


def test_page_tells_of_every_command_and_flag():
  page = (pathlib.Path(__file__).parents[2] / 'docs' / 'federation.md').read_text()
  for command, flags in federation.FLAGS.items():
    assert f'experiments.federation {command}' in page
    assert all(f'--{name}' in page for name in flags)
