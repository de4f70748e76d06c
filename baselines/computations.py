"""Claims that nothing is trained for: a function of the paper's folder gives the value.

`study` names it as `module:function(arguments)`, arguments being Python literals. With seeds it is
called once for each, as `function(..., seed=seed)`; without, once, and nothing in it is random.
"""

import ast
import importlib
import pathlib
import time

import pandas as pd

from baselines import claims, studies
from fl_research.registry import UsageError
from fl_research.training import provenance

VALUES = 'values.csv'


def call(folder: pathlib.Path, study: str, seed: int | None) -> float:
  """The value of a computation.

  Raises:
    UsageError: `study` is not `module:function(literals)`, or there is no such function.
  """
  module, _, expression = study.partition(':')
  accepted = f'{study!r}: accepted is module:function(literals)'
  try:
    node = ast.parse(expression, mode='eval').body
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
      raise UsageError(accepted)
    arguments = [ast.literal_eval(argument) for argument in node.args]
    named = {keyword.arg or '': ast.literal_eval(keyword.value) for keyword in node.keywords}
  except (SyntaxError, ValueError) as error:
    raise UsageError(accepted) from error
  try:
    found = importlib.import_module(f'baselines.{folder.name}.{module}')
    function = getattr(found, node.func.id)
  except (ModuleNotFoundError, AttributeError) as error:
    raise UsageError(f'{study!r}: there is no such function in {folder}') from error
  if seed is not None:
    named['seed'] = seed
  return float(function(*arguments, **named))


def run(folder: pathlib.Path, claim: claims.Claim) -> pd.DataFrame:
  """Computes a claim on all its seeds: rows of values.csv."""
  seeds: list[int | None] = list(claim.seed_list) or [None]
  rows = []
  for seed in seeds:
    begin = time.monotonic()
    value = call(folder, claim.study, seed)
    rows.append(
      {
        'claim': claim.claim,
        'seed': '' if seed is None else str(seed),
        'value': value,
        'seconds': round(time.monotonic() - begin, 1),
        'machine': studies.describe(provenance.machine()),
        'commit': provenance.commit()[:12],
      }
    )
  return pd.DataFrame(rows)


def save(folder: pathlib.Path, rows: pd.DataFrame) -> None:
  """Puts rows into the paper's values.csv, in place of those of the same claims."""
  path = folder / studies.RESULTS / VALUES
  if path.exists():
    old = _read(path)
    rows = pd.concat([old[~old['claim'].isin(rows['claim'])], rows])
  path.parent.mkdir(exist_ok=True)
  rows.sort_values(['claim', 'seed'], kind='stable').to_csv(path, index=False)


def load(folder: pathlib.Path, claim: claims.Claim) -> pd.DataFrame:
  """The rows of values.csv for a claim, one for each of its seeds.

  Raises:
    UsageError: some are missing.
  """
  path = folder / studies.RESULTS / VALUES
  table = _read(path) if path.exists() else pd.DataFrame(columns=['claim', 'seed'])
  seeds = [str(seed) for seed in claim.seed_list] or ['']
  rows = table[(table['claim'] == claim.claim) & table['seed'].isin(seeds)]
  if len(rows) < len(seeds):
    raise UsageError(f'{claim.claim}: has not been computed yet')
  return rows


def _read(path: pathlib.Path) -> pd.DataFrame:
  return pd.read_csv(path, dtype={'seed': str}, keep_default_na=False, float_precision='round_trip')
