"""Krum: the one update that is nearest to the others.

Blanchard, El Mhamdi, Guerraoui, Stainer 2017, "Machine Learning with Adversaries: Byzantine
Tolerant Gradient Descent", section 4. Of n updates, up to f of them from attackers, each has the
score

    s(i) = Σ_{i → j} ||Δ_i - Δ_j||²,

where i → j are the n - f - 2 updates closest to Δ_i, itself not counted. The aggregate is the
update with the lowest score, of equal ones that of the first client ("the smallest identifier").

Clients count the same whatever their weights, as in the paper; their weights only decide, by being
zero, who is left out. Domain: f ≥ 0 and 2f + 2 < n, which the registry demands of the cohorts
that are to be drawn. Should some round have fewer clients all the same (who drop out, or send
numbers that are not finite), at least one neighbour is looked at; a single client's aggregate is
its own update.

Differences from the paper:
1. The paper combines gradients, one step a round; here whatever updates the clients send.
2. n is the number of clients that report; with too few of them for f, one neighbour is looked at
   rather than none.
"""

import tensorflow as tf

from fl_research.aggregation import stacked


def scores(updates: stacked.Stacked, attackers: int) -> tf.Tensor:
  """s(i) of all updates for f = `attackers`: float64 [n]."""
  distances = stacked.squared_distances(stacked.gram(updates))
  count = tf.shape(distances)[0]
  infinite = tf.fill([count], tf.constant(float('inf'), tf.float64))
  ascending = tf.sort(tf.linalg.set_diag(distances, infinite), axis=1)
  neighbours = tf.minimum(tf.maximum(count - attackers - 2, 1), count - 1)
  return tf.reduce_sum(ascending[:, :neighbours], axis=1)


class Krum(stacked.StackedRule):
  """Blanchard et al. 2017, section 4 (see the module's docstring).

  Args:
    attackers: f.
    selected: m, how many of the best updates are averaged: 1 for Krum.

  Raises:
    ValueError: f < 0 or m < 1.
  """

  uses_weights = False

  def __init__(self, attackers: int, selected: int = 1):
    if attackers < 0 or selected < 1:
      raise ValueError(f'f must be at least 0 and m at least 1, are {attackers} and {selected}')
    self._attackers = attackers
    self._selected = selected

  def combine(self, updates, weights):
    count = tf.shape(weights)[0]
    best = tf.argsort(scores(updates, self._attackers), stable=True)
    best = best[: tf.minimum(self._selected, count)]
    if self._selected == 1:
      return tuple(update[best[0]] for update in updates)
    chosen = tuple(tf.gather(update, tf.sort(best)) for update in updates)
    size = tf.shape(best)
    return stacked.weighted_sum(chosen, tf.fill(size, 1.0 / tf.cast(size[0], tf.float32)))


def build(f: int) -> stacked.StackedRule:
  """The registry's entry point."""
  return Krum(f)
