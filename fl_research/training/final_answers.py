"""What a run's final model answers on its headline's test examples, in files beside metrics.csv.

- `classes.csv`, `confusion.csv`, and up to 30 classes `confusion.png`, for classes and tags: see
  `by_class.ByClass`.
- `numbers.csv` where several numbers are predicted: each one's RMSE, MAE and R² in its own unit.

The examples are the central test set; for methods whose clients have models of their own, each
client's test examples, answered by its own model. Where these may not be evaluated
(`--private_metrics=withhold`), nothing is written.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any, Optional

import numpy as np
import pandas as pd

from fl_research.datasets.federated_data import Problem
from fl_research.models.specification import ModelSpec
from fl_research.round import process as process_lib
from fl_research.settings import Settings
from fl_research.training import (
  atomic_files,
  by_class,
  confusion_picture,
  evaluation,
  model_evaluation,
  own_models,
)
from fl_research.training.run_data import RunData


@dataclasses.dataclass(frozen=True)
class FinalAnswers:
  """What was found.

  Attributes:
    figures: lines of the summary, by name.
    complaint: what a person must see; empty where there is nothing.
    files: what was written.
  """

  figures: dict[str, str]
  complaint: str
  files: tuple[pathlib.Path, ...]


NONE = FinalAnswers({}, '', ())
"""Of problems without classes, and where nothing may be evaluated."""


def save(
  path: pathlib.Path,
  settings: Settings,
  process: process_lib.FederatedProcess,
  data: RunData,
  scored: model_evaluation.ModelEvaluation,
  weights: Sequence[Any],
  state: Any = None,
  client_states: Optional[process_lib.ClientStates] = None,
  prefix: str = '',
) -> FinalAnswers:
  """Lets the model answer, and writes the files.

  Args:
    path: the run's folder.
    settings: the run's settings.
    process: the method.
    data: the run's data.
    scored: what is evaluated.
    weights: the global model.
    state, client_states: S and the T, for methods whose clients have models of their own.
    prefix: what the files' names begin with.
  """
  if not _are_told(data.spec):
    return NONE
  answered = _answers(settings, process, data, scored, weights, state, client_states)
  if answered is None or not len(answered[1]):
    return NONE
  weighted = settings.class_weighting != 'none'
  return tell(path, data.spec, data.class_names, *answered, weighted=weighted, prefix=prefix)


def tell(
  path: pathlib.Path,
  spec: ModelSpec,
  class_names: Sequence[str],
  outputs: np.ndarray,
  labels: np.ndarray,
  *,
  weighted: bool = False,
  prefix: str = '',
) -> FinalAnswers:
  """Writes the files about some answers.

  Args:
    path: the run's folder.
    spec: what the model answers.
    class_names: names of its classes or tags; empty without names.
    outputs: raw outputs [n, k], n at least 1.
    labels: the n labels.
    weighted: whether training weighted classes.
    prefix: what the files' names begin with.
  """
  if not _are_told(spec):
    return NONE
  if spec.problem is Problem.REGRESSION:
    names = by_class.names_of(spec.label_scale.names if spec.label_scale else (), outputs.shape[1])
    return _save_numbers(path / f'{prefix}numbers.csv', by_class.by_number(outputs, labels, names))
  names = by_class.names_of(class_names, 2 if spec.problem is Problem.BINARY else spec.num_classes)
  found = by_class.by_class(spec.problem, outputs, labels, names)
  files = [path / f'{prefix}classes.csv', path / f'{prefix}confusion.csv']
  _write(files[0], found.table)
  _write(files[1], found.confusion.rename_axis(found.kind).reset_index())
  if by_class.confused_names(found):
    files.append(path / f'{prefix}confusion.png')
    confusion_picture.save(found.confusion, files[-1])
  complaint = by_class.complaint(found, weighted)
  return FinalAnswers(by_class.figures(found), complaint, tuple(files))


def _are_told(spec: ModelSpec) -> bool:
  """Whether there is more to say of the answers than the columns of metrics.csv do."""
  several = spec.problem is Problem.REGRESSION and len(spec.label_shape) > 0
  return several or spec.problem in by_class.PROBLEMS


def _answers(
  settings: Settings,
  process: process_lib.FederatedProcess,
  data: RunData,
  scored: model_evaluation.ModelEvaluation,
  weights: Sequence[Any],
  state: Any,
  client_states: Optional[process_lib.ClientStates],
) -> Optional[tuple[np.ndarray, np.ndarray]]:
  """Outputs [n, …] and labels; None where nothing is evaluated."""
  personal = own_models.personal_evaluator(process, data.train, settings, answers=True)
  if personal is not None:
    return scored.own_answers(personal.at(state, client_states))
  return scored.answers(evaluation.Evaluator(process.parts.model, answers=True), weights)


def _save_numbers(file: pathlib.Path, table: pd.DataFrame) -> FinalAnswers:
  _write(file, table)
  rows = table.head(by_class.MOST_NUMBERS).iterrows()
  return FinalAnswers(
    {f'{row["number"]}': f'rmse {row["rmse"]:.4g}, r2 {row["r2"]:.4f}' for _, row in rows},
    '',
    (file,),
  )


def _write(file: pathlib.Path, table: pd.DataFrame) -> None:
  atomic_files.write_atomically(file, table.to_csv(index=False, lineterminator='\n').encode())
