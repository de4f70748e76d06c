"""The interface of an attack: what attackers do to their data, their updates, or together.

Attackers are fixed clients, drawn from the run's seed. What they compute is TensorFlow code.
"""

from collections.abc import Mapping
import dataclasses

import tensorflow as tf

from fl_research import registry
from fl_research.aggregation.stacked import Stacked
from fl_research.datasets.federated_data import Examples, Problem
from fl_research.models.specification import ModelSpec

Update = tuple[tf.Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Target:
  """What attackers know of the training they attack.

  Attributes:
    spec: the data and the problem.
    clients_per_round: size of a cohort.
    server_learning_rate: η of the server's step.
  """

  spec: ModelSpec
  clients_per_round: int
  server_learning_rate: float

  def require(self, attack: str, fits: bool, accepted: str) -> None:
    """Raises `UsageError` when an attack cannot be made on this data.

    Args:
      attack: the attack's name, as users type it.
      fits: whether it can.
      accepted: what it can be made on, in words.
    """
    if not fits:
      raise registry.UsageError(
        f'--attack={attack}: does not fit this data ({self.spec.describe()}); it accepts {accepted}'
      )

  @property
  def num_labels(self) -> int:
    """K of a problem whose label is one of 0..K-1; 0 for others."""
    if self.spec.problem is Problem.BINARY:
      return 2
    return self.spec.num_classes if self.spec.problem is Problem.CLASSIFICATION else 0


class Attack:
  """One attack; the defaults do nothing, a subclass overrides what it does.

  Attributes:
    colludes: whether `collude` must be called, which only aggregators that stack updates allow.
  """

  colludes = False

  def poison_examples(self, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """An attacker's training examples in place of its honest ones (same shapes)."""
    return x, y

  def poison_update(self, update: Update, weight: tf.Tensor, seed: tf.Tensor) -> Update:
    """What an attacker sends in place of its update.

    Args:
      update: the update it computed.
      weight: float32, what the update will count.
      seed: int32 [2], of the round and client.
    """
    del weight, seed
    return update

  def collude(self, updates: Stacked, attacker: tf.Tensor) -> Stacked:
    """All updates of a round after attackers who see everything have chosen theirs.

    Args:
      updates: [n, ...] tensors, a row for each client.
      attacker: bool [n].
    """
    del attacker
    return updates

  def evaluation_sets(self, test: Examples) -> Mapping[str, Examples]:
    """Further example sets to evaluate, by name: a backdoor's triggered test examples."""
    del test
    return {}


def replace_rows(updates: Stacked, attacker: tf.Tensor, sent: Update) -> Stacked:
  """The stacked updates with every attacker's row replaced by the same update."""
  shape = lambda u: [-1] + [1] * (u.shape.rank - 1)
  return tuple(
    tf.where(tf.reshape(attacker, shape(u)), s[tf.newaxis], u)
    for u, s in zip(updates, sent, strict=True)
  )


def mean_of(updates: Stacked, chosen: tf.Tensor) -> Update:
  """The unweighted mean of the chosen rows (bool [n]); zero where none is chosen."""
  mask = tf.cast(chosen, tf.float32)
  coefficients = tf.math.divide_no_nan(mask, tf.reduce_sum(mask))
  return tuple(tf.tensordot(coefficients, u, axes=1) for u in updates)
