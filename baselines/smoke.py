"""The quick look at a paper: short runs and cheap computations, each against a numeric band.

`smoke.csv` of a paper has a row per run: `study`; `flags` that shorten it, with blanks between;
`measure`; and the band `low` to `high` that its value lies in.
"""

import csv
import io
import pathlib
import tempfile

from baselines import claims, computations, readme, studies
from baselines.studies import Study
from fl_research import analysis
from fl_research.registry import UsageError

FILE = 'smoke.csv'
COLUMNS = ['study', 'flags', 'measure', 'low', 'high']
_AGREEMENT = 1e-3
"""How far, relatively, a computation may be from the ledger: another processor rounds otherwise."""


def rows(folder: pathlib.Path) -> list[dict[str, str]]:
  """The runs of a paper's quick look.

  Raises:
    UsageError: the file has other columns, or a band that is none.
  """
  path = folder / FILE
  if not path.exists():
    return []
  found = list(csv.DictReader(io.StringIO(path.read_text(), newline='')))
  for line, row in enumerate(found, 2):
    if list(row) != COLUMNS or None in row.values():
      raise UsageError(f'{path}:{line}: its columns are not {", ".join(COLUMNS)}')
    try:
      proper = float(row['low']) <= float(row['high'])
    except ValueError:
      proper = False
    if not proper:
      raise UsageError(f'{path}:{line}: {row["low"]} to {row["high"]} is not a band')
  return found


def run(folder: pathlib.Path, data_dir: str) -> int:
  """Runs a paper's quick look and prints it; gives the exit code, 1 when a band is missed."""
  table = [_trained(folder, row, data_dir) for row in rows(folder)]
  for claim in claims.read_claims(folder / 'claims.csv'):
    if claim.tier == 'smoke' and claim.computed and not claim.not_run:
      table.append(_computed(folder, claim))
  print(f'\n{folder.name}\n{readme.table(["what", "band", "value", "within"], table)}')
  return 0 if all(row[-1] == 'yes' for row in table) else 1


def _trained(folder: pathlib.Path, row: dict[str, str], data_dir: str) -> list[str]:
  study = Study(folder, row['study'])
  with tempfile.TemporaryDirectory() as runs:
    folder, select = pathlib.Path(runs, 'smoke'), _select(row['measure'])
    if not studies.train(study, ['seed=1'], select, folder, data_dir, row['flags'].split()):
      raise UsageError(f'{study.flag_file}: its short run failed, see above')
    value = float(analysis.parse_measure(row['measure']).of(analysis.load_runs(runs)).iloc[0])
  what = f'{row["study"]} {row["flags"]}: {row["measure"]}'
  return _line(what, float(row['low']), float(row['high']), value)


def _select(measure: str) -> str:
  """What the table of runs shows; there is one run, and nothing is chosen."""
  return measure if measure.startswith('train/') else 'train/loss final'


def _computed(folder: pathlib.Path, claim: claims.Claim) -> list[str]:
  """The first seed of a computation, beside the ledger's value for it."""
  first = computations.load(folder, claim).iloc[0]
  seed = int(first['seed']) if first['seed'] else None
  slack = _AGREEMENT * abs(first['value'])
  value = computations.call(folder, claim.study, seed)
  return _line(claim.claim, first['value'] - slack, first['value'] + slack, value)


def _line(what: str, low: float, high: float, value: float) -> list[str]:
  within = 'yes' if low <= value <= high else 'NO'
  return [what, f'{low:.5g} to {high:.5g}', f'{value:.5g}', within]
