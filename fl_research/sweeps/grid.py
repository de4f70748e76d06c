"""Which settings a sweep tries: grids, lists and random draws, as cells of flag values.

    client_learning_rate=log10(-2:0:0.5)     10^-2, 10^-1.5, ..., 1
    client_epochs_per_round=linear(1:5:2)    1, 3, 5
    algorithm=fedavg,scaffold                as listed

In random search `log10(a:b)` and `linear(a:b)` are ranges to draw from, evenly on their scale;
`integer(a:b)` draws whole numbers, both ends among them, and a list one of its values.
"""

from collections.abc import Mapping, Sequence
import hashlib
import itertools
import math
import re

import numpy as np

from fl_research.registry import UsageError

Cell = dict[str, str]
"""Flag -> value, as on the command line."""

MOST_RUNS = 100_000
_RANGE = re.compile(r'([a-z0-9]+)\(([^()]*)\)')
_LONGEST_NAME = 150
_SCALES = {'log10': lambda x: 10.0**x, 'linear': lambda x: x, 'integer': lambda x: float(round(x))}


def grid_axis(text: str) -> tuple[str, list[str]]:
  """`flag=values` of a grid -> the flag, and its values.

  Raises:
    UsageError: it cannot be understood, or names no value, or one twice.
  """
  name, values = _split('grid', text)
  scale, numbers = _range('grid', text, values)
  if not scale:
    listed = _listed('grid', text, values)
  else:
    if len(numbers) != 3:
      raise UsageError(f'--grid={text}: accepted is {scale}(first:last:step)')
    first, last, step = numbers
    if step == 0 or (last - first) / step < 0:
      raise UsageError(f'--grid={text}: with a step of {step:g}, {last:g} is never reached')
    # The last one counts although steps add up inexactly.
    count = math.floor((last - first) / step + 1e-9) + 1
    if count > MOST_RUNS:
      raise UsageError(f'--grid={text}: has {count} values; at most {MOST_RUNS} are accepted')
    listed = [_number(_SCALES[scale](first + i * step)) for i in range(count)]
  if len(set(listed)) < len(listed):
    raise UsageError(f'--grid={text}: names a value twice')
  return name, listed


def list_cell(text: str) -> Cell:
  """`flag=value flag=value ...` -> that one cell.

  Raises:
    UsageError: it cannot be understood, or names a flag twice.
  """
  cell: Cell = {}
  for part in text.split():
    name, value = _split('list', part)
    if name in cell:
      raise UsageError(f'--list={text}: names {name} twice')
    cell[name] = value
  if not cell:
    raise UsageError('--list: is empty; accepted is "flag=value flag=value ..."')
  return cell


def random_cells(texts: Sequence[str], samples: int, seed: int) -> list[Cell]:
  """Draws of cells, every flag on its own.

  Args:
    texts: `flag=values` of every flag that is drawn.
    samples: how many cells.
    seed: the same seed gives the same cells; more samples begin with those of fewer.

  Raises:
    UsageError: one cannot be understood.
  """
  generator = np.random.default_rng(seed)
  draws = []
  for text in texts:
    name, values = _split('random', text)
    scale, numbers = _range('random', text, values)
    if scale and len(numbers) != 2:
      raise UsageError(f'--random={text}: accepted is {scale}(low:high)')
    if scale and numbers[0] > numbers[1]:
      raise UsageError(f'--random={text}: {numbers[0]:g} is above {numbers[1]:g}')
    draws.append((name, scale, numbers, [] if scale else _listed('random', text, values)))
  return [{d[0]: _draw(generator, *d[1:]) for d in draws} for _ in range(samples)]


def _draw(
  generator: np.random.Generator, scale: str, numbers: Sequence[float], listed: Sequence[str]
) -> str:
  if not scale:
    return str(listed[generator.integers(len(listed))])
  low, high = numbers
  if scale == 'integer':
    return str(generator.integers(math.ceil(low), math.floor(high), endpoint=True))
  return _number(_SCALES[scale](generator.uniform(low, high)))


