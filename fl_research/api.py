"""Experiments in Python: the objects that the binaries use, without flags and without a folder.

    import fl_research as fl

    data = fl.from_table(rows, label='sick', client='hospital')
    experiment = fl.experiment(data, algorithm='fedprox', fedprox_mu=0.1)
    experiment.run(rounds=5)          # a DataFrame, a row per round: the columns of metrics.csv
    experiment.predict(new_rows)      # a DataFrame: classes and probabilities, or numbers

Whatever changes what `experiments.train` computes is a keyword of `experiment`, by the name of its
flag and with its default.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import os
from typing import Any, Optional, Union

import numpy as np
import pandas as pd

from fl_research import registry, tasks
from fl_research import settings as settings_lib
from fl_research.datasets.federated_data import FederatedData, PooledData
from fl_research.models import own
from fl_research.registry import UsageError
from fl_research.soundness import validation

_MANY_ROUNDS = 10**6
_OF_A_FOLDER = (
  'experiment_name',
  'output_dir',
  'clients_csv',
  'rounds_per_checkpoint',
  'checkpoints_to_keep',
  'tensorboard',
)


def experiment(
  data: Union[str, FederatedData, PooledData], model: Any = None, **settings: Any
) -> 'Experiment':
  """An experiment on some data, before its first round; nothing is written anywhere.

  Args:
    data: whose examples: those of a task, by name (`'digits'`), or what `from_table`,
      `from_arrays`, `from_datasets` or `import_data` gave: `FederatedData` (examples have owners)
      or `PooledData` (dealt out as `partition` and `num_clients` say).
    model: the model's name, a file as `--model` has it, a `tf.keras.Model`, which brings its
      weights along, or a function of the `ModelSpec` that returns one; the data's own when None.
    **settings: flags of `experiments.train` by name, hyperparameters of methods among them;
      `algorithm` may also be a function that builds a `tff.learning` process (docs/extending.md);
      `total_rounds` need not be given, but for differential privacy, which is spent on all rounds.

  Raises:
    UsageError: a setting does not exist, is outside its domain, unsound together with others, or
      does not fit the data; one line that names the flag.
  """
  algorithm = settings.get('algorithm', '')
  if not isinstance(algorithm, str) and not callable(algorithm):
    raise UsageError(
      f'algorithm: is of type {type(algorithm).__name__}; accepted are a name, a file '
      '(my_process.py:build), and a function that builds a tff.learning process'
    )
  with contextlib.ExitStack() as names:
    if not isinstance(algorithm, str):
      settings = {**settings, 'algorithm': names.enter_context(own.in_memory(algorithm))}
    if model is not None and not isinstance(model, str):
      model = names.enter_context(own.in_memory(model))
    made = Experiment(data, model=model or '', **settings)
  return made


class Experiment:
  """A model, clients with their examples, and a method; see `experiment` for the arguments.

  The same settings on the same data give the rows of the metrics.csv of `experiments.train`.

  Attributes:
    settings: all settings, `fl_research.settings.Settings`.
    data: who trains and is evaluated on what, `fl_research.training.run_data.RunData`.
    model: the `tff.learning.models.FunctionalModel`, at its initial weights.
    process: the method's TFF computations, `fl_research.round.process.FederatedProcess`.
  """

  def __init__(self, data: Union[str, FederatedData, PooledData], **settings: Any):
    # What is wrong with the settings is said before TensorFlow is imported.
    self.settings = _settings(data, settings)
    if isinstance(data, str):
      data_of_run = None
    else:
      from fl_research.training import run_data

      data_of_run = run_data.of(data, self.settings)
    from fl_research.training import assembly, client_states, loop

    built = assembly.build(self.settings, data_of_run, self.settings.jit)
    self.data, self.model, self.process = built.data, built.model, built.process
    self._context, self._loop = built.context, built.loop
    self._progress = loop.start(self.process, client_states.build(self.process))
    self._rows: list[dict[str, Any]] = []
    self._client_rows: list[dict[str, Any]] = []

  def run(self, rounds: Optional[int] = None) -> pd.DataFrame:
    """Trains so many rounds more, and gives `metrics` up to there.

    Args:
      rounds: how many; up to `total_rounds` when None. Fewer where `target_value`, `patience` or
        divergence end the run before, which `stopped` then says.

    Raises:
      UsageError: neither `rounds` nor `total_rounds` was given.
    """
    if rounds is None and self.settings.total_rounds == _MANY_ROUNDS:
      raise UsageError('run: say how many rounds, or give total_rounds to the experiment')
    if rounds is not None and (not isinstance(rounds, (int, np.integer)) or rounds < 1):
      raise UsageError(f'run(rounds={rounds}): accepted is an integer from 1')
    import tensorflow_federated as tff

    from fl_research.training import terminal

    last = self.settings.total_rounds if rounds is None else self.rounds + rounds
    last = min(last, self.settings.total_rounds)
    recorder = _recorder(self._rows, self._client_rows, lambda: self.rounds >= last)
    with tff.framework.get_context_stack().install(self._context):
      self._loop.run(self._progress, [recorder, terminal.Complaints()])
    return self.metrics

  @property
  def rounds(self) -> int:
    """How many rounds have been trained."""
    return self._progress.round_num

  @property
  def stopped(self) -> str:
    """Why training has ended before its last round; empty while it has not."""
    return self._progress.stopped

  @property
  def metrics(self) -> pd.DataFrame:
    """A row per round, row 0 being the untrained model: the columns of metrics.csv.

    Numbers that are counted have the nullable type Int64; they are missing in row 0.
    """
    return _frame(self._rows)

  @property
  def client_metrics(self) -> pd.DataFrame:
    """The rows of clients.csv: `round, client_id, phase, num_examples, metric, value`."""
    return pd.DataFrame(self._client_rows)

  @property
  def weights(self) -> dict[str, np.ndarray]:
    """The global model's weights by name; the first model's where a method has several."""
    return dict(zip(self.model.weight_names, self.process.model_weights(self._progress.state)))

  def keras_model(self):
    """The global model as a `tf.keras.Model` of stock layers."""
    return self.model.keras_model((tuple(self.weights.values()), ()))

  def predict(self, examples: Union[pd.DataFrame, np.ndarray]) -> pd.DataFrame:
    """The global model's answers, a row per example; columns as `fl_research.training.answers`.

    Args:
      examples: where the data came from a table, rows with its columns (labels need not be there);
        else x [n, …], as the data had it: levels of uint8 pictures are divided by 255.

    Raises:
      UsageError: they are not of that form; one line.
    """
    from fl_research.training import answers, assembly

    x = self._as_x(examples)
    names = self.model.weight_names
    assembly.check_global_model(
      self.settings, names, 'experiments.predict --client=… asks that of a run'
    )
    weights = tuple(self.weights[name] for name in names)
    outputs = self.model.predict_on_batch((weights, ()), x, training=False)
    return answers.to_table(self.model.spec, self.data.class_names, outputs.numpy())

  def _as_x(self, examples: Union[pd.DataFrame, np.ndarray]) -> np.ndarray:
    from fl_research.importing.preprocessing import Preprocessing
    from fl_research.training import new_arrays

    spec = self.model.spec
    if isinstance(examples, pd.DataFrame):
      if self.data.preprocessing.get('form') != 'table':
        raise UsageError('predict: the data came from no table; give x as an array')
      return Preprocessing.from_data(self.data.preprocessing).transform(examples)
    return new_arrays.to_x(np.asarray(examples), spec, self.data.preprocessing, 'predict')

  def learning_process(self):
    """The method as a `tff.learning.templates.LearningProcess`, for a loop of one's own.

    Clients are data sets of batches there; see `fl_research.round.learning_process`.

    Raises:
      UsageError: the method needs more of a round than that.
    """
    from fl_research.round import learning_process

    return learning_process.to_learning_process(self.process)


def _settings(data: Any, given: Mapping[str, Any]) -> settings_lib.Settings:
  """The checked settings."""
  known = dict.fromkeys(set(settings_lib.flag_types()) - {'task', *_OF_A_FOLDER})
  for name in given:
    if name in _OF_A_FOLDER:
      raise UsageError(f'{name}: an Experiment writes nothing; experiments.train has --{name}')
    if name not in known:
      raise UsageError(f'{name}: there is no such setting{registry.suggestion(name, known)}')
  if not isinstance(data, (str, FederatedData, PooledData)):
    raise UsageError(
      f"experiment: data is of type {type(data).__name__}; accepted are a task's name, and what "
      'from_table, from_arrays, from_datasets and import_data give'
    )
  task = data if isinstance(data, str) else ''
  if os.path.exists(task) and task not in tasks.TASKS:
    raise UsageError(f'experiment: {task} is a file; give import_data({task!r}, …)')
  settings = settings_lib.from_flags(
    {'total_rounds': _MANY_ROUNDS, **given, 'task': task, 'experiment_name': 'in memory'}
  )
  if settings.is_private and 'total_rounds' not in given:
    raise UsageError('total_rounds: must be given under differential privacy, which it is spent on')
  validation.validate(settings, data_are_there=not task)
  return settings


def _recorder(rows: list, client_rows: list, enough: Callable[[], bool]):
  """An observer of the loop that keeps what it tells, and pauses when that is enough."""
  from fl_research.training import observer

  class Recorder(observer.Observer):
    def row(self, row: dict[str, Any]) -> None:
      rows.append(row)

    def client_rows(self, new: list[dict[str, Any]]) -> None:
      client_rows.extend(new)

    def reason_to_pause(self) -> str:
      return 'enough rounds' if enough() else ''

  return Recorder()


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
  """Rows as a table in which whole numbers stay whole though some are missing."""
  frame = pd.DataFrame(rows)
  for name in frame:
    values = [row[name] for row in rows if row[name] is not None]
    if values and all(isinstance(value, (int, np.integer)) for value in values):
      frame[name] = frame[name].astype('Int64')
  return frame
