"""Small folders of runs, written without training anything."""

from collections.abc import Mapping, Sequence
import csv
import json
import pathlib
from typing import Any, Optional

DEFAULTS = {'seed': 0, 'task': 'digits', 'algorithm': 'fedavg', 'client_learning_rate': 0.1}


def write_run(
  folder: pathlib.Path,
  metrics: Mapping[str, Sequence[Any]],
  clients: Optional[Sequence[Sequence[Any]]] = None,
  manifest: Optional[Mapping[str, Any]] = None,
  **settings: Any,
) -> pathlib.Path:
  """Writes a run's folder: metrics by column (`round` counts from 0 when not given)."""
  folder.mkdir(parents=True, exist_ok=True)
  flags = {'experiment_name': folder.name, **DEFAULTS, **settings}
  _write(folder / 'hparams.csv', [list(flags), [_text(v) for v in flags.values()]])
  count = len(next(iter(metrics.values())))
  table = {'round': range(count), **metrics}
  rows = [[_text(v) for v in row] for row in zip(*table.values(), strict=True)]
  _write(folder / 'metrics.csv', [list(table), *rows])
  if clients is not None:
    header = ['round', 'client_id', 'phase', 'num_examples', 'metric', 'value']
    _write(folder / 'clients.csv', [header, *clients])
  content = {
    'flags': flags,
    'identity': flags,
    'method_flags': {},
    'finished': True,
    'sources': {'file': 'abc'},
    'passport': {'partition_sha256': 'def'},
    'versions': {'numpy': '1.25.2'},
    **(manifest or {}),
  }
  (folder / 'manifest.json').write_text(json.dumps(content))
  return folder


def _text(value: Any) -> str:
  return '' if value is None else str(value)


def _write(path: pathlib.Path, rows: Sequence[Sequence[Any]]) -> None:
  with open(path, 'w', newline='') as file:
    csv.writer(file, lineterminator='\n').writerows(rows)
