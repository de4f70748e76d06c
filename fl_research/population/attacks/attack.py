"""The interface of an attack: what attackers do to their data, their updates, or together.

Attackers are fixed clients, drawn from the run's seed. All three methods are TensorFlow code.
"""

from typing import Any

import tensorflow as tf

from fl_research.aggregation.stacked import Stacked

Update = tuple[tf.Tensor, ...]


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

  def evaluation_sets(self, test: Any) -> dict[str, Any]:
    """Further example sets to evaluate, by name: a backdoor's triggered test examples."""
    del test
    return {}
