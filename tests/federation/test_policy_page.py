"""docs/federation_policy.md is true: its policy, its request, and every command's output."""

import pathlib
import re
import shlex

import pytest

from experiments import site

_PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'federation_policy.md'
_TIMES = re.compile(r'\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d\+00:00)?')


def _blocks():
  return re.findall(r'```(toml|python|console)\n(.*?)```', _PAGE.read_text(), re.DOTALL)


def _without_chance(text):
  """Times, and the hash of the log, which has them in it."""
  return re.sub('(elsewhere: ).*', r'\1HASH', _TIMES.sub('TIME', text)).rstrip()


def transcript(capsys):
  """What every command of the page prints, below the command, as the page should have it."""
  names, blocks = {}, []
  pathlib.Path('site').mkdir()
  for kind, content in _blocks():
    if kind == 'toml':
      pathlib.Path('site', 'policy.toml').write_text(content)
    elif kind == 'python':
      exec(compile(content, str(_PAGE), 'exec'), names)
    else:
      shown = []
      for line in content.splitlines():
        if line.startswith('$ '):
          arguments = shlex.split(line.replace('RUN', names['request'].run_id[:8] if names else ''))
          assert site.main(arguments[3:]) == 0
          shown += [line, capsys.readouterr().out.rstrip()]
      blocks.append('\n'.join(shown))
  return blocks


@pytest.fixture
def _in_a_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures('_in_a_folder')
def test_every_command_prints_what_the_page_shows(capsys):
  printed = transcript(capsys)
  shown = [content for kind, content in _blocks() if kind == 'console']
  assert [_without_chance(text) for text in printed] == [_without_chance(text) for text in shown]
