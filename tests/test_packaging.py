"""The lock, requirements.txt, the Makefile and what else makes a clean clone work."""

import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())
LOCK = tomllib.loads((ROOT / 'uv.lock').read_text())
REQUIREMENT = re.compile(r'^([a-z0-9-]+)==(\S+)')


def locked(lock) -> dict[tuple[str, str], set[str]]:
  """Hashes of every locked package's files, by name and version; not of the project itself."""
  return {
    (package['name'], package['version']): {
      file['hash'] for file in [*package.get('wheels', []), package.get('sdist', {})] if file
    }
    for package in lock['package']
    if 'registry' in package['source']
  }


def required(text: str) -> dict[tuple[str, str], set[str]]:
  """Hashes in requirements.txt, by name and version."""
  found: dict[tuple[str, str], set[str]] = {}
  for line in text.splitlines():
    if match := REQUIREMENT.match(line):
      hashes = found.setdefault((match[1], match[2]), set())
    elif '--hash=' in line:
      hashes.add(line.partition('--hash=')[2].rstrip(' \\'))
    else:
      assert not line.strip() or line.lstrip().startswith('#'), line
  return found


def name_of(requirement: str) -> str:
  return re.split(r'[ <>=!~\[;]', requirement, maxsplit=1)[0].lower().replace('_', '-')


def test_requirements_are_the_lock():
  for_all, for_ray = (
    required((ROOT / name).read_text()) for name in ('requirements.txt', 'requirements-ray.txt')
  )
  assert {**for_all, **for_ray} == locked(LOCK), 'make requirements'
  assert ('ray', '2.52.1') in for_ray.keys() - for_all.keys()
  assert len(locked(LOCK)) > 50
  assert all(locked(LOCK).values())


def test_comparison_sees_a_version_a_hash_and_a_package():
  text = (
    'a==1 ; x \\\n    --hash=sha256:0 \\\n    --hash=sha256:1\n    # via b\n'
    'b==2 \\\n    --hash=sha256:2\n'
  )
  assert required(text) == {('a', '1'): {'sha256:0', 'sha256:1'}, ('b', '2'): {'sha256:2'}}
  lock = {
    'package': [
      {
        'name': 'a',
        'version': '1',
        'source': {'registry': ''},
        'sdist': {'hash': 'sha256:0'},
        'wheels': [{'hash': 'sha256:1'}],
      },
      {'name': 'b', 'version': '2', 'source': {'registry': ''}, 'wheels': [{'hash': 'sha256:2'}]},
      {'name': 'fl-research', 'version': '0', 'source': {'virtual': '.'}},
    ]
  }
  assert required(text) == locked(lock)
  for old, new in [('a==1', 'a==2'), ('sha256:1', 'sha256:3'), ('b==2', 'c==2')]:
    assert required(text.replace(old, new)) != locked(lock)


def test_lock_is_that_of_pyproject():
  (package,) = [package for package in LOCK['package'] if package['name'] == 'fl-research']
  metadata = package['metadata']
  extras = lambda requirement: ','.join(requirement.get('extras', []))
  text = lambda requirement: (
    requirement['name']
    + (f'[{extras(requirement)}]' if extras(requirement) else '')
    + requirement.get('specifier', '')
  )
  assert sorted(map(text, metadata['requires-dist'])) == sorted(PROJECT['project']['dependencies'])
  assert {
    group: sorted(map(text, members)) for group, members in metadata['requires-dev'].items()
  } == {group: sorted(members) for group, members in PROJECT['dependency-groups'].items()}
  overrides = [text(override) for override in LOCK['manifest']['overrides']]
  assert sorted(overrides) == sorted(PROJECT['tool']['uv']['override-dependencies'])
  assert package['version'] == PROJECT['project']['version']


def test_lock_names_the_public_registry_only():
  text = (ROOT / 'uv.lock').read_text()
  hosts = set(re.findall(r'https?://([^/"]+)', text))
  assert hosts == {'pypi.org', 'files.pythonhosted.org'}
  assert 'file:' not in text
  for name in ('requirements.txt', 'requirements-ray.txt', 'requirements-flower.txt'):
    assert '://' not in (ROOT / name).read_text()


