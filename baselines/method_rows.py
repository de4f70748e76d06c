"""The measured rows of docs/methods.md: which runs they are, and what is kept of them.

`methods/<task>.flags` holds the flags that all rows of a task share, `methods/rows.csv` the flags
that each row adds, by hand. `methods/results.csv` holds one line per row, task and seed, written by
`measure`: accuracies and bytes of a run of `experiments.train`, where and on what it was made.
"""

from collections.abc import Callable, Iterable, Sequence
import concurrent.futures
import csv
import dataclasses
import hashlib
import multiprocessing
import pathlib
import tempfile
import time
from typing import Any

import pandas as pd

from baselines import studies
from experiments import command_line
from fl_research import settings as settings_lib
from fl_research.soundness import validation
from fl_research.training import provenance

FOLDER = pathlib.Path(__file__).parent / 'methods'
ROWS, RESULTS = FOLDER / 'rows.csv', FOLDER / 'results.csv'
TASKS = ('mnist', 'uci_har')
SEEDS = (1, 2, 3)
KEYS = ('task', 'flags', 'seed')
_SKIPPED = '-'
_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of the tables.

  Attributes:
    place: the section of docs/methods.md.
    method: the method that it shows.
    flags: what it adds to the common flags of a task, by task; a task it has no run on is absent.
  """

  place: str
  method: str
  flags: dict[str, str]


def rows() -> list[Row]:
  """All rows, in the order of the page."""
  with open(ROWS, newline='') as file:
    return [_row(record) for record in csv.DictReader(file)]


def _row(record: dict[str, str]) -> Row:
  by_task = {
    task: f'{record["flags"]} {record[task]}'.strip() for task in TASKS if record[task] != _SKIPPED
  }
  return Row(record['place'], record['method'], by_task)


def flag_file(task: str) -> pathlib.Path:
  """The flags that all rows of a task share."""
  return FOLDER / f'{task}.flags'


def to_settings(task: str, own: str, *more: str) -> settings_lib.Settings:
  """The checked settings of a run: a task's flags, the row's own, and more.

  Raises:
    UsageError: they are not accepted.
  """
  arguments = [f'--flagfile={flag_file(task)}', '--experiment_name=run', *own.split(), *more]
  settings = settings_lib.from_flags(command_line.read_flags(arguments))
  validation.validate(settings)
  return settings


def results() -> pd.DataFrame:
  """What has been measured for rows as they are now; what belongs to none of them is left out."""
  if not RESULTS.exists():
    return pd.DataFrame(columns=[*KEYS, 'common'])
  table = pd.read_csv(RESULTS, keep_default_na=False)
  wanted = {(task, own) for row in rows() for task, own in row.flags.items()}
  current = [
    (task, own) in wanted and common == _common(task)
    for task, own, common in zip(table['task'], table['flags'], table['common'])
  ]
  return table[current]


def missing(table: pd.DataFrame) -> list[tuple[str, str, tuple[int, ...]]]:
  """(task, the row's own flags, seeds) of what has not been measured."""
  found = set(table[list(KEYS)].itertuples(index=False, name=None))
  wanted = dict.fromkeys((task, own) for row in rows() for task, own in row.flags.items())
  left = [
    (task, own, tuple(seed for seed in SEEDS if (task, own, seed) not in found))
    for task, own in wanted
  ]
  return [one for one in left if one[2]]


def _common(task: str) -> str:
  """Changes with the flags that all rows of a task share."""
  return hashlib.sha256(flag_file(task).read_bytes()).hexdigest()[:8]


def measure(
  work: Sequence[tuple[str, str, tuple[int, ...]]],
  data_dir: str,
  parallel: int,
  tell: Callable[[str], None],
) -> None:
  """Makes runs and adds them to results.csv as they end.

  The seeds of a row are run one after the other in a process of their own, which spares most of the
  time that starting TensorFlow takes, and keeps one row's memory from the next.

  Args:
    work: what `missing` gives.
    data_dir: folder of the data.
    parallel: processes at a time.
    tell: takes a line for every row that is done.
  """
  with concurrent.futures.ProcessPoolExecutor(
    parallel, multiprocessing.get_context('spawn'), max_tasks_per_child=1
  ) as pool:
    futures = {pool.submit(_measure_seeds, *one, data_dir): one for one in work}
    try:
      for future in concurrent.futures.as_completed(futures):
        _add(future.result())
        tell(' '.join(futures[future][:2]))
    except BaseException:
      pool.shutdown(wait=False, cancel_futures=True)
      raise


def _add(records: Iterable[dict[str, Any]]) -> None:
  """Puts lines into results.csv in place of those with the same keys."""
  order = {(task, own): i for i, row in enumerate(rows()) for task, own in row.flags.items()}
  table = pd.concat([results().astype(object), pd.DataFrame(records).astype(object)])
  table = table.drop_duplicates(list(KEYS), keep='last')
  table['order'] = [order[key] for key in zip(table['task'], table['flags'])]
  table = table.sort_values(['order', 'task', 'seed']).drop(columns='order')
  table.map(_text).to_csv(RESULTS, index=False)


def _text(value: Any) -> str:
  return f'{value:.{_DIGITS}g}' if isinstance(value, float) else str(value)


def _measure_seeds(
  task: str, own: str, seeds: Sequence[int], data_dir: str
) -> list[dict[str, Any]]:
  """Runs a row on some seeds: its lines of results.csv."""
  return [_measure(task, own, seed, data_dir) for seed in seeds]


def _measure(task: str, own: str, seed: int, data_dir: str) -> dict[str, Any]:
  from fl_research.training import experiment

  with tempfile.TemporaryDirectory() as folder:
    given = [f'--data_dir={data_dir}'] if data_dir else []
    # One core: processor time then says what a round costs, whatever else the machine is doing.
    settings = to_settings(
      task, own, f'--seed={seed}', f'--output_dir={folder}', '--client_parallelism=1', *given
    )
    begin = time.process_time()
    outcome = experiment.run(settings, lambda: '')
    seconds = time.process_time() - begin
    table = pd.read_csv(outcome.folder.metrics)
  return {
    'task': task,
    'flags': own,
    'seed': seed,
    'common': _common(task),
    **_kept(table),
    'core_seconds_per_round': seconds / (len(table) - 1),
    'columns': ' '.join(_measured_columns(table)),
    'machine': studies.describe(provenance.machine()),
    'commit': provenance.commit()[:12],
  }


def _kept(table: pd.DataFrame) -> dict[str, Any]:
  """The numbers that are kept of a metrics.csv."""
  last, trained = table.iloc[-1], table.iloc[1:]
  clients = 'fine_tuned' if 'fine_tuned_clients/accuracy_mean' in table else 'eval'
  return {
    'rounds': int(last['round']),
    'accuracy': last['eval/accuracy'],
    'clients_accuracy': last[f'{clients}_clients/accuracy_mean'],
    'worst_tenth': last[f'{clients}_clients/accuracy_worst10'],
    'bytes_up': trained['bytes_up'].mean(),
    'epsilon': last.get('privacy/epsilon', ''),
    'backdoor_accuracy': last.get('backdoor/accuracy', ''),
  }


def _measured_columns(table: pd.DataFrame) -> list[str]:
  """The columns that a run fills, statistics over clients without their endings."""
  filled = [name for name in table if table[name].notna().any()]
  short = lambda name: name.rpartition('_')[0] if '_clients/' in name else name
  return list(dict.fromkeys(short(name) for name in filled))
