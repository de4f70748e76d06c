"""A run's final model, evaluated on a file of the user's own."""

from collections.abc import Mapping
import pathlib
from typing import Any, Optional

import numpy as np

from fl_research import metrics
from fl_research.datasets.federated_data import Problem
from fl_research.importing import dialect
from fl_research.registry import UsageError
from fl_research.training import (
  atomic_files,
  final_answers,
  prediction,
  reevaluation,
  run_folder,
  stored_data,
  tables,
)


def evaluate(
  run: pathlib.Path,
  data_file: str,
  given: dialect.Given,
  client: str = '',
  changes: Optional[Mapping[str, Any]] = None,
) -> reevaluation.Reevaluation:
  """Lets the model answer to the file's examples, and compares with their labels.

  Writes `evaluation_<file>.csv`, one row with `num_examples` and the problem's metrics, into the
  run's folder; also `evaluation_<file>_classes.csv` and so on, as `final_answers` has them.

  Args:
    run: the run's folder, absolute.
    data_file: a file that `prediction.predict` takes, with labels.
    given: what the user says of a CSV.
    client: whose model answers; the global one when empty.
    changes: settings to change, by name, where the data are read for a client's model.

  Raises:
    UsageError: there is no such run, client or file, or the file does not fit; one line.
  """
  manifest = run_folder.read_ended(run)
  stored = stored_data.load(run)
  # What is wrong with the file is said before TensorFlow is imported.
  parts = list(prediction.read(stored, data_file, given, labels=True))
  if not parts:
    raise UsageError(f'--data_file={data_file}: has no rows')
  answer = prediction.outputs_of(run, manifest, stored, client, changes or {})
  outputs = np.concatenate([answer(part.x) for part in parts])
  labels = np.concatenate([part.y for part in parts if part.y is not None])
  row = {'num_examples': len(labels), **_metrics(stored, outputs, labels)}
  name = f'evaluation_{pathlib.Path(data_file).stem}'
  atomic_files.write_atomically(run / f'{name}.csv', tables.to_csv(list(row), [row]).encode())
  flat = outputs.reshape(len(outputs), -1)
  told = final_answers.tell(run, stored.spec, stored.class_names, flat, labels, prefix=f'{name}_')
  return reevaluation.Reevaluation(row, (run / f'{name}.csv',), told)


def _metrics(
  stored: stored_data.StoredData, outputs: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
  import tensorflow as tf

  from fl_research.models import objectives

  problem, shape = stored.spec.problem, stored.spec.label_shape
  own = {Problem.NEXT_TOKEN: (*shape, -1), Problem.RECONSTRUCTION: shape}
  shaped = outputs.reshape(len(outputs), *own.get(problem, (-1,)))
  columns = objectives.example_columns(problem, tf.constant(shaped), tf.constant(labels))
  arrays = {name: column.numpy() for name, column in columns.items()}
  return dict(metrics.summarise(problem, arrays, labels))
