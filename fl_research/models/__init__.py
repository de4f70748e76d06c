"""Models by name, each imported only when it is built."""

from fl_research import domains, registry
from fl_research.models.specification import ModelSpec


def _count(default: int, what: str) -> registry.Hyperparameter:
  """A hyperparameter that counts something."""
  return registry.Hyperparameter(default, what, **domains.COUNT)


MODELS = {
  'softmax': registry.Entry(
    'fl_research.models.softmax', 'softmax (or logistic, or linear) regression'
  ),
  '2nn': registry.Entry(
    'fl_research.models.two_nn', 'two hidden layers of 200 (McMahan et al. 2017)'
  ),
  'cnn': registry.Entry(
    'fl_research.models.cnn', 'two 5x5 convolutions, 512 units (McMahan et al. 2017)'
  ),
  'mlp': registry.Entry(
    'fl_research.models.mlp',
    'perceptron for tabular data',
    {
      'hidden_units': _count(64, 'width of each hidden layer'),
      'hidden_layers': _count(2, 'number of hidden layers'),
    },
  ),
  'emnist_cnn': registry.Entry(
    'fl_research.models.emnist_cnn',
    'two 3x3 convolutions, 128 units (Reddi et al. 2021)',
    {'dropout': registry.Hyperparameter(False, 'drop a quarter, then half, in training')},
  ),
  'autoencoder': registry.Entry(
    'fl_research.models.autoencoder', 'bottleneck of 30 (Reddi et al. 2021)'
  ),
  'resnet18_gn': registry.Entry(
    'fl_research.models.resnet18_gn',
    'ResNet-18 with group normalisation (Reddi et al. 2021)',
    {
      'downsample': registry.Hyperparameter(
        False, 'halve height and width from stage to stage, as He et al. 2016 do'
      )
    },
  ),
  'char_lstm': registry.Entry(
    'fl_research.models.char_lstm',
    'next character, two LSTM layers of 256 (McMahan et al. 2017)',
    {
      'embedding': _count(8, 'numbers per character'),
      'units': _count(256, 'width of each LSTM layer'),
      'layers': _count(2, 'number of LSTM layers'),
    },
  ),
  'word_lstm': registry.Entry(
    'fl_research.models.word_lstm',
    'next word, an LSTM layer of 670 (Reddi et al. 2021)',
    {
      'embedding': _count(96, 'numbers per word'),
      'units': _count(670, 'width of the LSTM layer'),
    },
  ),
  'cnn1d': registry.Entry('fl_research.models.cnn1d', 'convolutions over windows of sensors'),
  'logmel_cnn': registry.Entry('fl_research.models.logmel_cnn', 'small CNN for log-mel features'),
  'matrix_factorization': registry.Entry(
    'fl_research.models.matrix_factorization',
    'user and item factors with biases, for ratings',
    {'dimension': _count(50, 'number of factors')},
  ),
}
"""Every model: the name users type, its module, its hyperparameters."""

NAMES = tuple(sorted(MODELS))
"""Names that `build` knows."""


def build(name: str, spec: ModelSpec, seed: int):
  """Builds a model by name.

  Args:
    name: one of `NAMES`.
    spec: the data it is for, and hyperparameters where they differ from the defaults.
    seed: the run's seed, which fixes the initial weights.

  Returns:
    A `fl_research.models.model.Model`.

  Raises:
    UsageError: unknown name or hyperparameter, a value outside its domain, or a model that does
      not fit the data; one line naming the flag.
  """
  entry = registry.lookup('model', name, MODELS)
  settings = {key: setting.default for key, setting in entry.hyperparameters.items()}
  for key, value in spec.hyperparameters.items():
    registry.lookup(f'{name}_hyperparameter', key, entry.hyperparameters).check(
      f'{name}_{key}', value
    )
    settings[key] = value
  network = entry.load().build(name, spec, **settings)
  # Imported here so that reading the table, for --help, does not load TensorFlow.
  from fl_research.models import model

  return model.Model(network, spec, seed)
