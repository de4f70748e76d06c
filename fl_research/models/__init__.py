"""Models by name, each imported only when it is built."""

from collections.abc import Mapping
import dataclasses
from typing import Optional

from fl_research import domains, registry
from fl_research.models import own, specification
from fl_research.models.specification import ModelSpec


@dataclasses.dataclass(frozen=True)
class Model(registry.Entry):
  """A model's line in the registry.

  Attributes:
    accepts: the data that it fits.
  """

  accepts: specification.Accepted = specification.VECTORS


def _count(default: int, what: str) -> registry.Hyperparameter:
  """A hyperparameter that counts something."""
  return registry.Hyperparameter(default, what, **domains.COUNT)


def _normalization(kind: str, what: str) -> registry.Hyperparameter:
  """Whether hidden layers are normalised, in the one way that a model has for it."""
  return registry.Hyperparameter(
    'none', f'{kind}: {what}', lambda v: v in ('none', kind), f'none or {kind}'
  )


_EMBEDDING = {'embedding': _count(8, 'numbers per identifier, where the table has any')}

MODELS: Mapping[str, Model] = {
  'softmax': Model(
    'fl_research.models.softmax',
    'softmax (or logistic, or linear) regression',
    _EMBEDDING,
    accepts=specification.VECTORS,
  ),
  '2nn': Model(
    'fl_research.models.two_nn',
    'two hidden layers of 200 (McMahan et al. 2017)',
    _EMBEDDING,
    accepts=specification.VECTORS,
  ),
  'cnn': Model(
    'fl_research.models.cnn',
    'two 5x5 convolutions, 512 units (McMahan et al. 2017)',
    {'normalization': _normalization('group', 'group normalisation after the convolutions')},
    accepts=specification.images(4),
  ),
  'mlp': Model(
    'fl_research.models.mlp',
    'perceptron for tabular data',
    {
      'hidden_units': _count(64, 'width of each hidden layer'),
      'hidden_layers': _count(2, 'number of hidden layers'),
      'normalization': _normalization('layer', 'layer normalisation of the hidden layers'),
      **_EMBEDDING,
    },
    accepts=specification.VECTORS,
  ),
  'emnist_cnn': Model(
    'fl_research.models.emnist_cnn',
    'two 3x3 convolutions, 128 units (Reddi et al. 2021)',
    {'dropout': registry.Hyperparameter(False, 'drop a quarter, then half, in training')},
    accepts=specification.images(6),
  ),
  'autoencoder': Model(
    'fl_research.models.autoencoder',
    'bottleneck of 30 (Reddi et al. 2021)',
    accepts=specification.RECONSTRUCTION,
  ),
  'resnet18_gn': Model(
    'fl_research.models.resnet18_gn',
    'ResNet-18 with group normalisation (Reddi et al. 2021)',
    {
      'downsample': registry.Hyperparameter(
        False, 'halve height and width from stage to stage, as He et al. 2016 do'
      )
    },
    accepts=specification.images(8),
  ),
  'char_lstm': Model(
    'fl_research.models.char_lstm',
    'next character, two LSTM layers of 256 (McMahan et al. 2017)',
    {
      'embedding': _count(8, 'numbers per character'),
      'units': _count(256, 'width of each LSTM layer'),
      'layers': _count(2, 'number of LSTM layers'),
    },
    accepts=specification.TEXT,
  ),
  'word_lstm': Model(
    'fl_research.models.word_lstm',
    'next word, an LSTM layer of 670 (Reddi et al. 2021)',
    {
      'embedding': _count(96, 'numbers per word'),
      'units': _count(670, 'width of the LSTM layer'),
    },
    accepts=specification.TEXT,
  ),
  'cnn1d': Model(
    'fl_research.models.cnn1d',
    'convolutions over windows of sensors',
    accepts=specification.signals(4),
  ),
  'logmel_cnn': Model(
    'fl_research.models.logmel_cnn',
    'small CNN for log-mel features',
    accepts=specification.spectrograms(8),
  ),
  'factorization': Model(
    'fl_research.models.factorization',
    'factorisation machine, for tables with identifiers (Rendle 2010)',
    {
      'dimension': _count(4, 'numbers per identifier'),
      'deviation': registry.Hyperparameter(0.1, 'how large these are at first', **domains.POSITIVE),
    },
    defaults={'server_optimizer': 'adagrad', 'server_learning_rate': 0.3},
    accepts=specification.IDENTIFIERS,
  ),
  'matrix_factorization': Model(
    'fl_research.models.matrix_factorization',
    'user and item factors with biases, for ratings',
    {'dimension': _count(50, 'number of factors')},
    accepts=specification.RATINGS,
  ),
}
"""Every model: the name users type, its module, its hyperparameters, the data it accepts.

The module has `build(spec, **hyperparameters)`, which returns the network.
"""

