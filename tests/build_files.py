"""Writes the BUILD files: one target per Python file, its dependencies taken from its imports.

`make build-files` runs it after imports have changed. Imports anywhere in a file count, also inside
functions, and so do modules that are only named in a string: registries import what they list.
What it writes is checked by `test_build_files.py`, which shares no code with it.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
import dataclasses
import pathlib
import re
import sys
from typing import Any, Optional

SOURCE_FOLDERS = ('fl_research', 'experiments', 'baselines', 'benchmarks', 'tests')
OPTIONAL_MODULES = frozenset({'flwr', 'httpx', 'ray', 'starlette', 'uvicorn'})
"""Imported where installed, and not among the locked packages."""

_DISTRIBUTIONS = {
  'PIL': 'pillow',
  'absl': 'absl-py',
  'google': 'protobuf',
  'grpc': 'grpcio',
  'sklearn': 'scikit-learn',
  'tree': 'dm-tree',
  'xdist': 'pytest-xdist',
}
"""Modules whose package on PyPI is named otherwise."""

_HEADER = '# Written by `make build-files` from the imports; tests/test_build_files.py checks it.\n'
_VISIBILITY = {
  'fl_research': '//visibility:public',
  'experiments': '//visibility:public',
}


class UnknownImport(ValueError):
  """A file imports what neither the project nor the locked packages have."""


@dataclasses.dataclass(frozen=True)
class Target:
  """One rule of a BUILD file.

  Attributes:
    rule: py_library, py_binary or py_test.
    name: the file's name without its extension.
    source: the file, relative to its folder.
    folder: the folder, relative to the project's root.
    dependencies: labels, in buildifier's order.
  """

  rule: str
  name: str
  source: str
  folder: str
  dependencies: tuple[str, ...]

  def render(self) -> str:
    """The rule in Starlark."""
    attributes: dict[str, Any] = {'name': self.name, 'srcs': [self.source]}
    if self.rule == 'py_test':
      # Bazel runs a test as a program, and these are collected by pytest.
      attributes['args'] = [f'{self.folder}/{self.source}']
      attributes['main_module'] = 'pytest'
    if self.dependencies:
      attributes['deps'] = self.dependencies
    return _render_call(self.rule, attributes)


class Project:
  """The Python files below a root folder, and what they may import."""

  def __init__(self, root: pathlib.Path):
    self._root = root
    self._files = {_module(file): file for file in sorted(_python_files(root))}
    self._locked = _locked_packages(root / 'requirements.txt')

  def build_files(self) -> dict[str, str]:
    """The text of every BUILD file, by folder relative to the root ('' is the root)."""
    by_folder: dict[str, list[Target]] = {}
    for module, file in self._files.items():
      target = self._target(module, file)
      by_folder.setdefault(target.folder, []).append(target)
    texts = {folder: _render_folder(folder, targets) for folder, targets in by_folder.items()}
    texts[''] = _render_root([target for targets in by_folder.values() for target in targets])
    return texts

  def imports(self) -> dict[str, set[str]]:
    """What every module imports or names, of the project and of others' packages."""
    return {
      module: set(self._imported(self._parsed(file), module, file))
      for module, file in self._files.items()
    }

  def _parsed(self, file: pathlib.PurePosixPath) -> ast.Module:
    return ast.parse((self._root / file).read_text(encoding='utf-8'), str(file))

  def file_imports(self) -> dict[str, set[str]]:
    """The project's files that every file imports or names, by path."""
    return {
      str(self._files[module]): {str(self._files[n]) for n in names if n in self._files}
      for module, names in self.imports().items()
    }

  def _target(self, module: str, file: pathlib.PurePosixPath) -> Target:
    tree = self._parsed(file)
    labels = {self._label(name, file) for name in self._imported(tree, module, file)}
    rule = _rule(file, tree)
    if rule == 'py_test':
      labels |= {'@pypi//pytest', *self._fixtures(file)}
    return Target(rule, file.stem, file.name, str(file.parent), _ordered(labels))

  def _imported(self, tree: ast.Module, module: str, file: pathlib.PurePosixPath) -> Iterator[str]:
    """Project modules and third-party packages that a file imports or names; not itself."""
    package = module if file.stem == '__init__' else module.rpartition('.')[0]
    prefixes = self._prefixes(tree, package)
    for node in ast.walk(tree):
      names: Iterable[Optional[str]] = ()
      if isinstance(node, ast.Import):
        names = [self._resolve(alias.name, None, file) for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        origin = _absolute(node, package)
        names = [self._resolve(origin, alias.name, file) for alias in node.names]
      elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        names = [name for prefix in prefixes if '.' in (name := prefix + node.value)]
        names = [name for name in names if name in self._files]
      yield from (name for name in names if name not in (None, module))

  def _resolve(
    self, origin: str, member: Optional[str], file: pathlib.PurePosixPath
  ) -> Optional[str]:
    """The project module, or the third-party package, that an import statement leads to."""
    if member is not None and f'{origin}.{member}' in self._files:
      return f'{origin}.{member}'
    if origin in self._files:
      return origin
    top = origin.partition('.')[0]
    if top in SOURCE_FOLDERS:
      raise UnknownImport(f'{file}: imports {origin}, which has no Python file')
    if top in sys.stdlib_module_names or top in OPTIONAL_MODULES:
      return None
    return top

  def _prefixes(self, tree: ast.Module, package: str) -> set[str]:
    """What may stand before a string to give the name of a module.

    Nothing, where the string is a full name; the start of such a name, where the file has one that
    ends in a dot; and the file's own package, where it imports modules by name.
    """
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    prefixes = {''} | {text for text in texts if isinstance(text, str) and text.endswith('.')}
    if any(_is_import_module(node) for node in ast.walk(tree)):
      prefixes.add(f'{package}.')
    return prefixes

  def _label(self, name: str, user: pathlib.PurePosixPath) -> str:
    if name in self._files:
      return _project_label(self._files[name], user)
    distribution = _DISTRIBUTIONS.get(name, name).lower().replace('_', '-')
    if distribution not in self._locked:
      raise UnknownImport(f'{user}: imports {name}, and requirements.txt has no {distribution}')
    return f'@pypi//{distribution.replace("-", "_")}'

  def _fixtures(self, file: pathlib.PurePosixPath) -> Iterator[str]:
    """Labels of the conftest.py files that pytest loads for a test."""
    for folder in file.parents:
      conftest = folder / 'conftest.py'
      if conftest in self._files.values():
        yield _project_label(conftest, file)


def _python_files(root: pathlib.Path) -> Iterator[pathlib.PurePosixPath]:
  for folder in SOURCE_FOLDERS:
    for file in (root / folder).rglob('*.py'):
      yield pathlib.PurePosixPath(file.relative_to(root).as_posix())


def _module(file: pathlib.PurePosixPath) -> str:
  parts = file.parent.parts if file.stem == '__init__' else file.with_suffix('').parts
  return '.'.join(parts)


def _locked_packages(requirements: pathlib.Path) -> frozenset[str]:
  text = requirements.read_text(encoding='utf-8')
  return frozenset(re.findall(r'^([a-z0-9-]+)==', text, re.MULTILINE))


def _rule(file: pathlib.PurePosixPath, tree: ast.Module) -> str:
  if file.parts[0] == 'tests' and file.stem.startswith('test_'):
    return 'py_test'
  is_program = any(
    isinstance(node, ast.If) and "__name__ == '__main__'" in ast.unparse(node.test)
    for node in tree.body
  )
  return 'py_binary' if is_program else 'py_library'


def _is_import_module(node: ast.AST) -> bool:
  name = node.attr if isinstance(node, ast.Attribute) else getattr(node, 'id', None)
  return name == 'import_module'


def _absolute(node: ast.ImportFrom, package: str) -> str:
  """The module after `from`, in full also where the import is relative."""
  if not node.level:
    return node.module or ''
  base = package.split('.')[: len(package.split('.')) - node.level + 1]
  return '.'.join([*base, *([node.module] if node.module else [])])


def _project_label(file: pathlib.PurePosixPath, user: pathlib.PurePosixPath) -> str:
  return f':{file.stem}' if file.parent == user.parent else f'//{file.parent}:{file.stem}'


def _ordered(labels: Iterable[str]) -> tuple[str, ...]:
  rank = {':': 0, '/': 1, '@': 2}
  return tuple(sorted(set(labels), key=lambda label: (rank[label[0]], label.replace(':', '!'))))


def _quoted(text: str) -> str:
  return f'"{text}"'


def _render_call(function: str, attributes: Mapping[str, Any]) -> str:
  lines = []
  for name, value in attributes.items():
    if isinstance(value, str):
      lines.append(f'{name} = {_quoted(value)},')
    elif isinstance(value, bool):
      lines.append(f'{name} = {value},')
    elif len(value) < 2:
      lines.append(f'{name} = [{"".join(map(_quoted, value))}],')
    else:
      lines += [f'{name} = [', *(f'    {_quoted(item)},' for item in value), '],']
  return '\n'.join([f'{function}(', *(f'    {line}' for line in lines), ')\n'])


def _render_folder(folder: str, targets: list[Target]) -> str:
  rules = ', '.join(map(_quoted, sorted({target.rule for target in targets})))
  top = folder.partition('/')[0]
  package: dict[str, Any] = {'default_testonly': True} if top == 'tests' else {}
  package['default_visibility'] = [_VISIBILITY.get(top, f'//{top}:__subpackages__')]
  load = f'load("@rules_python//python:defs.bzl", {rules})\n'
  calls = [target.render() for target in sorted(targets, key=lambda target: target.name)]
  return '\n'.join([_HEADER, load, _render_call('package', package), *calls])


def _render_root(targets: list[Target]) -> str:
  tests = sorted(f'//{test.folder}:{test.name}' for test in targets if test.rule == 'py_test')
  package = _render_call('package', {'default_visibility': ['//visibility:public']})
  # Bazel's Python rules resolve `@pypi//...` from this file.
  exports = 'exports_files(["requirements.txt"])\n'
  return '\n'.join(
    [_HEADER, package, exports, _render_call('test_suite', {'name': 'tests', 'tests': tests})]
  )


def main() -> None:
  """Brings every BUILD file up to date and removes those of folders without Python files."""
  root = pathlib.Path(__file__).resolve().parent.parent
  texts = Project(root).build_files()
  for folder in SOURCE_FOLDERS:
    for file in (root / folder).rglob('BUILD'):
      if file.parent.relative_to(root).as_posix() not in texts:
        file.unlink()
  for folder, text in texts.items():
    (root / folder / 'BUILD').write_text(text, encoding='utf-8')


if __name__ == '__main__':
  try:
    main()
  except UnknownImport as error:
    sys.exit(str(error))
