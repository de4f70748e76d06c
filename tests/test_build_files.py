"""The BUILD files cover every Python file once, and say what it imports.

The check reads imports out of the compiled byte code, not as their generator does out of the
syntax, so that the two do not share a mistake.
"""

import ast
import dis
import importlib.metadata
import pathlib
import sys
import types

import pytest

from tests import build_files

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ('fl_research', 'experiments', 'baselines', 'benchmarks', 'tests')
RULES = {'py_library', 'py_binary', 'py_test'}
NOT_LOCKED = {'flwr', 'httpx', 'ray'}
"""Modules that are used where they are installed, and are not dependencies."""


def read_targets(build_file: pathlib.Path) -> list[dict]:
  """The Python rules of a BUILD file as dictionaries of their attributes, with `rule` added."""
  targets = []
  for statement in ast.parse(build_file.read_text()).body:
    call = getattr(statement, 'value', None)
    if isinstance(call, ast.Call) and call.func.id in RULES:
      attributes = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
      targets.append({'rule': call.func.id, 'deps': [], **attributes})
  return targets


def _code_objects(code: types.CodeType):
  yield code
  for constant in code.co_consts:
    if isinstance(constant, types.CodeType):
      yield from _code_objects(constant)


def _strings(constant):
  if isinstance(constant, str):
    yield constant
  elif isinstance(constant, (tuple, frozenset)):
    for member in constant:
      yield from _strings(member)


def imports(file: pathlib.Path) -> tuple[set[tuple[int, str, tuple]], set[str], bool]:
  """Import instructions (level, module, members), strings, and whether modules load by name."""
  instructions, strings, loads_by_name = set(), set(), False
  for code in _code_objects(compile(file.read_text(), str(file), 'exec', dont_inherit=True)):
    stack = []
    for instruction in dis.get_instructions(code):
      if instruction.opname == 'LOAD_CONST':
        stack.append(instruction.argval)
      elif instruction.opname == 'IMPORT_NAME':
        instructions.add((stack[-2], instruction.argval, stack[-1] or ()))
    strings.update(text for constant in code.co_consts for text in _strings(constant))
    loads_by_name |= 'import_module' in code.co_names
  return instructions, strings, loads_by_name


class Checker:
  """Compares the BUILD files below a root with the Python files there."""

  def __init__(self, root: pathlib.Path):
    self.root = root
    self.files = sorted(
      path.relative_to(root).as_posix()
      for folder in FOLDERS
      for path in (root / folder).rglob('*.py')
    )
    self.modules = {}
    for file in self.files:
      self.modules[file[: -len('.py')].replace('/', '.').removesuffix('.__init__')] = file
    self.distributions = importlib.metadata.packages_distributions()

  def problems(self) -> list[str]:
    """One sentence for everything that is wrong; empty when all is well."""
    found, listed, graph = [], {}, {}
    for build_file in sorted(self.root.rglob('BUILD')):
      folder = build_file.parent.relative_to(self.root).as_posix()
      if folder.partition('/')[0] not in FOLDERS:
        continue
      for target in read_targets(build_file):
        label = f'//{folder}:{target["name"]}'
        graph[label] = {f'//{folder}{dep}' if dep[0] == ':' else dep for dep in target['deps']}
        for source in target['srcs']:
          listed.setdefault(f'{folder}/{source}', []).append((label, target['rule']))
    for file in self.files:
      found += self._problems_of_file(file, listed.pop(file, []), graph)
    found += [f'{file} is listed but does not exist' for file in listed]
    found += self._cycles(graph)
    return found

  def _problems_of_file(self, file, targets, graph) -> list[str]:
    if not targets:
      return [f'{file} has no target']
    if len(targets) > 1:
      return [f'{file} is listed twice']
    (label, rule), problems = targets[0], []
    is_test = file.startswith('tests/') and pathlib.Path(file).name.startswith('test_')
    if (rule == 'py_test') != is_test:
      problems.append(f'{file} is a {rule}')
    wanted = self._alternatives(file, is_test)
    for name, labels in wanted.items():
      if not labels & graph[label]:
        problems.append(f'{label} lacks a dependency for {name}')
    for dependency in sorted(graph[label] - set().union(*wanted.values())):
      problems.append(f'{label} depends on {dependency} without importing it')
    if file.startswith('fl_research/'):
      for dependency in graph[label]:
        if not dependency.startswith(('//fl_research', '@pypi//')):
          problems.append(f'{label}: the library must not depend on {dependency}')
    return problems

  def _alternatives(self, file: str, is_test: bool) -> dict[str, set[str]]:
    """For everything a file imports, the labels of which one has to be among its dependencies."""
    own = file[: -len('.py')].replace('/', '.').removesuffix('.__init__')
    package = file.rpartition('/')[0].replace('/', '.')
    instructions, strings, loads_by_name = imports(self.root / file)
    names = set()
    for level, module, members in instructions:
      if level:
        parts = package.split('.')
        module = '.'.join([*parts[: len(parts) - level + 1], *([module] if module else [])])
      for member in members or ('',):
        full = f'{module}.{member}'
        names.add(full if full in self.modules else module)
    names |= {text for text in strings if '.' in text and text in self.modules}
    beginnings = {text for text in strings if text.endswith('.')}
    if loads_by_name:
      beginnings.add(f'{package}.')
    for beginning in beginnings:
      names |= {beginning + text for text in strings if beginning + text in self.modules}
    if is_test:
      names.add('pytest')
      folders = [str(folder) for folder in pathlib.PurePosixPath(file).parents]
      conftests = {f'{folder}/conftest.py'.replace('/', '.')[: -len('.py')] for folder in folders}
      names |= conftests & set(self.modules)
    wanted = {name: self._labels(name) for name in names - {own}}
    return {name: labels for name, labels in wanted.items() if labels is not None}

  def _labels(self, name: str):
    if name in self.modules:
      folder, _, base = self.modules[name].rpartition('/')
      return {f'//{folder}:{base[: -len(".py")]}'}
    top = name.partition('.')[0]
    if top in sys.stdlib_module_names or top in NOT_LOCKED:
      return None
    found = self.distributions.get(top, [])
    return {f'@pypi//{distribution.lower().replace("-", "_")}' for distribution in found}

  def _cycles(self, graph) -> list[str]:
    state, cycles = {}, []

    def visit(label, path):
      if state.get(label) == 'open':
        circle = [*path[path.index(label) :], label]
        cycles.append('a circle of dependencies: ' + ' -> '.join(circle))
      if label in state:
        return
      state[label] = 'open'
      for dependency in sorted(graph.get(label, ())):
        visit(dependency, [*path, label])
      state[label] = 'closed'

    for label in sorted(graph):
      visit(label, [])
    return cycles


