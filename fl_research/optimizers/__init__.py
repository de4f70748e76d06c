"""Optimisers by name, for the clients' steps and for the server's.

All are TFF's own (`tff.learning.optimizers`), optionally with the gradient clipped to a global norm
and with weight decay added to it (L2 regularisation: g + λw), in this order, before the step.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from fl_research.registry import Hyperparameter

_between_0_and_1 = lambda value: 0 <= value < 1
_not_negative = lambda value: value >= 0
_positive = lambda value: value > 0

HYPERPARAMETERS: Mapping[str, Hyperparameter] = {
  'momentum': Hyperparameter(0.9, 'momentum', _between_0_and_1, 'a number in [0, 1)'),
  'beta_1': Hyperparameter(
    0.9, 'decay of the first moment', _between_0_and_1, 'a number in [0, 1)'
  ),
  'beta_2': Hyperparameter(
    0.999, 'decay of the second moment', _between_0_and_1, 'a number in [0, 1)'
  ),
  'epsilon': Hyperparameter(
    1e-7, 'added to the root of the second moment', _positive, 'a number above 0'
  ),
  'initial_accumulator': Hyperparameter(
    0.0, 'initial second moment', _not_negative, 'a number of at least 0'
  ),
  'decoupled_weight_decay': Hyperparameter(
    0.004, "AdamW's weight decay", _not_negative, 'a number of at least 0'
  ),
}
"""Hyperparameters of all optimisers; the flags are `--client_<name>` and `--server_<name>`."""


@dataclasses.dataclass(frozen=True)
class OptimizerEntry:
  """One optimiser: what it is, and which `HYPERPARAMETERS` it reads."""

  summary: str
  hyperparameters: tuple[str, ...] = ()


OPTIMIZERS: Mapping[str, OptimizerEntry] = {
  'sgd': OptimizerEntry('plain gradient descent'),
  'momentum': OptimizerEntry('gradient descent with heavy-ball momentum', ('momentum',)),
  'adagrad': OptimizerEntry('Adagrad', ('epsilon', 'initial_accumulator')),
  'adam': OptimizerEntry('Adam, with bias correction', ('beta_1', 'beta_2', 'epsilon')),
  'adamw': OptimizerEntry(
    'AdamW: Adam with decoupled weight decay',
    ('beta_1', 'beta_2', 'epsilon', 'decoupled_weight_decay'),
  ),
  'rmsprop': OptimizerEntry('RMSprop; its decay is beta_2', ('beta_2', 'epsilon')),
  'yogi': OptimizerEntry('Yogi', ('beta_1', 'beta_2', 'epsilon', 'initial_accumulator')),
}
"""Every optimiser: the name users type, and what it reads."""


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
    hyperparameters: those that differ from the defaults in `HYPERPARAMETERS`.
    clip_norm: largest global norm of the gradient; 0 for no clipping.
    weight_decay: λ of the term λw that is added to the gradient.

  Returns:
    A `tff.learning.optimizers.Optimizer`.
  """
  from tensorflow_federated import learning

  from fl_research.optimizers import gradient_transforms

  names = OPTIMIZERS[name].hyperparameters
  h: dict[str, Any] = {n: hyperparameters.get(n, HYPERPARAMETERS[n].default) for n in names}
  tff_optimizers = learning.optimizers
  builders = {
    'sgd': lambda: tff_optimizers.build_sgdm(learning_rate),
    'momentum': lambda: tff_optimizers.build_sgdm(learning_rate, h['momentum']),
    'adagrad': lambda: tff_optimizers.build_adagrad(
      learning_rate, h['initial_accumulator'], h['epsilon']
    ),
    'adam': lambda: tff_optimizers.build_adam(
      learning_rate, h['beta_1'], h['beta_2'], h['epsilon']
    ),
    'adamw': lambda: tff_optimizers.build_adamw(
      learning_rate, h['beta_1'], h['beta_2'], h['epsilon'], h['decoupled_weight_decay']
    ),
    'rmsprop': lambda: tff_optimizers.build_rmsprop(learning_rate, h['beta_2'], h['epsilon']),
    'yogi': lambda: tff_optimizers.build_yogi(
      learning_rate, h['beta_1'], h['beta_2'], h['epsilon'], h['initial_accumulator']
    ),
  }
  optimizer = builders[name]()
  if clip_norm or weight_decay:
    optimizer = gradient_transforms.TransformedOptimizer(optimizer, clip_norm, weight_decay)
  return optimizer
