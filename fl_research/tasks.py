"""Tasks by name: a data set, and the models that can be trained on it.

Loss and metrics follow from the data set's `Problem` (see `fl_research.models.objectives` and
`fl_research.metrics`). Reading this table imports neither TensorFlow nor any data set.
"""

from collections.abc import Mapping
import dataclasses
from typing import Union

from fl_research import registry
from fl_research.datasets.federated_data import DatasetOptions, FederatedData, PooledData

Data = Union[PooledData, FederatedData]

_DENSE = ('softmax', '2nn', 'mlp')
_IMAGES = (*_DENSE, 'cnn', 'emnist_cnn')
_PICTURES = (*_IMAGES, 'resnet18_gn')
_CHARACTERS = ('char_lstm', 'word_lstm')
_ANY = (*_PICTURES, 'cnn1d', 'logmel_cnn', *_CHARACTERS)
_TEXT = ('tokens', 'vocabulary_size')
_CSV = ('separator', 'decimal', 'encoding', 'header', 'missing')


@dataclasses.dataclass(frozen=True)
class Task(registry.Entry):
  """What `--task` names: a data set's line in the registry.

  Attributes:
    default_model: the model when `--model` is not given; empty where it depends on the user's own
      data (`models.usual`).
    models: all models that fit; for the user's own data those that can fit, as the data decide.
    files: patterns of its files in --data_dir; none for what needs no download.
    reads: the settings by which users name data of their own; other tasks do not read them.
    needs: those of them that must be given.
    makes_clients: whether it makes as many clients as `--num_clients` says.
  """

  default_model: str = ''
  models: tuple[str, ...] = ()
  files: tuple[str, ...] = ()
  reads: tuple[str, ...] = ()
  needs: tuple[str, ...] = ()
  makes_clients: bool = False


