"""A finished run's model, evaluated again from what its folder holds."""

from collections.abc import Callable, Mapping
import dataclasses
import pathlib
import types
from typing import Any, Optional
import zipfile

import numpy as np

from fl_research import registry
from fl_research.models import model as model_lib
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError
from fl_research.round import process as process_lib
from fl_research.settings import Settings
from fl_research.soundness import validation
from fl_research.training import (
  assembly,
  atomic_files,
  checkpoints,
  evaluation,
  final_answers,
  own_models,
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
PREFIX = 'evaluation_'
"""What the names of the other files begin with."""


@dataclasses.dataclass(frozen=True)
class Reevaluation:
  """What was found.

  Attributes:
    row: the evaluation columns of metrics.csv, `round` first.
    files: the CSVs that were written.
    answers: what the model answers, class by class, and the files that say so.
  """

  row: Mapping[str, Any]
  files: tuple[pathlib.Path, ...]
  answers: final_answers.FinalAnswers = final_answers.NONE


def evaluate(path: pathlib.Path, changes: Mapping[str, Any]) -> Reevaluation:
  """Evaluates the final model of a run, on all its test data and client by client.

  Writes `evaluation.csv`, one row with the evaluation columns of metrics.csv, and
  `evaluation_clients.csv`, with the columns of clients.csv, into the run's folder; also
  `evaluation_classes.csv` and so on, as `final_answers` has them.

  Args:
    path: the run's folder, absolute.
    changes: settings to change, by name, e.g. where the data are now.

  Raises:
    UsageError: there is no such run, it has no final model, or its data have changed.
  """
  manifest = run_folder.read_ended(path)
  settings, data, process = _again(path, manifest, changes)
  model = process.parts.model
  weights = _weights(path / 'model.npz', model)
  scored = assembly.build_evaluation(settings, process, data)
  personal = scored.own_models(process, settings)
  described = (path, settings, process, data, scored, weights)
  if personal is None:
    row, client_rows = scored.evaluate(weights)
    answers = final_answers.save(*described, prefix=PREFIX)
  else:
    progress = _last_progress(path / 'checkpoints', process, manifest['rounds'])
    at_the_end = personal.at(progress.state, progress.client_states)
    row, client_rows = scored.evaluate(weights, at_the_end)
    answers = final_answers.save(*described, progress.state, progress.client_states, PREFIX)
    if progress.client_states is not None:
      progress.client_states.close()
  row = {'round': manifest['rounds'], **{name: row.get(name) for name in scored.columns()}}
  files = (path / METRICS, path / CLIENTS)
  _write(files[0], [row])
  _write(files[1], [{'round': manifest['rounds'], **each} for each in client_rows])
  return Reevaluation(row, files, answers)


def _again(
  path: pathlib.Path, manifest: Mapping[str, Any], changes: Mapping[str, Any]
) -> tuple[Settings, run_data.RunData, process_lib.FederatedProcess]:
  """A run's settings, data and process, as they were."""
  settings = _settings(path, manifest, changes)
  assembly.set_runtime(settings, settings.jit)
  data = run_data.load(settings)
  run_folder.RunFolder(settings).check_data({'sources': data.sources, 'passport': data.passport})
  settings = data.decide(settings)
  model = assembly.build_model(settings, data.spec)
  return settings, data, assembly.build_process(settings, model, data)


def _settings(
  path: pathlib.Path, manifest: Mapping[str, Any], changes: Mapping[str, Any]
) -> Settings:
  settings = dataclasses.replace(
    run_folder.settings_of(manifest, path),
    output_dir=str(path.parent),
    experiment_name=path.name,
    **changes,
  )
  validation.validate(settings)
  return settings


def global_model(
  path: pathlib.Path, manifest: Mapping[str, Any], spec: ModelSpec
) -> tuple[model_lib.Model, tuple[np.ndarray, ...]]:
  """The model of a run that has ended, and its final weights; no data are read.

  Args:
    path: the run's folder, absolute.
    manifest: its manifest.
    spec: what the model takes and answers, as the run has kept it.

  Raises:
    UsageError: the weights are not those of this model, or none of them was trained.
  """
  settings = _settings(path, manifest, {})
  model = assembly.build_model(settings, spec)
  assembly.check_global_model(
    settings, model.weight_names, 'experiments.predict --client=… asks one of theirs'
  )
  return model, _weights(path / 'model.npz', model)


def personal_outputs(
  path: pathlib.Path, manifest: Mapping[str, Any], client: str, changes: Mapping[str, Any]
) -> Callable[[np.ndarray], np.ndarray]:
  """What a client of a run would answer: x [n, …] -> the raw outputs of its own model.

  Args:
    path: the run's folder, absolute.
    manifest: its manifest.
    client: the client's id.
    changes: settings to change, by name, e.g. where the data are now.

  Raises:
    UsageError: the run's method has no models of clients, or there is no such client, or the run's
      data or checkpoints are not there any more.
  """
  settings, data, process = _again(path, manifest, changes)
  ids = list(data.train.ids)
  if client not in ids:
    hint = registry.suggestion(client, dict.fromkeys(ids))
    raise UsageError(f'--client={client}: is none of the {len(ids)} clients that trained{hint}')
  personal = own_models.personal_evaluator(process, data.train, settings, answers=True)
  if personal is None:
    raise UsageError(
      f'--client={client}: with --algorithm={settings.algorithm} all clients use the global model; '
      'leave --client out'
    )
  progress = _last_progress(path / 'checkpoints', process, manifest['rounds'])
  position = ids.index(client)
  states: Optional[process_lib.ClientStates] = progress.client_states
  if progress.client_states is not None:
    own = progress.client_states.get([position])
    progress.client_states.close()
    states = types.SimpleNamespace(get=lambda positions: own)
  columns = personal.at(progress.state, states)
  labels = np.zeros(data.spec.label_shape, data.spec.label_dtype)

  def outputs(x: np.ndarray) -> np.ndarray:
    examples = {'x': x, 'y': np.repeat(labels[np.newaxis], len(x), axis=0)}
    (found,) = columns([position], evaluation.ExampleSet(examples))
    return np.stack(list(found.values()), axis=1)

  return outputs


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
