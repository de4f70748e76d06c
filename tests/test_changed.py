"""Which tests `make check` runs."""

import subprocess

import pytest

from tests import build_files, changed

IMPORTS = {
  'fl_research/round/wire.py': set(),
  'fl_research/algorithms/family/fed_x.py': {'fl_research/round/wire.py'},
  'tests/helper.py': {'fl_research/round/wire.py'},
  'tests/round/test_wire.py': set(),
  'tests/test_more.py': {'tests/helper.py'},
  'tests/algorithms/test_contract.py': set(),
  'tests/algorithms/family/test_x.py': {'fl_research/algorithms/family/fed_x.py'},
  'tests/test_build_files.py': set(),
}
TEXTS = {file: '' for file in IMPORTS} | {'tests/test_more.py': "open('docs/page.md')"}
CONTRACT = 'tests/algorithms/test_contract.py'


@pytest.mark.parametrize(
  ('file', 'files', 'contracts'),
  [
    ('fl_research/round/wire.py', {'tests/round/test_wire.py', 'tests/test_more.py'}, set()),
    (
      'fl_research/algorithms/family/fed_x.py',
      {'tests/algorithms/family/test_x.py'},
      {(CONTRACT, 'fedx')},
    ),
    ('tests/helper.py', {'tests/test_more.py'}, set()),
    (CONTRACT, {CONTRACT}, set()),
    ('docs/page.md', {'tests/test_more.py'}, set()),
    ('fl_research/removed.py', set(), set()),
  ],
)
def test_tests_of_a_file(file, files, contracts):
  found = changed.tests_of([file], IMPORTS, TEXTS)
  assert found == (files | set(changed.ALWAYS), contracts)


def test_imports_are_those_of_the_build_files():
  imports = build_files.Project(changed.ROOT).file_imports()
  assert (
    'fl_research/algorithms/optimization/fed_prox.py'
    in imports['tests/algorithms/optimization/test_fed_prox.py']
  )
  assert 'tests/algorithms/harness.py' in imports['tests/algorithms/optimization/test_fed_prox.py']
  assert all(imported in imports for files in imports.values() for imported in files)


def test_changed_are_commits_edits_and_new_files(tmp_path):
  git = lambda *words: subprocess.run(
    ['git', '-c', 'user.name=x', '-c', 'user.email=x@example.org', *words],
    cwd=tmp_path,
    check=True,
    capture_output=True,
  )
  git('init', '-b', 'main')
  for name in ('committed', 'edited', 'left'):
    (tmp_path / name).write_text('before')
  git('add', '.')
  git('commit', '-m', 'first')
  assert changed.changed_files(tmp_path) == set()
  git('checkout', '-b', 'work')
  (tmp_path / 'committed').write_text('after')
  git('commit', '-am', 'second')
  (tmp_path / 'edited').write_text('after')
  (tmp_path / 'new').write_text('new')
  assert changed.changed_files(tmp_path) == {'committed', 'edited', 'new'}
