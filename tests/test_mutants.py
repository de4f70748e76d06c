"""The mutation tester: which mistakes it makes, and what it calls a survivor."""

import subprocess
import sys
import textwrap

from tests import mutants, mutations

SOURCE = textwrap.dedent('''
  """A module."""
  import math  # and a comment

  def far(values: list[int] = None, *, limit=0.0):
    """Whether any of them is far."""
    if not values:
      raise ValueError(f'none of {1 + 1}')
    values.sort()
    low, high = min(values), values[1:]
    return low * 2 >= limit and -low != len(high)
''')


def changes(source):
  return {(m.line, m.before, m.after) for m in mutations.of(source)}


def test_mistakes_of_every_kind_and_none_where_nothing_could_be_seen():
  assert changes(SOURCE) == {
    (5, '0.0', '1.0'),
    (7, 'not values', 'values'),
    (9, 'values.sort()', 'pass'),
    (10, 'min(values)', 'max(values)'),
    (10, '1:', ':'),
    (10, '1', '2'),
    (10, '1', '0'),
    (11, 'return low * 2 >= limit and -low != len(high)', 'return None'),
    (11, 'low * 2 >= limit and -low != len(high)', 'low * 2 >= limit or -low != len(high)'),
    (11, 'low * 2 >= limit', 'low * 2 > limit'),
    (11, 'low * 2 >= limit', 'low * 2 < limit'),
    (11, 'low * 2', 'low / 2'),
    (11, 'low * 2', 'low * 2 / 2'),
    (11, '2', '3'),
    (11, '-low != len(high)', '-low == len(high)'),
    (11, '-low', 'low'),
  }


def test_more_mistakes():
  assert changes('x = sorted(a, key=f)') == {(1, 'sorted(a, key=f)', 'list(a)')}
  assert changes('x = tf.reduce_sum(a)') == {(1, 'tf.reduce_sum(a)', 'tf.reduce_mean(a)')}
  assert changes('x = int(a)') == {(1, 'int(a)', 'int(a / 2)')}
  assert changes('x = a if b else c') == {(1, 'a if b else c', 'a if not b else c')}
  assert changes('x += a') == {(1, 'x += a', 'x -= a')}
  assert changes('x = True') == {(1, 'True', 'False')}


def test_each_differs_from_the_file_in_one_place():
  plain = mutations.of('x = a < b\ny = c < d\n')
  assert [m.source for m in plain] == [
    'x = a <= b\ny = c < d',
    'x = a > b\ny = c < d',
    'x = a < b\ny = c <= d',
    'x = a < b\ny = c > d',
  ]


def test_a_few_are_of_as_many_lines_as_there_are_and_the_same_for_a_seed():
  found = list(mutations.of('\n'.join(f'x = a{k} < b{k} and c{k} > d{k}' for k in range(20))))
  chosen = mutants.choose(found, 15, seed=1)
  assert len({m.line for m in chosen}) == 15
  assert chosen == mutants.choose(found, 15, seed=1) != mutants.choose(found, 15, seed=2)
  assert len(mutants.choose(found, 1000, seed=1)) == len(found)


def row(line, before, verdict='', note='', module='m'):
  return dict(zip(mutants.COLUMNS, (module, line, before, 'b', verdict, 't', 'today', note)))


def test_a_new_verdict_replaces_the_old_and_rows_move_with_their_lines():
  old = [
    row('1', 'x', 'survived', module='other'),
    row('2', 'gone', 'survived'),
    row('3', 'a', 'survived', 'equivalent: a'),
    row('5', 'a', 'survived', 'equivalent: another a'),
    row('20', 'c', 'survived', 'gap'),
  ]
  possible = [row('3', 'a'), row('6', 'a'), row('20', 'c'), row('100', 'd')]
  new = [row('6', 'a', 'survived'), row('20', 'c', 'killed'), row('100', 'd', 'killed')]
  assert mutants.merged(old, new, possible) == [
    row('3', 'a', 'survived', 'equivalent: a'),
    row('6', 'a', 'survived', 'equivalent: another a'),
    row('20', 'c', 'killed'),
    row('100', 'd', 'killed'),
    row('1', 'x', 'survived', module='other'),
  ]


PROGRAM = """
from tests import mutants
for source, limit in (
  ('double = lambda x: 2 + x', 60.0),
  ('double = lambda x: 3 * x', 60.0),
  ('while True: pass', 1.0),
):
  print(mutants.run_mutant('tiny', source, [['test_tiny.py']], limit).verdict)
"""


def test_killed_survived_or_out_of_time(tmp_path):
  (tmp_path / 'test_tiny.py').write_text(
    'import tiny\n\ndef test_double():\n  assert tiny.double(2) == 4\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM],
    cwd=tmp_path,
    env={'PYTHONPATH': str(mutants.ROOT), 'PYTHONDONTWRITEBYTECODE': '1'},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.stdout.split() == ['survived', 'killed', 'timeout'], done.stderr
