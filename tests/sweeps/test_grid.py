"""What a grid's text stands for."""

import math

import pytest

from fl_research.registry import UsageError
from fl_research.sweeps import grid


@pytest.mark.parametrize(
  'text, name, values',
  [
    ('seed=0,1,2', 'seed', ['0', '1', '2']),
    ('--algorithm=fedavg, scaffold', 'algorithm', ['fedavg', 'scaffold']),
    ('lr=log10(-2:0:0.5)', 'lr', ['0.01', '0.0316228', '0.1', '0.316228', '1']),
    ('lr=log10(0:-1:-0.5)', 'lr', ['1', '0.316228', '0.1']),
    ('epochs=linear(1:5:2)', 'epochs', ['1', '3', '5']),
    # Ten steps of 0.1 add up to a little less than 1.
    ('c=linear(0:1:0.1)', 'c', ['0', *(f'0.{i}' for i in range(1, 10)), '1']),
    ('c=linear(0:1:0.4)', 'c', ['0', '0.4', '0.8']),
    ('data_file=a/b.csv', 'data_file', ['a/b.csv']),
  ],
)
def test_axes(text, name, values):
  assert grid.grid_axis(text) == (name, values)


def test_product_is_ordered_and_keeps_lists():
  cells = grid.product([{'a': '1'}, {'b': '2'}], [('seed', ['0', '1'])])
  assert cells == [
    {'a': '1', 'seed': '0'},
    {'a': '1', 'seed': '1'},
    {'b': '2', 'seed': '0'},
    {'b': '2', 'seed': '1'},
  ]
  with pytest.raises(UsageError, match='a is swept twice'):
    grid.product([{'a': '1'}], [('a', ['2'])])


def test_random_cells():
  texts = ['lr=log10(-3:0)', 'epochs=integer(1:4)', 'algorithm=fedavg,scaffold', 'c=linear(2:3)']
  cells = grid.random_cells(texts, 400, seed=1)
  assert cells[:10] == grid.random_cells(texts, 10, seed=1)
  assert cells[:10] != grid.random_cells(texts, 10, seed=2)
  exponents = [math.log10(float(cell['lr'])) for cell in cells]
  # Even on the scale of exponents: a third in each decade.
  assert all(0.25 < sum(k <= e < k + 1 for e in exponents) / 400 < 0.42 for k in (-3, -2, -1))
  assert {cell['epochs'] for cell in cells} == {'1', '2', '3', '4'}
  assert {cell['algorithm'] for cell in cells} == {'fedavg', 'scaffold'}
  assert all(2 <= float(cell['c']) <= 3 for cell in cells)


def test_folder_names():
  assert grid.folder_name({'lr': '0.1', 'seed': '0'}) == 'lr=0.1,seed=0'
  paths = [grid.folder_name({'data_file': text}) for text in ('a/b', 'a_b', 'a b')]
  assert len(set(paths)) == 3
  assert not any('/' in path or ' ' in path for path in paths)
  long = [grid.folder_name({'data_file': 'x' * 300 + end}) for end in 'ab']
  assert long[0] != long[1] and max(map(len, long)) < 200