_OWN = Model('fl_research.models.own_model', 'your own', accepts=specification.ANY)

NAMES = tuple(sorted(MODELS))
"""Names that `build` knows."""


is_own = own.is_own


def entry(name: str) -> Model:
  """A model's line in the registry; for a file of the user's own, one that takes any data.

  Raises:
    UsageError: unknown name, with the nearest one.
  """
  return _OWN if own.is_own(name) else registry.lookup('model', name, MODELS)


def check(name: str, spec: ModelSpec) -> None:
  """Sees, without importing TensorFlow, that a model fits the data.

  Raises:
    UsageError: unknown name, or it does not fit; one line naming the flag.
  """
  accepts = entry(name).accepts
  if not accepts.fits(spec):
    raise registry.UsageError(
      f'--model={name}: does not fit this data ({spec.describe()}); it accepts {accepts.words}'
    )


_MOST_CHARACTERS = 2000


def usual(spec: ModelSpec) -> str:
  """The model for data of one's own where none is named: one that is usual for their shape."""
  if spec.has_identifiers:
    return 'factorization'
  if spec.is_text:
    return 'char_lstm' if spec.num_classes <= _MOST_CHARACTERS else 'word_lstm'
  square = len(spec.input_shape) == 2 and spec.input_shape[0] == spec.input_shape[1]
  choices = ('cnn', 'cnn1d') if len(spec.input_shape) == 3 or square else ('cnn1d',)
  fitting = (name for name in (*choices, 'mlp') if MODELS[name].accepts.fits(spec))
  return next(fitting, 'mlp')


def build(
  name: str,
  spec: ModelSpec,
  seed: int,
  initializer: str = '',
  initial_model: str = '',
  freeze: str = '',
  adapters: Optional[specification.Adapters] = None,
):
  """Builds a model by name.

  Args:
    name: one of `NAMES`, or a file of the user's own (see `own`).
    spec: the data it is for, and hyperparameters where they differ from the defaults.
    seed: the run's seed, which fixes the initial weights.
    initializer: how its kernels are drawn, one of `initializers.INITIALIZERS`; when empty, as its
      module says.
    initial_model: a file with the weights to begin with (see `stored_weights`); drawn when empty.
    freeze: layers that stay as they begin (see `frozen`).
    adapters: if given, all layers do, and these are trained (see `lora`).

  Returns:
    A `fl_research.models.model.Model`.

  Raises:
    UsageError: unknown name or hyperparameter, a value outside its domain, or a model that does
      not fit the data; one line naming the flag.
  """
  check(name, spec)
  network = _network(name, spec, seed)
  # Imported here so that reading the table, for --help, does not load TensorFlow.
  from fl_research.models import frozen, lora, model, stored_weights

  start = model.first_weights(network, spec, seed, initializer)
  if initial_model:
    start = stored_weights.read(initial_model, network.weight_names, start)
  if adapters is not None:
    network = lora.network(network, start, adapters, seed)
    return model.Model(network, spec, seed, start=network.first_weights())
  chosen = frozen.named(freeze, network.weight_names)
  stays = [a or b for a, b in zip(chosen, network.untrained, strict=True)]
  if all(stays):
    raise registry.UsageError(f'--freeze={freeze}: leaves no weights to train')
  return model.Model(network, spec, seed, start=start, frozen=stays)


def _network(name: str, spec: ModelSpec, seed: int):
  """The layers."""
  if own.is_own(name):
    return _OWN.load().build(name, spec, seed)
  line = entry(name)
  settings = {key: setting.default for key, setting in line.hyperparameters.items()}
  for key, value in spec.hyperparameters.items():
    registry.lookup(f'{name}_hyperparameter', key, line.hyperparameters).check(
      f'{name}_{key}', value
    )
    settings[key] = value
  return line.load().build(spec, **settings)
