"""The package as others install it: a wheel, beside TFF, in an environment of its own."""

import os
import pathlib
import shutil
import site
import subprocess
import sys
import venv

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
_PARTS = ('fl_research', 'experiments', 'pyproject.toml', 'README.md', 'LICENSE')


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
  """A fresh environment with the wheel, which finds TFF and the like where this process does."""
  source, folder = tmp_path_factory.mktemp('source'), tmp_path_factory.mktemp('environment')
  for part in _PARTS:  # setuptools builds in the source's folder
    copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
    copy(ROOT / part, source / part)
  build = f'from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})'
  subprocess.run([sys.executable, '-c', build], cwd=source, check=True, capture_output=True)
  venv.create(folder / 'env', with_pip=True)
  [packages] = (folder / 'env').glob('lib/*/site-packages')
  (packages / 'beside.pth').write_text('\n'.join(site.getsitepackages()))
  [wheel] = folder.glob('*.whl')
  install = [folder / 'env/bin/pip', 'install', '--quiet', '--no-index', wheel]
  subprocess.run(install, check=True, capture_output=True)
  return folder / 'env'


def _run(environment, cwd, program, *arguments):
  variables = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
  return subprocess.run(
    [environment / 'bin' / program, *arguments],
    cwd=cwd,
    env=variables,
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_console_names_run_the_binaries(environment, tmp_path):
  shown = _run(environment, tmp_path, 'fl-train', '--help')
  assert shown.returncode == 0 and '--task' in shown.stdout
  refused = _run(environment, tmp_path, 'fl-report', '--nonsense')
  assert refused.returncode == 2 and 'there is no such flag' in refused.stderr
  modules = (ROOT / 'experiments').glob('*.py')
  binaries = {path.stem.replace('_', '-') for path in modules if '__main__' in path.read_text()}
  names = {path.name.removeprefix('fl-') for path in (environment / 'bin').glob('fl-*')}
  assert names == binaries - {'console'}


def test_an_experiment_in_python(environment, tmp_path):
  program = (
    'import fl_research as fl; '
    "experiment = fl.experiment('digits', num_clients=3, clients_per_round=2); "
    'print(len(experiment.run(rounds=1)), fl.__file__)'
  )
  shown = _run(environment, tmp_path, 'python', '-c', program)
  rows, place = shown.stdout.split()
  assert (rows, shown.returncode) == ('2', 0), shown.stderr
  assert str(environment) in place
