"""A finished run's model, evaluated again from what its folder holds."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any
import zipfile

import numpy as np

from fl_research.registry import UsageError
from fl_research.round import process as process_lib
from fl_research.soundness import validation
from fl_research.training import (
  atomic_files,
  checkpoints,
  evaluation,
  experiment,
  run_data,
  run_folder,
  tables,
)
from fl_research.training import (
  client_states as client_states_lib,
)
from fl_research.training import (
  loop as loop_lib,
)

METRICS, CLIENTS = 'evaluation.csv', 'evaluation_clients.csv'


@dataclasses.dataclass(frozen=True)
class Reevaluation:
  """What was found.

  Attributes:
    row: the evaluation columns of metrics.csv, `round` first.
    files: the CSVs that were written.
  """

  row: Mapping[str, Any]
  files: tuple[pathlib.Path, ...]


def evaluate(path: pathlib.Path, changes: Mapping[str, Any]) -> Reevaluation:
  """Evaluates the final model of a run, on all its test data and client by client.

  Writes `evaluation.csv`, one row with the evaluation columns of metrics.csv, and
  `evaluation_clients.csv`, with the columns of clients.csv, into the run's folder.

  Args:
    path: the run's folder, absolute.
    changes: settings to change, by name, e.g. where the data are now.

  Raises:
    UsageError: there is no such run, it has no final model, or its data have changed.
  """
  manifest = run_folder.read_ended(path)
  settings = dataclasses.replace(
    run_folder.settings_of(manifest, path),
    output_dir=str(path.parent),
    experiment_name=path.name,
    **changes,
  )
  validation.validate(settings)
  experiment.set_runtime(settings, settings.jit)
  data = run_data.load(settings)
  run_folder.RunFolder(settings).check_data({'sources': data.sources, 'passport': data.passport})
  settings = data.decide(settings)
  model = experiment.build_model(settings, data)
  process = experiment.build_process(settings, model, data)
  weights = _weights(path / 'model.npz', model)
  scored = experiment.build_evaluation(settings, process, data)
  personal = evaluation.personal_evaluator(process, data.train, settings)
  if personal is None:
    row, client_rows = scored.evaluate(weights)
  else:
    progress = _last_progress(path / 'checkpoints', process, manifest['rounds'])
    at_the_end = personal.at(progress.state, progress.client_states)
    row, client_rows = scored.evaluate(weights, at_the_end)
    if progress.client_states is not None:
      progress.client_states.close()
  row = {'round': manifest['rounds'], **{name: row.get(name) for name in scored.columns()}}
  files = (path / METRICS, path / CLIENTS)
  _write(files[0], [row])
  _write(files[1], [{'round': manifest['rounds'], **each} for each in client_rows])
  return Reevaluation(row, files)


def _weights(path: pathlib.Path, model) -> tuple[np.ndarray, ...]:
  """The weights that a run has saved."""
  try:
    with np.load(path, allow_pickle=False) as arrays:
      weights = tuple(arrays[name] for name in model.weight_names)
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise UsageError(f'{path}: is damaged, or is not the model of its run ({error})') from error
  for name, found, expected in zip(model.weight_names, weights, model.initial_weights[0]):
    if found.shape != expected.shape or found.dtype != expected.dtype:
      raise UsageError(
        f'{path}: is not the model of its run ({name} is {found.dtype}{list(found.shape)})'
      )
  return weights


def _last_progress(
  folder: pathlib.Path, process: process_lib.FederatedProcess, round_num: int
) -> loop_lib.Progress:
  """Where the run stood after its last round, with the states of its clients."""
  states = client_states_lib.build(process, folder)
  checkpoint = checkpoints.CheckpointStore(folder, keep=1, client_states=states).restore()
  if checkpoint is None or checkpoint.round_num != round_num:
    raise UsageError(
      f"--run={folder.parent}: the checkpoint of round {round_num}, which holds the clients' own "
      'models, is missing or damaged'
    )
  return loop_lib.from_checkpoint(process, checkpoint, states)


def _write(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
  columns = rows[0] if rows else ['round']
  atomic_files.write_atomically(path, tables.to_csv(list(columns), rows).encode())
