"""FLTrust: updates count as far as they point where the server's own examples point.

Cao, Fang, Liu, Gong 2021, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping",
algorithm 2. The server has a few examples of its own (the root data set), from which it computes an
update Δ_0 as a client would. A client's trust score is the positive part of the cosine between the
two updates, its update is brought to the server's length, and the aggregate is

    TS_i = max(0, <Δ_i, Δ_0> / (|Δ_i| |Δ_0|)),
    aggregate = Σ TS_i (|Δ_0| / |Δ_i|) Δ_i / Σ TS_i,

so that attackers neither gain by length nor by pointing away. Clients count the same whatever their
weights, as in the paper; their weights only decide, by being zero, who is left out. Where nobody
points the server's way the aggregate is zero. Clients that all send Δ_0 give Δ_0.

The server's examples (`--server_examples`) are drawn from those of all training clients, which is
the paper's first case; its own experiments have 100. Who owns them keeps them.

Differences from the paper:
1. The paper draws the root data set once for all rounds, and so do we; its server trains on fresh
   batches in every round, ours reads the batches of `--client_epochs_per_round` epochs in the same
   order every round.
2. The paper leaves a client whose update is zero out of account; here its score is zero.
"""

import tensorflow as tf

from fl_research.aggregation import stacked


class FLTrust(stacked.StackedRule):
  """Cao et al. 2021, algorithm 2 (see the module's docstring)."""

  uses_weights = False
  needs_reference = True

  def next(self, memory, updates, weights, reference):
    del weights
    everybody = tuple(tf.concat([r[tf.newaxis], u], 0) for r, u in zip(reference, updates))
    products = stacked.gram(everybody)
    norms = tf.sqrt(tf.linalg.diag_part(products))
    own, others = norms[0], norms[1:]
    scores = tf.nn.relu(tf.math.divide_no_nan(products[0, 1:], own * others))
    coefficients = tf.math.divide_no_nan(
      scores * tf.math.divide_no_nan(own, others), tf.reduce_sum(scores)
    )
    return stacked.weighted_sum(updates, tf.cast(coefficients, tf.float32)), memory


def build() -> stacked.StackedRule:
  """The registry's entry point."""
  return FLTrust()