def test_flower_is_locked_with_hashes():
  for_flower = required((ROOT / 'requirements-flower.txt').read_text())
  app = tomllib.loads(
    (ROOT / 'fl_research' / 'federation' / 'flower_app' / 'pyproject.toml').read_text()
  )
  (asked,) = app['project']['dependencies']
  assert tuple(asked.split('==')) in for_flower, 'make requirements'
  assert len(for_flower) > 30
  for package, hashes in for_flower.items():
    assert hashes, package
    assert all(re.fullmatch('sha256:[0-9a-f]{64}', each) for each in hashes), package


def test_imports_are_dependencies():
  """What the library and the programs import is asked for by name, or comes with TFF."""
  requirements = [*PROJECT['project']['dependencies'], *PROJECT['dependency-groups']['tff']]
  asked = {name_of(requirement) for requirement in requirements}
  with_tff = importlib.metadata.requires('tensorflow-federated') or []
  available = asked | {name_of(requirement) for requirement in with_tff}
  modules = set()
  for file in [*(ROOT / 'fl_research').rglob('*.py'), *(ROOT / 'experiments').rglob('*.py')]:
    for node in ast.walk(ast.parse(file.read_text())):
      if isinstance(node, ast.Import):
        modules |= {alias.name.partition('.')[0] for alias in node.names}
      elif isinstance(node, ast.ImportFrom) and not node.level:
        modules.add(str(node.module).partition('.')[0])
  distributions = importlib.metadata.packages_distributions()
  # Ray is of a group of its own, Flower of an environment of its own.
  own = {'fl_research', 'experiments', 'flwr', 'httpx', 'ray', *sys.stdlib_module_names}
  for module in sorted(modules - own):
    names = {name.lower().replace('_', '-') for name in distributions[module]}
    assert names & available, f'pyproject.toml lacks {module}'


def test_license_and_citation():
  text = (ROOT / 'LICENSE').read_text()
  assert 'Apache License' in text
  assert 'Version 2.0, January 2004' in text
  assert PROJECT['project']['license'] == {'text': 'Apache-2.0'}
  citation = dict(
    line.split(': ', 1) for line in (ROOT / 'CITATION.cff').read_text().splitlines() if ': ' in line
  )
  assert citation['license'] == 'Apache-2.0'
  assert citation['version'] == PROJECT['project']['version']
  assert citation['cff-version'] == '1.2.0'


def test_ci_runs_make_test():
  script = ROOT / '.ci' / 'run'
  assert os.stat(script).st_mode & stat.S_IXUSR
  lines = script.read_text().splitlines()
  assert lines[0] == '#!/usr/bin/env bash'
  assert lines.index('set -e') < lines.index('make test')


FAKE_UV = """#!/bin/sh
settings="index=$UV_DEFAULT_INDEX certificate=$SSL_CERT_FILE bytecode=$UV_COMPILE_BYTECODE"
echo "$@ [$settings]" >> calls
case "$*" in
  *'{refused}'*) exit 2 ;;
esac
mkdir -p .venv/bin .flower
printf '#!/bin/sh\\necho "ran $*"\\n' > .venv/bin/python
cp .venv/bin/python .venv/bin/ruff
cp .venv/bin/python .venv/bin/mypy
chmod +x .venv/bin/*
"""


