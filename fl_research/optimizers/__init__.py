"""Optimisers by name, for the clients' steps and for the server's.

Most are TFF's own (`tff.learning.optimizers`). The gradient can be clipped to a global norm, and
weight decay added to it (L2 regularisation: g + λw), in this order, before the step.
"""

from collections.abc import Mapping

from fl_research import domains, registry
from fl_research.registry import Hyperparameter

HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
  'momentum': Hyperparameter(0.9, 'momentum', **domains.BELOW_1),
  'beta_1': Hyperparameter(0.9, 'decay of the first moment', **domains.BELOW_1),
  'beta_2': Hyperparameter(0.999, 'decay of the second moment', **domains.BELOW_1),
  'epsilon': Hyperparameter(1e-7, 'added to the root of the second moment', **domains.POSITIVE),
  'initial_accumulator': Hyperparameter(0.0, 'initial second moment', **domains.AT_LEAST_0),
  'momentum_decay': Hyperparameter(
    0.99, 'beta_2 of Lion: decay of its momentum', **domains.BELOW_1
  ),
  'step_weight_decay': Hyperparameter(
    0.0, "Lion's and LAMB's weight decay, part of the step", **domains.AT_LEAST_0
  ),
  'decoupled_weight_decay': Hyperparameter(0.004, "AdamW's weight decay", **domains.AT_LEAST_0),
}
"""Those that several optimisers share, and in what order they are listed."""


def _tff(summary: str, *hyperparameters: str) -> registry.Entry:
  """An optimiser of TFF's, with some of `HYPERPARAMETERS`."""
  read = {name: HYPERPARAMETERS[name] for name in hyperparameters}
  return registry.Entry('fl_research.optimizers.tff_optimizers', summary, read)


_DECAY = 'step_weight_decay'


def _own(summary: str, name: str, *hyperparameters: str) -> registry.Entry:
  """An optimiser of a module of its own, with some of `HYPERPARAMETERS`."""
  read = {name: HYPERPARAMETERS[name] for name in hyperparameters}
  return registry.Entry(f'fl_research.optimizers.{name}', summary, read)


OPTIMIZERS: Mapping[str, registry.Entry] = {
  'sgd': _tff('plain gradient descent'),
  'momentum': _tff('gradient descent with heavy-ball momentum', 'momentum'),
  'adagrad': _tff('Adagrad', 'epsilon', 'initial_accumulator'),
  'adam': _tff('Adam, with bias correction', 'beta_1', 'beta_2', 'epsilon'),
  'adamw': _tff(
    'AdamW: Adam with decoupled weight decay',
    'beta_1',
    'beta_2',
    'epsilon',
    'decoupled_weight_decay',
  ),
  'rmsprop': _tff('RMSprop; its decay is beta_2', 'beta_2', 'epsilon'),
  'lion': _own('Lion: the signs of a momentum', 'lion', 'beta_1', 'momentum_decay', _DECAY),
  'lamb': _own(
    'LAMB: Adam whose steps are as long as the weights of their layer',
    'lamb',
    'beta_1',
    'beta_2',
    'epsilon',
    _DECAY,
  ),
  'yogi': _tff('Yogi', 'beta_1', 'beta_2', 'epsilon', 'initial_accumulator'),
}
"""Every optimiser: the name users type, its module, its hyperparameters.

The module has a function of that name, `(learning_rate, **hyperparameters)`, which returns a
`tff.learning.optimizers.Optimizer`. The flags of hyperparameters are `--client_<name>` and
`--server_<name>`, whichever optimiser has them.
"""


def build(
  name: str,
  learning_rate: float,
  hyperparameters: Mapping[str, float],
  clip_norm: float = 0.0,
  weight_decay: float = 0.0,
):
  """Builds an optimiser.

  Args:
    name: one of `OPTIMIZERS`.
    learning_rate: at least 0.
    hyperparameters: those that differ from their defaults.
    clip_norm: largest global norm of the gradient; 0 for no clipping.
    weight_decay: λ of the term λw that is added to the gradient.

  Returns:
    A `tff.learning.optimizers.Optimizer`.
  """
  from fl_research.optimizers import gradient_transforms

  entry = OPTIMIZERS[name]
  settings = entry.settings(name, hyperparameters)
  optimizer = getattr(entry.load(), name)(learning_rate, **settings)
  if clip_norm or weight_decay:
    optimizer = gradient_transforms.TransformedOptimizer(optimizer, clip_norm, weight_decay)
  return optimizer