TASKS: Mapping[str, Task] = {
  'digits': Task(
    'fl_research.datasets.digits',
    '8x8 handwritten digits, embedded; needs no download',
    default_model='softmax',
    models=_IMAGES,
  ),
  'mnist': Task(
    'fl_research.datasets.mnist',
    'handwritten digits, 28x28',
    default_model='2nn',
    models=_IMAGES,
    files=('mnist/*',),
  ),
  'mnist_centred': Task(
    'fl_research.datasets.mnist_centred',
    'MNIST with pixels from -0.5 to 0.5',
    default_model='2nn',
    models=_IMAGES,
    files=('mnist/*',),
  ),
  'fashion_mnist': Task(
    'fl_research.datasets.fashion_mnist',
    'articles of clothing, 28x28',
    default_model='2nn',
    models=_IMAGES,
    files=('fashion_mnist/*', '/usr/share/datasets/fashion-mnist/*'),
  ),
  'cifar10': Task(
    'fl_research.datasets.cifar10',
    'photographs of 10 classes, 32x32',
    default_model='cnn',
    models=_PICTURES,
    files=('cifar/cifar-10-binary.tar.gz',),
  ),
  'cifar100': Task(
    'fl_research.datasets.cifar100',
    'photographs of 100 classes, 32x32',
    default_model='cnn',
    models=_PICTURES,
    files=('cifar/cifar-100-binary.tar.gz',),
  ),
  'tff_cifar100': Task(
    'fl_research.datasets.tff_cifar100',
    'CIFAR-100 by 500 clients (pachinko)',
    default_model='cnn',
    models=_PICTURES,
    files=('tff/cifar100.sqlite',),
  ),
  'emnist': Task(
    'fl_research.datasets.emnist',
    'handwritten characters by writer, 28x28',
    default_model='emnist_cnn',
    models=_IMAGES,
    files=('tff/emnist_all.sqlite',),
  ),
  'emnist_autoencoder': Task(
    'fl_research.datasets.emnist_autoencoder',
    'reconstruction of handwritten characters by writer',
    default_model='autoencoder',
    models=('autoencoder',),
    files=('tff/emnist_all.sqlite',),
  ),
  'celeba': Task(
    'fl_research.datasets.celeba',
    'faces by celebrity: smiling or not',
    default_model='cnn',
    models=_PICTURES,
    files=('tff/celeba.sqlite',),
  ),
  'omniglot': Task(
    'fl_research.datasets.omniglot',
    'characters of 50 alphabets by drawer',
    default_model='cnn',
    models=_IMAGES,
    files=('omniglot/*',),
  ),
  'shakespeare': Task(
    'fl_research.datasets.shakespeare',
    'next character of a role in a play',
    default_model='char_lstm',
    models=_CHARACTERS,
    files=('shakespeare/*',),
  ),
  'tff_shakespeare': Task(
    'fl_research.datasets.tff_shakespeare',
    'next character by role, as TFF has it',
    default_model='char_lstm',
    models=_CHARACTERS,
    files=('tff/shakespeare.sqlite',),
  ),
  'stackoverflow': Task(
    'fl_research.datasets.stackoverflow',
    'next word of a Stack Overflow user',
    default_model='word_lstm',
    models=_CHARACTERS,
    files=('tff/stackoverflow.sqlite',),
  ),
  'stackoverflow_tags': Task(
    'fl_research.datasets.stackoverflow_tags',
    'tags of a Stack Overflow question',
    default_model='softmax',
    models=_DENSE,
    files=('tff/stackoverflow.sqlite',),
  ),
  'uci_har': Task(
    'fl_research.datasets.uci_har',
    "activity from a phone's sensors, by subject",
    default_model='cnn1d',
    models=(*_DENSE, 'cnn1d'),
    files=('uci_har/*',),
  ),
  'spoken_digits': Task(
    'fl_research.datasets.spoken_digits',
    'spoken digits, by speaker',
    default_model='logmel_cnn',
    models=(*_IMAGES, 'logmel_cnn'),
    files=('free_spoken_digits/*',),
  ),
  'heart_disease': Task(
    'fl_research.datasets.heart_disease',
    'heart disease, by hospital',
    default_model='softmax',
    models=_DENSE,
    files=('heart_disease/*',),
  ),
  'credit_default': Task(
    'fl_research.datasets.credit_default',
    'default of credit card holders',
    default_model='mlp',
    models=_DENSE,
    files=('credit_default/*',),
  ),
  'adult': Task(
    'fl_research.datasets.adult',
    'income of adults, by doctorate',
    default_model='softmax',
    models=_DENSE,
    files=('adult/*',),
  ),
  'movielens': Task(
    'fl_research.datasets.movielens',
    'film ratings, by user',
    default_model='matrix_factorization',
    models=('matrix_factorization',),
    files=('movielens/*',),
  ),
  'synthetic': Task(
    'fl_research.datasets.synthetic',
    'synthetic(alpha, beta) of FedProx',
    default_model='softmax',
    models=_DENSE,
    makes_clients=True,
  ),
  'synthetic_iid': Task(
    'fl_research.datasets.synthetic_iid',
    'synthetic IID of FedProx',
    default_model='softmax',
    models=_DENSE,
    makes_clients=True,
  ),
  'feddyn_synthetic': Task(
    'fl_research.datasets.feddyn_synthetic',
    'synthetic data of FedDyn',
    default_model='softmax',
    models=_DENSE,
    makes_clients=True,
  ),
  'leaf_synthetic': Task(
    'fl_research.datasets.leaf_synthetic',
    'synthetic data of LEAF',
    default_model='softmax',
    models=_DENSE,
    makes_clients=True,
  ),
  'tabular': Task(
    'fl_research.importing.tabular',
    'your own CSV or Parquet file, or a folder of them (--data_file)',
    models=(*_DENSE, 'factorization'),
    reads=(
      'data_file',
      'client_column',
      'label_column',
      'columns',
      *_CSV,
    ),
    needs=('data_file',),
  ),
  'npz': Task(
    'fl_research.importing.npz_files',
    'your own .npz files, one per client or one with a client array (--data_file)',
    models=_ANY,
    needs=('data_file',),
    reads=(
      'data_file',
      'client_column',
      'label_column',
    ),
  ),
  'images': Task(
    'fl_research.importing.images',
    'your own pictures in folders by class, by client and class (--data_file)',
    default_model='cnn',
    models=_PICTURES,
    needs=('data_file',),
    reads=(
      'data_file',
      'folder_levels',
      'image_size',
      'image_colour',
    ),
  ),
  'text': Task(
    'fl_research.importing.text',
    'your own text by author: folders of .txt files, or a table (--data_file)',
    models=_CHARACTERS,
    needs=('data_file',),
    reads=(
      'data_file',
      'client_column',
      'text_column',
      *_TEXT,
      *_CSV,
    ),
  ),
  'windows': Task(
    'fl_research.importing.windows',
    'windows of your own time series in a table (--data_file)',
    default_model='cnn1d',
    models=(*_DENSE, 'cnn1d'),
    needs=(
      'data_file',
      'client_column',
      'label_column',
      'window_length',
    ),
    reads=(
      'data_file',
      'client_column',
      'label_column',
      'window_length',
      'window_stride',
      'window_label',
      'time_column',
      *_CSV,
    ),
  ),
  'idx': Task(
    'fl_research.importing.idx_files',
    'your own IDX files of examples and labels (--data_file)',
    models=_PICTURES,
    needs=('data_file',),
    reads=('data_file',),
  ),
  'leaf': Task(
    'fl_research.importing.leaf',
    "your own JSON files in LEAF's form (--data_file)",
    models=_ANY,
    needs=('data_file',),
    reads=(
      'data_file',
      *_TEXT,
    ),
  ),
  'tff_files': Task(
    'fl_research.importing.tff_files',
    "your own HDF5 or SQLite files in TFF's form (--data_file)",
    models=_ANY,
    needs=('data_file',),
    reads=(
      'data_file',
      'label_column',
      *_TEXT,
    ),
  ),
  'imported': Task(
    'fl_research.importing.store',
    'a folder that experiments.import_data wrote (--data_file)',
    models=_ANY,
    needs=('data_file',),
    reads=('data_file',),
  ),
}
"""Every task: the name users type, the data set's module, the models that fit it.

The module has `load(options)`, which takes `DatasetOptions` and returns `PooledData` or
`FederatedData`.
"""

NAMES = tuple(sorted(TASKS))
"""Names that users type."""

_GIVEN = Task(
  '',
  'data that a Python program brings',
  models=tuple(sorted({model for task in TASKS.values() for model in task.models})),
)


def get_task(name: str) -> Task:
  """The task of that name; `UsageError` naming the nearest one when there is none.

  Data that a Python program brings have no name.
  """
  return registry.lookup('task', name, TASKS) if name else _GIVEN


def load(name: str, options: DatasetOptions) -> Data:
  """Loads the data set of a task.

  Raises:
    UsageError: there is no such task, or its files are missing or damaged.
  """
  return get_task(name).load().load(options)
