"""Tasks by name: a data set, and the models that can be trained on it.

Loss and metrics follow from the data set's `Problem` (see `fl_research.models.objectives` and
`fl_research.metrics`). Reading this table imports neither TensorFlow nor any data set.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Optional, Union

import numpy as np

from fl_research import datasets, registry
from fl_research.datasets import federated_data
from fl_research.datasets.federated_data import FederatedData, PooledData, Problem

Data = Union[PooledData, FederatedData]

_DENSE = ('softmax', '2nn', 'mlp')
_IMAGES = (*_DENSE, 'cnn', 'emnist_cnn')
_PICTURES = (*_IMAGES, 'resnet18_gn')
_CHARACTERS = ('char_lstm', 'word_lstm')


@dataclasses.dataclass(frozen=True)
class Task:
  """What `--task` names.

  Attributes:
    name: the name.
    dataset: the data set's name in `fl_research.datasets`.
    default_model: the model when `--model` is not given.
    models: all models that fit; for `tabular` and `npz`, those that can fit, as the user's own
      data decide.
    summary: one line for `--help`.
    prepare: what is done to the data set first; nothing when None.
  """

  name: str
  dataset: str
  default_model: str
  models: tuple[str, ...]
  summary: str
  prepare: Optional[Callable[[Data], Data]] = None

  def load(self, options: federated_data.DatasetOptions) -> Data:
    """Loads the data set; `UsageError` when its files are missing or damaged."""
    data = datasets.load(self.dataset, options)
    return data if self.prepare is None else self.prepare(data)


class _Reconstructed(federated_data.Clients):
  """Clients whose labels are their inputs, inverted and flat."""

  def __init__(self, clients: federated_data.Clients):
    self._clients = clients

  @property
  def ids(self):
    return self._clients.ids

  @property
  def sizes(self):
    return self._clients.sizes

  def examples(self, position):
    return _inverted(self._clients.examples(position))


def _inverted(examples: federated_data.Examples) -> federated_data.Examples:
  """x = y = 1 - pixels, flat, so that the background of a character is 0."""
  pixels = np.asarray(examples['x'])
  x = 1 - pixels.reshape(len(pixels), -1)
  return {'x': x, 'y': x}


def reconstruction(data: Data) -> Data:
  """The data set for an autoencoder: the label of an image is the image.

  Images are inverted, to 1 - pixels, and flattened, as in the EMNIST autoencoder task of Reddi et
  al. 2021, whose mean squared error is only comparable on these inputs.
  """
  if isinstance(data, PooledData):
    return dataclasses.replace(
      data,
      train=_inverted(data.train),
      test=_inverted(data.test),
      problem=Problem.RECONSTRUCTION,
      num_classes=1,
    )
  return dataclasses.replace(
    data,
    train=_Reconstructed(data.train),
    test=_inverted(data.test),
    test_clients=None if data.test_clients is None else _Reconstructed(data.test_clients),
    problem=Problem.RECONSTRUCTION,
    num_classes=1,
  )


def centred(data: Data) -> Data:
  """The data set with pixels from -0.5 to 0.5, as TensorFlow's MNIST tutorial of 2016 had them.

  Raises:
    TypeError: the examples have owners already; no task asks for that.
  """
  if not isinstance(data, PooledData):
    raise TypeError('centred is for pooled data')
  shifted = lambda examples: {**examples, 'x': np.asarray(examples['x']) - np.float32(0.5)}
  return dataclasses.replace(data, train=shifted(data.train), test=shifted(data.test))


def _table(*tasks: Task) -> Mapping[str, Task]:
  return {task.name: task for task in tasks}


def _task(name: str, default_model: str, models: tuple[str, ...], summary: str) -> Task:
  """A task of a data set of the same name, as it is."""
  return Task(name, name, default_model, models, summary)


TASKS = _table(
  _task('digits', 'softmax', _IMAGES, '8x8 handwritten digits, embedded; needs no download'),
  _task('mnist', '2nn', _IMAGES, 'handwritten digits, 28x28'),
  Task('mnist_centred', 'mnist', '2nn', _IMAGES, 'MNIST with pixels from -0.5 to 0.5', centred),
  _task('fashion_mnist', '2nn', _IMAGES, 'articles of clothing, 28x28'),
  _task('cifar10', 'cnn', _PICTURES, 'photographs of 10 classes, 32x32'),
  _task('cifar100', 'cnn', _PICTURES, 'photographs of 100 classes, 32x32'),
  _task('tff_cifar100', 'cnn', _PICTURES, 'CIFAR-100 by 500 clients (pachinko)'),
  _task('emnist', 'emnist_cnn', _IMAGES, 'handwritten characters by writer, 28x28'),
  Task(
    'emnist_autoencoder',
    'emnist',
    'autoencoder',
    ('autoencoder',),
    'reconstruction of handwritten characters by writer',
    reconstruction,
  ),
  _task('celeba', 'cnn', _PICTURES, 'faces by celebrity: smiling or not'),
  _task('omniglot', 'cnn', _IMAGES, 'characters of 50 alphabets by drawer'),
  _task('shakespeare', 'char_lstm', _CHARACTERS, 'next character of a role in a play'),
  _task('tff_shakespeare', 'char_lstm', _CHARACTERS, 'next character by role, as TFF has it'),
  _task('stackoverflow', 'word_lstm', _CHARACTERS, 'next word of a Stack Overflow user'),
  _task('stackoverflow_tags', 'softmax', _DENSE, 'tags of a Stack Overflow question'),
  _task('uci_har', 'cnn1d', (*_DENSE, 'cnn1d'), "activity from a phone's sensors, by subject"),
  _task('spoken_digits', 'logmel_cnn', (*_IMAGES, 'logmel_cnn'), 'spoken digits, by speaker'),
  _task('heart_disease', 'softmax', _DENSE, 'heart disease, by hospital'),
  _task('credit_default', 'mlp', _DENSE, 'default of credit card holders'),
  _task('movielens', 'matrix_factorization', ('matrix_factorization',), 'film ratings, by user'),
  _task('synthetic', 'softmax', _DENSE, 'synthetic(alpha, beta) of FedProx'),
  _task('synthetic_iid', 'softmax', _DENSE, 'synthetic IID of FedProx'),
  _task('feddyn_synthetic', 'softmax', _DENSE, 'synthetic data of FedDyn'),
  _task('leaf_synthetic', 'softmax', _DENSE, 'synthetic data of LEAF'),
  _task('tabular', 'mlp', _DENSE, 'your own CSV or Parquet file (--data_file)'),
  _task(
    'npz',
    'mlp',
    (*_PICTURES, 'cnn1d', 'logmel_cnn', *_CHARACTERS),
    'your own folder of .npz files, one per client (--data_file)',
  ),
)
"""Every task by name."""

NAMES = tuple(sorted(TASKS))
"""Names that `get_task` knows."""


def get_task(name: str) -> Task:
  """The task of that name; `UsageError` naming the nearest one when there is none."""
  return registry.lookup('task', name, TASKS)
