"""`tff.learning.algorithms.build_weighted_fed_avg` in all its configurations.

On TFF's own runtime as importing TFF sets it, or on one of this library's.

Data sets are made ahead of each round, outside its time, which favours TFF: its tutorials make
them inside.
"""

import collections
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from benchmarks import works
from fl_research import runtime

LOOPS = {
  'reduce': tff.learning.LoopImplementation.DATASET_REDUCE,
  'iterator': tff.learning.LoopImplementation.DATASET_ITERATOR,
}
"""The two ways in which TFF iterates over a client's batches; `reduce` is its default."""


def build(
  job: works.Job, *, model: str, loop: str, runtime_name: Optional[str] = None
) -> 'TffLearning':
  """The registry's entry point.

  Args:
    job: what to train.
    model: 'keras', a Keras model by `from_keras_model`, as in the tutorials; 'functional_keras',
      one by `functional_model_from_keras`; 'functional', our own functional model.
    loop: one of `LOOPS`.
    runtime_name: one of `runtime.NAMES`, as its user would set it; None for what TFF itself sets.
  """
  if runtime_name:
    runtime.set_context(runtime_name)
  return TffLearning(job, model, loop)


class TffLearning:
  """TFF's federated averaging, run round by round; arguments as `build`'s."""

  def __init__(self, job: works.Job, model: str, loop: str):
    self._job = job
    self._datasets: dict[int, list[tf.data.Dataset]] = {}
    self._process = tff.learning.algorithms.build_weighted_fed_avg(
      tff_model(job, model),
      client_optimizer_fn=tff.learning.optimizers.build_sgdm(job.work.learning_rate),
      server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
      loop_implementation=LOOPS[loop],
    )
    weights = tff.learning.models.ModelWeights(list(job.build_model().initial_weights[0]), [])
    self._state = self._process.set_model_weights(self._process.initialize(), weights)

  def prepare(self, round_num: int) -> None:
    """Makes the round's data sets."""
    self._datasets[round_num] = [
      self._dataset(round_num, int(client)) for client in self._job.cohort(round_num)
    ]

  def round(self, round_num: int) -> None:
    """One round."""
    output = self._process.next(self._state, self._datasets.pop(round_num))
    self._state = output.state

  def weights(self) -> tuple[np.ndarray, ...]:
    """The global model."""
    return tuple(np.asarray(w) for w in self._process.get_model_weights(self._state).trainable)

  def facts(self) -> dict[str, Any]:
    """Nothing more to say."""
    return {}

  def _dataset(self, round_num: int, client: int) -> tf.data.Dataset:
    order = self._job.order(round_num, client)
    examples = self._job.clients.examples(client)
    dataset = tf.data.Dataset.from_tensor_slices((examples['x'][order], examples['y'][order]))
    return dataset.batch(self._job.work.batch_size)


def tff_model(job: works.Job, kind: str):
  """The model in the form that TFF takes: a functional model, or a function that makes one."""
  ours = job.build_model()
  if kind == 'functional':
    return ours
  loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  accuracy = tf.keras.metrics.SparseCategoricalAccuracy
  if kind == 'functional_keras':
    metrics = lambda: collections.OrderedDict(accuracy=accuracy())
    return tff.learning.models.functional_model_from_keras(
      ours.keras_model(), loss, ours.input_spec, metrics
    )
  keras_model = ours.keras_model()

  def model_fn():
    copy = tf.keras.models.clone_model(keras_model)
    return tff.learning.models.from_keras_model(
      copy, loss=loss, input_spec=ours.input_spec, metrics=[accuracy()]
    )

  return model_fn
