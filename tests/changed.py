"""Runs the tests of what has changed against the main branch.

`make check` runs it after the linter and the type checker. Changed is what differs from where this
branch left main, committed or not, and what git does not know yet. The tests of a file are

- itself, if it is a test;
- the test that mirrors it: `fl_research/round/wire.py` has `tests/round/test_wire.py`;
- the tests that import it, themselves or through helpers in `tests/`;
- the parts of the nearest `test_contract.py` above it that bear its name: `fed_prox.py` is
  `fedprox` there;
- if it is not Python, the tests that name it.

What is reached through more of the library than that is left to `make test`.
"""

from collections.abc import Container, Iterable, Mapping
import pathlib
import subprocess
import sys

from tests import build_files

ROOT = pathlib.Path(__file__).resolve().parent.parent
ALWAYS = ('tests/test_build_files.py',)
"""Quick, and a new import is what it is about."""


def changed_files(root: pathlib.Path) -> set[str]:
  """Paths that differ from main, and those that git does not know yet, relative to the root."""
  git = lambda *words: subprocess.run(
    ['git', *words], cwd=root, capture_output=True, text=True, check=False
  ).stdout.splitlines()
  bases = (git('merge-base', main, 'HEAD') for main in ('origin/main', 'main'))
  base = next((lines[0] for lines in bases if lines), 'HEAD')
  differing = git('diff', '--name-only', '--no-renames', base)
  return {*differing, *git('ls-files', '--others', '--exclude-standard')}


def is_test(file: str) -> bool:
  path = pathlib.PurePosixPath(file)
  return file.startswith('tests/') and path.suffix == '.py' and path.stem.startswith('test_')


def mirror(file: str) -> str:
  """The test that has the name of a file, whether or not there is one."""
  path = pathlib.PurePosixPath(file)
  parts = path.parent.parts[1:] if path.parts[0] == 'fl_research' else path.parent.parts
  return str(pathlib.PurePosixPath('tests', *parts, f'test_{path.stem.strip("_")}.py'))


def contract(file: str, tests: Container[str]) -> list[tuple[str, str]]:
  """(the contract that a file of a room keeps, what the file is called in it), if there is one."""
  name = pathlib.PurePosixPath(file).stem.replace('_', '')
  folders = pathlib.PurePosixPath(mirror(file)).parents
  above = (str(folder / 'test_contract.py') for folder in folders)
  return [(path, name) for path in above if path in tests][:1]


def importers(file: str, imports: Mapping[str, Iterable[str]]) -> set[str]:
  """The tests that import a file, helpers of tests counting as parts of those that import them."""
  found: set[str] = set()
  waiting = [file]
  while waiting:
    imported = waiting.pop()
    users = {user for user, files in imports.items() if imported in files} - found
    found |= {user for user in users if user.startswith('tests/')}
    waiting += [user for user in users if user.startswith('tests/') and not is_test(user)]
  return {user for user in found if is_test(user)}


def naming(file: str, texts: Mapping[str, str]) -> set[str]:
  """The tests in whose text a file's name occurs."""
  name = pathlib.PurePosixPath(file).name
  return {test for test, text in texts.items() if is_test(test) and name in text}


def tests_of(
  changed: Iterable[str], imports: Mapping[str, Iterable[str]], texts: Mapping[str, str]
) -> tuple[set[str], set[tuple[str, str]]]:
  """Test files to run, and (contract, name) of which only what bears the name is run."""
  files, contracts = set(ALWAYS), set()
  for file in changed:
    if not file.endswith('.py'):
      files |= naming(file, texts)
      continue
    files |= {file} if is_test(file) else {mirror(file)} | importers(file, imports)
    contracts.update(contract(file, texts))
  files = {file for file in files if file in texts}
  return files, {(file, name) for file, name in contracts if file not in files}


def main() -> int:
  """Runs them; gives pytest's exit code."""
  imports = build_files.Project(ROOT).file_imports()
  texts = {file: (ROOT / file).read_text(encoding='utf-8') for file in imports}
  files, contracts = tests_of(changed_files(ROOT), imports, texts)
  pytest = [sys.executable, '-m', 'pytest']
  print(f'Tests of what has changed: {" ".join(sorted(files))}', flush=True)
  code = subprocess.run([*pytest, *sorted(files)], cwd=ROOT, check=False).returncode
  for file, name in sorted(contracts):
    print(f'{file}, as far as it is about {name}', flush=True)
    done = subprocess.run([*pytest, file, '-k', name], cwd=ROOT, check=False)
    code = code or (done.returncode if done.returncode != 5 else 0)  # 5: nothing bears the name.
  return code


if __name__ == '__main__':
  sys.exit(main())