def product(alternatives: Sequence[Cell], axes: Sequence[tuple[str, Sequence[str]]]) -> list[Cell]:
  """Every listed or drawn cell with every combination of the grids' values.

  Raises:
    UsageError: a flag is named twice, or there are more than `MOST_RUNS` cells.
  """
  names = [name for name, _ in axes]
  for position, name in enumerate(names):
    if name in names[:position] or any(name in cell for cell in alternatives):
      raise UsageError(f'--grid={name}=...: {name} is swept twice')
  size = math.prod([max(1, len(alternatives)), *(len(values) for _, values in axes)])
  if size > MOST_RUNS:
    raise UsageError(f'--grid: makes {size} runs; at most {MOST_RUNS} are accepted')
  cells = [
    {**cell, **dict(zip(names, values))}
    for cell in (alternatives or [{}])
    for values in itertools.product(*(values for _, values in axes))
  ]
  return list({folder_name(cell): cell for cell in cells}.values())


def cells(
  grids: Sequence[str], lists: Sequence[str], draws: Sequence[str], samples: int, seed: int
) -> list[Cell]:
  """The cells that texts describe: every listed or drawn one, with every one of the grid.

  Args:
    grids: what `grid_axis` understands.
    lists: what `list_cell` understands.
    draws: what `random_cells` understands; not together with lists.
    samples: how many cells are drawn.
    seed: fixes the draws.

  Raises:
    UsageError: a text cannot be understood, or there is none.
  """
  if samples < 1:
    raise UsageError(f'--samples={samples}: accepted is an integer of at least 1')
  if seed < 0:
    raise UsageError(f'--sweep_seed={seed}: accepted is an integer of at least 0')
  if lists and draws:
    raise UsageError('--list and --random: at most one of them')
  if not (grids or lists or draws):
    raise UsageError('--grid, --list or --random: at least one must be given')
  axes = [grid_axis(text) for text in grids]
  alternatives = [list_cell(text) for text in lists]
  if draws:
    alternatives = random_cells(draws, samples, seed)
  return product(alternatives, axes)


def folder_name(cell: Mapping[str, str]) -> str:
  """The name of a cell's folder: its flags and values, shortened by a hash where too long."""
  name = ','.join(f'{flag}={value}' for flag, value in cell.items()) or 'base'
  safe = re.sub(r'[^\w.,=+-]', '_', name)
  if safe == name and len(name) <= _LONGEST_NAME:
    return name
  return f'{safe[:_LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}'


def _split(flag: str, text: str) -> tuple[str, str]:
  name, equals, values = text.strip().partition('=')
  name = name.lstrip('-')
  if not equals or not re.fullmatch(r'\w+', name) or not values.strip():
    raise UsageError(f'--{flag}={text}: accepted is FLAG=VALUES, as in seed=0,1,2')
  return name, values.strip()


def _range(flag: str, text: str, values: str) -> tuple[str, list[float]]:
  """The scale and numbers of `scale(a:b:c)`; no scale for a list of values."""
  match = _RANGE.fullmatch(values)
  if not match:
    if '(' in values or ')' in values:
      raise UsageError(
        f'--{flag}={text}: {values} is neither a list nor SCALE(...) with SCALE one of '
        f'{", ".join(_SCALES)}'
      )
    return '', []
  scale, inner = match.groups()
  if scale not in _SCALES:
    raise UsageError(f'--{flag}={text}: {scale} is no scale; accepted are {", ".join(_SCALES)}')
  try:
    numbers = [float(number) for number in inner.split(':')]
  except ValueError as error:
    raise UsageError(f'--{flag}={text}: {inner} is not numbers with colons between') from error
  if not all(map(math.isfinite, numbers)) or (scale == 'log10' and max(map(abs, numbers)) > 300):
    raise UsageError(f'--{flag}={text}: {inner} is out of range')
  return scale, numbers


def _listed(flag: str, text: str, values: str) -> list[str]:
  listed = [value.strip() for value in values.split(',')]
  if not all(listed):
    raise UsageError(f'--{flag}={text}: has an empty value')
  return listed


def _number(value: float) -> str:
  """Six significant digits, which is what the run is given and its folder is named by."""
  return f'{value:.6g}'
