"""Puts published patients where they might be: each hospital's own file in a folder of its own.

    python -m experiments.examples.hospitals --folder=/tmp/hospitals
    python -m experiments.examples.hospitals --folder=/tmp/regions --data=eicu_demo

For `make federation` and docs/federation.md. `heart_disease`: Cleveland, Budapest and Long Beach,
a file each (UCI data set 45; see `fl_research.datasets.heart_disease`). `eicu_demo`: intensive care
by region of the United States, the hospitals being the clients of their region's site (Pollard et
al. 2018, "The eICU Collaborative Research Database", demo 2.0.1; its files must be in the data
folder). Beside each file lies the policy of an owner who lets a run through that keeps to it.
"""

from collections.abc import Iterator, Sequence
import pathlib

from absl import flags
import pandas as pd

from experiments import command_line
from fl_research.datasets import federated_data, files, heart_disease
from fl_research.registry import UsageError

FILE = 'patients.csv'

_HOSPITALS = ('cleveland', 'hungarian', 'va')
_REGIONS = ('Midwest', 'South', 'West')
_FEATURES = (
  *('intubated', 'vent', 'dialysis', 'eyes', 'motor', 'verbal', 'urine', 'wbc', 'temperature'),
  *('respiratoryrate', 'sodium', 'heartrate', 'meanbp', 'creatinine', 'bun', 'glucose'),
)
_POLICY = """# What the owner of these data lets experimenters do (docs/federation_policy.md).

[training]
most_rounds_per_run = 500

[survey]
least_rows = 3                  # of a category, before its name is told

[decision]
within = "allow"                # "ask": somebody has to approve each request
"""


def _heart_disease(folder: str) -> Iterator[tuple[str, pd.DataFrame]]:
  options = federated_data.DatasetOptions(data_dir=folder)
  tables, _ = heart_disease.hospitals(options)
  for name in _HOSPITALS:
    table = tables[name]
    yield name, table.drop(columns='diagnosis').assign(ill=(table['diagnosis'] > 0).astype(int))


def _eicu_demo(folder: str) -> Iterator[tuple[str, pd.DataFrame]]:
  read = lambda name: pd.read_csv(_there(folder, f'{name}.csv.gz'))
  stays = read('patient').merge(read('apacheApsVar'), on='patientunitstayid')
  stays = stays.merge(read('hospital')[['hospitalid', 'region']], on='hospitalid')
  stays = stays[stays['hospitaldischargestatus'].isin(['Alive', 'Expired'])]
  age = pd.to_numeric(stays['age'].replace('> 89', '90'), errors='coerce')
  numbers = stays[list(_FEATURES)].mask(stays[list(_FEATURES)] == -1)
  table = pd.DataFrame({'hospital': stays['hospitalid'], 'age': age, **numbers})
  table['died'] = (stays['hospitaldischargestatus'] == 'Expired').astype(int)
  for region in _REGIONS:
    yield region.lower(), table[stays['region'] == region]


def _there(folder: str, name: str) -> pathlib.Path:
  path = pathlib.Path(folder) / 'eicu_demo' / name
  if not path.exists():
    raise UsageError(
      f'{path}: is not there; the eICU demo is at https://physionet.org/content/eicu-crd-demo/2.0.1/'
    )
  return path


_DATA = {'heart_disease': _heart_disease, 'eicu_demo': _eicu_demo}


def main(argv: Sequence[str]) -> int:
  own = {
    'folder': 'a new folder, in which every site has one of its own',
    'data': f'{" or ".join(_DATA)}; the first when left out',
    'data_dir': 'folder of original data files; else $FL_RESEARCH_DATA_DIR, else the cache folder',
  }
  if command_line.wants_help(argv):
    lines = [line for name, text in own.items() for line in command_line.flag_help(name, text)]
    groups = {'Flags': lines}
    command_line.print_help('python -m experiments.examples.hospitals', __doc__ or '', groups)
    return 0
  values = flags.FlagValues()
  command_line.parse_own(values, argv, own, ['folder'])
  name = values['data'].value or next(iter(_DATA))
  if name not in _DATA:
    raise UsageError(f'--data={name}: accepted are {" and ".join(_DATA)}')
  folder = pathlib.Path(values['folder'].value)
  for site, table in _DATA[name](files.data_dir(values['data_dir'].value)):
    (folder / site).mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / site / FILE, index=False)
    (folder / site / 'policy.toml').write_text(_POLICY)
    print(f'{folder / site / FILE}: {len(table)} patients')
  return 0


if __name__ == '__main__':
  command_line.run_main(main)