def test_build_files_agree_with_the_imports():
  assert Checker(ROOT).problems() == [], 'make generated'


def test_build_files_are_what_the_generator_writes():
  for folder, text in build_files.Project(ROOT).build_files().items():
    assert (ROOT / folder / 'BUILD').read_text() == text, 'make generated'


def test_top_level_suite_names_every_test():
  text = (ROOT / 'BUILD').read_text()
  tests = [path.relative_to(ROOT) for path in (ROOT / 'tests').rglob('test_*.py')]
  assert tests
  for path in tests:
    assert f'"//{path.parent.as_posix()}:{path.stem}"' in text


def test_bazel_gets_the_locked_packages_and_python():
  calls = {
    ast.unparse(node.func): {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    for node in ast.walk(ast.parse((ROOT / 'MODULE.bazel').read_text()))
    if isinstance(node, ast.Call)
  }
  assert calls['pip.parse'] == {
    'hub_name': "'pypi'",
    'python_version': "'3.11'",
    'requirements_lock': "'//:requirements.txt'",
  }
  assert calls['python.toolchain']['python_version'] == "'3.11'"


GOOD = {
  'requirements.txt': 'numpy==1.25.2\npytest==9.1.1\n',
  'fl_research/__init__.py': '',
  'fl_research/models/__init__.py': "TABLE = {'cnn': ('fl_research.models.cnn', 'a network')}\n",
  'fl_research/tasks.py': "TABLE = {name: f'fl_research.data.{name}' for name in ('mnist',)}\n",
  'fl_research/models/cnn.py': 'import os\n\ndef build():\n  import numpy as np\n  return np\n',
  'fl_research/data/__init__.py': (
    "import importlib\nload = lambda name: importlib.import_module('fl_research.data.' + name)\n"
    "NAMES = ['mnist']\n"
  ),
  'fl_research/data/mnist.py': 'from ..models import cnn\nfrom . import files\n',
  'fl_research/data/files.py': 'SIZE = 1\n',
  'experiments/train.py': (
    "import fl_research.data\nfrom fl_research.models import TABLE\nif __name__ == '__main__':\n"
    '  print(TABLE)\n'
  ),
  'tests/conftest.py': 'import pytest\n',
  'tests/models/test_cnn.py': (
    'import subprocess\nfrom fl_research.models import cnn\n\n'
    "def test_train():\n  subprocess.run(['python', '-m', 'experiments.train'])\n"
  ),
}


@pytest.fixture
def project(tmp_path):
  for name, text in GOOD.items():
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
  for folder, text in build_files.Project(tmp_path).build_files().items():
    (tmp_path / folder / 'BUILD').write_text(text)
  return tmp_path


def _targets(root, folder):
  return {target['name']: target for target in read_targets(root / folder / 'BUILD')}


def test_generated_files_say_what_is_imported(project):
  assert Checker(project).problems() == []
  models = _targets(project, 'fl_research/models')
  assert models['__init__']['deps'] == [':cnn']
  assert models['cnn']['deps'] == ['@pypi//numpy']
  data = _targets(project, 'fl_research/data')
  assert data['__init__']['deps'] == [':mnist']
  assert data['mnist']['deps'] == [':files', '//fl_research/models:cnn']
  assert _targets(project, 'fl_research')['tasks']['deps'] == ['//fl_research/data:mnist']
  train = _targets(project, 'experiments')['train']
  assert train['rule'] == 'py_binary'
  assert train['deps'] == ['//fl_research/data:__init__', '//fl_research/models:__init__']
  test = _targets(project, 'tests/models')['test_cnn']
  assert test['rule'] == 'py_test'
  assert test['args'] == ['tests/models/test_cnn.py']
  assert test['deps'] == [
    '//experiments:train',
    '//fl_research/models:cnn',
    '//tests:conftest',
    '@pypi//pytest',
  ]


@pytest.mark.parametrize(
  'build_file, old, new, problem',
  [
    (
      'fl_research/data',
      'py_library(\n    name = "files",\n    srcs = ["files.py"],\n)\n',
      '',
      'fl_research/data/files.py has no target',
    ),
    (
      'fl_research/models',
      '    deps = ["@pypi//numpy"],\n',
      '',
      '//fl_research/models:cnn lacks a dependency for numpy',
    ),
    (
      'fl_research/models',
      '    deps = [":cnn"],\n',
      '',
      '//fl_research/models:__init__ lacks a dependency for fl_research.models.cnn',
    ),
    (
      'fl_research/data',
      '    deps = [":mnist"],\n',
      '',
      '//fl_research/data:__init__ lacks a dependency for fl_research.data.mnist',
    ),
    (
      'fl_research/models',
      '["@pypi//numpy"]',
      '["@pypi//numpy", "@pypi//pandas"]',
      '//fl_research/models:cnn depends on @pypi//pandas without importing it',
    ),
    (
      'fl_research/data',
      'srcs = ["files.py"]',
      'srcs = ["files.py", "mnist.py"]',
      'fl_research/data/mnist.py is listed twice',
    ),
    (
      'fl_research/data',
      'srcs = ["files.py"]',
      'srcs = ["files.py", "emnist.py"]',
      'fl_research/data/emnist.py is listed but does not exist',
    ),
    ('tests/models', 'py_test(', 'py_library(', 'tests/models/test_cnn.py is a py_library'),
    (
      'tests/models',
      '        "//tests:conftest",\n',
      '',
      '//tests/models:test_cnn lacks a dependency for tests.conftest',
    ),
    (
      'fl_research/models',
      '["@pypi//numpy"]',
      '["@pypi//numpy", "//experiments:train"]',
      '//fl_research/models:cnn: the library must not depend on //experiments:train',
    ),
  ],
)
def test_checker_finds(project, build_file, old, new, problem):
  path = project / build_file / 'BUILD'
  text = path.read_text()
  assert old in text
  path.write_text(text.replace(old, new, 1))
  assert problem in Checker(project).problems()


def test_checker_finds_a_new_file_and_a_changed_import(project):
  (project / 'fl_research/models/rnn.py').write_text('')
  (project / 'fl_research/data/files.py').write_text('from fl_research.models import rnn\n')
  assert Checker(project).problems() == [
    '//fl_research/data:files lacks a dependency for fl_research.models.rnn',
    'fl_research/models/rnn.py has no target',
  ]


def test_checker_finds_a_circle(project):
  (project / 'fl_research/data/files.py').write_text('from fl_research.data import mnist\n')
  path = project / 'fl_research/data/BUILD'
  old = 'srcs = ["files.py"],\n'
  path.write_text(path.read_text().replace(old, old + '    deps = [":mnist"],\n'))
  assert Checker(project).problems() == [
    'a circle of dependencies: //fl_research/data:mnist -> //fl_research/data:files -> '
    '//fl_research/data:mnist'
  ]


@pytest.mark.parametrize(
  'text, message',
  [
    (
      'import torch\n',
      'fl_research/data/files.py: imports torch, and requirements.txt has no torch',
    ),
    (
      'import fl_research.missing\n',
      'fl_research/data/files.py: imports fl_research.missing, which has no Python file',
    ),
  ],
)
def test_generator_refuses_what_is_not_there(project, text, message):
  (project / 'fl_research/data/files.py').write_text(text)
  with pytest.raises(build_files.UnknownImport) as error:
    build_files.Project(project).build_files()
  assert str(error.value) == message