class Clone:
  """A clone whose uv only writes down what it was asked, so that nothing is downloaded."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    for name in (
      'Makefile',
      'pyproject.toml',
      'uv.lock',
      'requirements.txt',
      'requirements-ray.txt',
      'requirements-flower.txt',
    ):
      shutil.copy(ROOT / name, folder)

  def install_uv(self, refused: str = 'never') -> None:
    """Puts a uv in place that fails when its arguments contain `refused`."""
    version = re.search(r'^UV_VERSION := (\S+)', (self.folder / 'Makefile').read_text(), re.M)[1]
    uv = self.folder / '.uv' / version / 'bin' / 'uv'
    uv.parent.mkdir(parents=True)
    uv.write_text(FAKE_UV.replace('{refused}', refused))
    uv.chmod(0o755)

  def make(self, *arguments, **environment) -> subprocess.CompletedProcess:
    hidden = ('UV_', 'PIP_', 'MAKE', 'MFLAGS', 'SSL_')
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run(
      ['make', *arguments],
      cwd=self.folder,
      env={**inherited, 'PIP_CONFIG_FILE': os.devnull, **environment},
      capture_output=True,
      text=True,
      timeout=60,
    )

  def calls(self) -> list[str]:
    path = self.folder / 'calls'
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def clone(tmp_path):
  folder = tmp_path / 'a clone'
  folder.mkdir()
  return Clone(folder)


def test_demo_and_tests_set_up_the_environment_once(clone):
  clone.install_uv()
  demo = clone.make('demo')
  assert demo.returncode == 0, demo.stderr
  assert demo.stdout.endswith('ran -m experiments.train --flagfile=experiments/demo.flags\n')
  assert [call for call in clone.calls() if call.startswith('sync --frozen')]
  assert 'bytecode=1' in clone.calls()[-1]
  assert not [call for call in clone.calls() if 'requirements-ray.txt' in call]
  before = clone.calls()
  test = clone.make('test')
  assert test.stdout.splitlines() == [
    'ran check .',
    'ran format --check .',
    'ran ',
    'Installing Ray into .venv/ (300 MB, once)',
    'ran -m pytest -n auto',
  ]
  (with_ray,) = clone.calls()[len(before) :]
  assert with_ray.startswith('pip install') and 'requirements-ray.txt' in with_ray
  before = clone.calls()
  clone.make('test')
  assert clone.calls() == before
  os.utime(clone.folder / 'uv.lock', (4e9, 4e9))
  clone.make('env')
  assert len(clone.calls()) > len(before)


def test_another_index_and_certificate_are_used(clone):
  clone.install_uv()
  made = clone.make('env', PIP_INDEX_URL='https://mirror.example/simple', PIP_CERT='/a/cert.pem')
  assert made.returncode == 0, made.stderr
  (call,) = [call for call in clone.calls() if call.startswith('pip sync')]
  assert '--require-hashes requirements.txt' in call
  assert 'index=https://mirror.example/simple' in call
  assert 'certificate=/a/cert.pem' in call
  assert not [call for call in clone.calls() if call.startswith('sync')]


def test_flower_gets_an_environment_of_its_own(clone):
  clone.install_uv()
  made = clone.make('flower', UV_DEFAULT_INDEX='https://mirror.example/simple')
  assert made.returncode == 0, made.stderr
  (call,) = [call for call in clone.calls() if call.startswith('pip sync')]
  assert '--python .flower --require-hashes requirements-flower.txt' in call
  assert 'index=https://mirror.example/simple' in call
  assert not [call for call in clone.calls() if call.startswith('sync')]
  before = clone.calls()
  clone.make('flower')
  assert clone.calls() == before


@pytest.mark.parametrize(
  'refused, message',
  [
    ('python ', 'needs Python 3.11, none was found and none could be downloaded: install it'),
    ('sync', 'the packages of uv.lock could not be installed'),
  ],
)
def test_environment_that_cannot_be_had_is_one_sentence(clone, refused, message):
  clone.install_uv(refused)
  made = clone.make('env')
  assert made.returncode == 2
  assert made.stderr.count('fl_research: ') == 1
  assert message in made.stderr
  assert clone.make('env').returncode == 2, 'a failed set-up counts as done'


def test_missing_python_is_one_sentence(clone):
  made = clone.make('env', 'PYTHON=no-such-python')
  assert made.returncode == 2
  assert "fl_research: 'no-such-python' was not found: install Python 3.11" in made.stderr


def test_python_without_installers_is_one_sentence(clone):
  python = clone.folder / 'python'
  python.write_text('#!/bin/sh\nexit 1\n')
  python.chmod(0o755)
  made = clone.make('env', f'PYTHON={python}')
  assert made.returncode == 2
  assert 'has neither ensurepip nor pip nor virtualenv' in made.stderr
  assert 'could not be installed' not in made.stderr


def test_every_target_is_explained(clone):
  makefile = (ROOT / 'Makefile').read_text()
  targets = set(re.search(r'^\.PHONY: (.*)$', makefile, re.M)[1].split()) - {'help'}
  shown = clone.make().stdout
  assert {line.split()[1] for line in shown.splitlines()} == targets


def test_make_generated_runs_every_generator():
  recipe = re.search(r'^generated: (.*\n(?:\t.*\n)+)', (ROOT / 'Makefile').read_text(), re.M)[1]
  assert 'build-files' in recipe
  for module in ('fl_research.soundness.combinations', 'baselines.methods', 'baselines.reproduce'):
    assert f'-m {module}' in recipe
