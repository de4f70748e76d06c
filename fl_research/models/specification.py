"""What a model is asked to fit: shapes, types and the problem, without importing TensorFlow."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, Optional, Union

import numpy as np

from fl_research.datasets import federated_data
from fl_research.datasets.federated_data import Problem
from fl_research.registry import UsageError

# Problems with one answer per example, as opposed to one per token or a whole example.
_ONE_ANSWER = {
  Problem.CLASSIFICATION,
  Problem.BINARY,
  Problem.MULTILABEL,
  Problem.REGRESSION,
}


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """The data a model must accept and the answers it must give.

  Attributes:
    input_shape: shape of one example's x.
    x_dtype: type of x.
    label_shape: shape of one example's y.
    label_dtype: type of y.
    problem: what is predicted.
    num_classes: number of classes, tags or tokens; 1 for regression.
    vocabulary_size: sizes of the tables of ids in x, `(users, items)`; None for other data.
    inputs: what the positions of a vector x are, where they came from columns of a table.
    label_scale: the unit of the numbers that are predicted; None for what is learnt as it is.
    class_weights: what an example counts in the training loss, by its class: float32 [classes], of
      binary problems [2], of tags [tags, 2] (without the tag, with it); None where all count 1.
    hyperparameters: the model's own settings that differ from its defaults, by name.
  """

  input_shape: tuple[int, ...]
  x_dtype: np.dtype
  label_shape: tuple[int, ...]
  label_dtype: np.dtype
  problem: Problem
  num_classes: int
  vocabulary_size: Optional[tuple[int, ...]] = None
  inputs: Optional[tuple[federated_data.InputColumn, ...]] = None
  label_scale: Optional[federated_data.LabelScale] = None
  class_weights: Optional[np.ndarray] = None
  hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @classmethod
  def from_data(
    cls,
    data: Union[federated_data.PooledData, federated_data.FederatedData],
    hyperparameters: Optional[Mapping[str, Any]] = None,
  ) -> 'ModelSpec':
    """The specification that a data set implies.

    Only one client is read, however many there are.

    Raises:
      UsageError: the data set has no training examples.
    """
    examples = _some_examples(data)
    return cls(
      input_shape=tuple(examples['x'].shape[1:]),
      x_dtype=examples['x'].dtype,
      label_shape=tuple(examples['y'].shape[1:]),
      label_dtype=examples['y'].dtype,
      problem=data.problem,
      num_classes=data.num_classes,
      vocabulary_size=data.vocabulary_size,
      inputs=data.inputs,
      label_scale=data.label_scale,
      hyperparameters=dict(hyperparameters or {}),
    )

  def to_data(self) -> dict[str, Any]:
    """All that decides the model and its answers, as JSON has it; not the weights of classes."""
    return {
      'input_shape': list(self.input_shape),
      'x_dtype': np.dtype(self.x_dtype).name,
      'label_shape': list(self.label_shape),
      'label_dtype': np.dtype(self.label_dtype).name,
      'problem': self.problem.value,
      'num_classes': self.num_classes,
      'vocabulary_size': self.vocabulary_size and list(self.vocabulary_size),
      'inputs': self.inputs and [dataclasses.asdict(column) for column in self.inputs],
      'label_scale': self.label_scale and self.label_scale.to_data(),
      'hyperparameters': dict(self.hyperparameters),
    }

  @classmethod
  def from_stored(cls, data: Mapping[str, Any]) -> 'ModelSpec':
    """The specification whose `to_data` gave this."""
    scale, inputs, ids = data['label_scale'], data['inputs'], data['vocabulary_size']
    return cls(
      input_shape=tuple(data['input_shape']),
      x_dtype=np.dtype(data['x_dtype']),
      label_shape=tuple(data['label_shape']),
      label_dtype=np.dtype(data['label_dtype']),
      problem=Problem(data['problem']),
      num_classes=data['num_classes'],
      vocabulary_size=ids and tuple(ids),
      inputs=inputs and tuple(federated_data.InputColumn(**column) for column in inputs),
      label_scale=scale and federated_data.LabelScale.from_data(scale),
      hyperparameters=data['hyperparameters'],
    )

  @property
  def output_units(self) -> int:
    """Width of the last layer: a logit per class, tag or token, or the numbers predicted."""
    if self.problem is Problem.BINARY:
      return 1
    if self.problem is Problem.REGRESSION:
      return int(np.prod(self.label_shape))
    if self.problem is Problem.RECONSTRUCTION:
      return int(np.prod(self.input_shape))
    return self.num_classes

  def describe(self) -> str:
    """The data in a few words, for error messages: `float32 [28, 28, 1], classification`."""
    return f'{np.dtype(self.x_dtype).name} {list(self.input_shape)}, {self.problem.value}'

  @property
  def is_vector_like(self) -> bool:
    """Whether x is real-valued with one answer per example, so that any dense model fits."""
    return (
      np.dtype(self.x_dtype) == np.float32
      and len(self.input_shape) >= 1
      and self.problem in _ONE_ANSWER
    )

  def is_image_of(self, smallest: int) -> bool:
    """Whether x is a [height, width] or [height, width, channels] image of at least that side."""
    return (
      self.is_vector_like
      and len(self.input_shape) in (2, 3)
      and min(self.input_shape[:2]) >= smallest
    )

  @property
  def is_signal(self) -> bool:
    """Whether x is a [time, channels] signal."""
    return self.is_vector_like and len(self.input_shape) == 2

  @property
  def is_text(self) -> bool:
    """Whether x is a line of tokens and y the token after each of them."""
    return (
      np.dtype(self.x_dtype) == np.int32
      and len(self.input_shape) == 1
      and self.problem is Problem.NEXT_TOKEN
    )

  @property
  def is_rating(self) -> bool:
    """Whether x is a pair of ids and y a number."""
    return (
      self.problem is Problem.REGRESSION
      and np.dtype(self.x_dtype) == np.int32
      and self.input_shape == (2,)
      and not self.label_shape
      and self.vocabulary_size is not None
      and len(self.vocabulary_size) == 2
    )

  @property
  def has_identifiers(self) -> bool:
    """Whether x is a vector with columns of ids among its numbers."""
    ids = [column for column in self.inputs or () if column.vocabulary]
    return bool(ids) and len(self.input_shape) == 1 and self.problem in _ONE_ANSWER

  @property
  def is_reconstruction(self) -> bool:
    """Whether x is real-valued and its own label."""
    return self.problem is Problem.RECONSTRUCTION and np.dtype(self.x_dtype) == np.float32


@dataclasses.dataclass(frozen=True)
class Adapters:
  """Low-rank adapters, which are trained in the place of a model (see the module `lora`).

  Attributes:
    rank: r, at least 1.
    alpha: α; r when None.
    layers: names of layers that have some, separated by commas; all with a matrix when empty.
    freeze_a: whether the first factor stays as it was drawn.
  """

  rank: int
  alpha: Optional[float] = None
  layers: str = ''
  freeze_a: bool = False


@dataclasses.dataclass(frozen=True)
class Accepted:
  """The data that a model accepts: in words, and as a question."""

  words: str
  fits: Callable[[ModelSpec], bool]


ANY = Accepted('any examples', lambda spec: True)
VECTORS = Accepted(
  'float32 examples of any shape, with one answer each', lambda spec: spec.is_vector_like
)
TEXT = Accepted('lines of int32 tokens, to predict the next one at each', lambda spec: spec.is_text)
RATINGS = Accepted(
  'ratings: int32 pairs (user, item), to predict a number', lambda spec: spec.is_rating
)
IDENTIFIERS = Accepted(
  'vectors with columns of ids (a table with identifiers), with one answer each',
  lambda spec: spec.has_identifiers,
)
RECONSTRUCTION = Accepted(
  'float32 examples that are their own labels (reconstruction)',
  lambda spec: spec.is_reconstruction,
)


def images(smallest: int) -> Accepted:
  """Images of at least so many pixels a side."""
  return Accepted(
    f'float32 images [height, width(, channels)] of at least {smallest} x {smallest} pixels',
    lambda spec: spec.is_image_of(smallest),
  )


def spectrograms(smallest: int) -> Accepted:
  """Spectrograms of at least so many moments and bands."""
  return Accepted(
    f'float32 spectrograms [time, bands(, 1)] of at least {smallest} x {smallest}',
    lambda spec: spec.is_image_of(smallest),
  )


def signals(shortest: int) -> Accepted:
  """Signals of at least so many moments."""
  return Accepted(
    f'float32 signals [time, channels] of at least {shortest} moments',
    lambda spec: spec.is_signal and spec.input_shape[0] >= shortest,
  )


def _some_examples(
  data: Union[federated_data.PooledData, federated_data.FederatedData],
) -> federated_data.Examples:
  """Examples that show the shapes: the pool, or those of the first client that has any."""
  if isinstance(data, federated_data.PooledData):
    if len(data.train['x']):
      return data.train
  else:
    filled = np.flatnonzero(data.train.sizes)
    if len(filled):
      return data.train.examples(int(filled[0]))
  raise UsageError('the data set has no training examples')
