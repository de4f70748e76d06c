"""Models by name, each imported only when it is built."""

from fl_research import registry
from fl_research.models.specification import ModelSpec


def _at_least_one(value: int) -> bool:
  return value >= 1


def _count(default: int, what: str) -> registry.Hyperparameter:
  """A hyperparameter that counts something."""
  return registry.Hyperparameter(default, what, _at_least_one, 'an integer of at least 1')


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
