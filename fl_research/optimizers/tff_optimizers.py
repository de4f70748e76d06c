"""TFF's optimisers, under the names and with the hyperparameters of `OPTIMIZERS`."""

from tensorflow_federated import learning

_optimizers = learning.optimizers


def sgd(learning_rate: float):
  return _optimizers.build_sgdm(learning_rate)


def momentum(learning_rate: float, momentum: float):
  return _optimizers.build_sgdm(learning_rate, momentum)


def adagrad(learning_rate: float, epsilon: float, initial_accumulator: float):
  return _optimizers.build_adagrad(learning_rate, initial_accumulator, epsilon)


def adam(learning_rate: float, beta_1: float, beta_2: float, epsilon: float):
  return _optimizers.build_adam(learning_rate, beta_1, beta_2, epsilon)


def adamw(
  learning_rate: float, beta_1: float, beta_2: float, epsilon: float, decoupled_weight_decay: float
):
  return _optimizers.build_adamw(learning_rate, beta_1, beta_2, epsilon, decoupled_weight_decay)


def rmsprop(learning_rate: float, beta_2: float, epsilon: float):
  return _optimizers.build_rmsprop(learning_rate, beta_2, epsilon)


def yogi(
  learning_rate: float, beta_1: float, beta_2: float, epsilon: float, initial_accumulator: float
):
  return _optimizers.build_yogi(learning_rate, beta_1, beta_2, epsilon, initial_accumulator)
