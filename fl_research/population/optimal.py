"""Optimal client sampling: of those that train, they send whose updates matter, without bias.

Chen, Horváth, Richtárik 2022, "Optimal Client Sampling for Federated Learning" (2020 on arXiv),
section 2 and algorithm 1. n clients train; each sends the length of its update U_k times its weight
w_k, a single number, and is told with what probability p_k it is to send U_k itself:

    with u_1 ≤ … ≤ u_n the lengths w_k |U_k| in order,
    p_k = (m + l - n) u_k / (u_1 + … + u_l)   for k ≤ l,     1 for the others,
    l the largest number with 0 < m + l - n ≤ (u_1 + … + u_l) / u_l.

Each decides by itself; m send in expectation, and the server takes

    Σ_k w_k / p_k U_k   over those who sent,

whose mean is Σ w_k U_k over all n, with the least variance of all p that sum to m. The weights are
those of the run, divided by their sum over the n. m is `--clients_per_round`, n
`--optimal_candidates`, drawn `uniform`; with n = m all send, and it is FedAvg with that cohort.

With `--optimal_iterations` j above 0 they are those of the paper's algorithm 2, for which the
server need know no more than sums over clients: p_k = min(1, m u_k / Σ u), and then j times

    p_k = min(1, C p_k)   where p_k < 1,     C = (m - n + |{p_k < 1}|) / Σ_{p_k < 1} p_k,

which comes to the same for large j; the paper takes 4.

It saves uploads and nothing else: n clients receive the model and train (`cohort_size`,
`bytes_down`), about m send (`bytes_up`). A length and a probability, 4 bytes each, are counted for
all n. On the virtual clock all n train before the first of them sends. Numbers of training are of
those who sent.

Differences from the paper:
1. Algorithm 2 is here for what it chooses; lengths are sent in the clear, and the bytes of its
   trips, two numbers each, are not counted.
2. A client whose update is not finite sends it with probability 1, so that it is counted among the
   rejected, and is none of the n.
3. Methods whose clients keep a state, or send more than their update, are refused: theirs would
   not be weighed.
4. Where nobody sends, the estimate is 0, and the server does nothing, whatever its optimiser.
"""

import numpy as np


class Optimal:
  """A `rule.Sender`.

  Args:
    candidates: n; 0 for twice m.
    iterations: j of algorithm 2; 0 for the exact probabilities.
  """

  def __init__(self, candidates: int, iterations: int):
    self.candidates = candidates
    self._iterations = iterations

  def probabilities(self, lengths: np.ndarray, count: int) -> np.ndarray:
    number = len(lengths)
    if count >= number:
      return np.ones(number)
    if self._iterations:
      return _by_sums(lengths, count, self._iterations)
    order = np.argsort(lengths, kind='stable')
    ordered = lengths[order].astype(np.float64)
    sums = np.cumsum(ordered)
    shared = count + np.arange(1, number + 1) - number
    [*_, last] = np.flatnonzero((shared > 0) & (shared * ordered <= sums))
    result = np.ones(number)
    if sums[last] > 0:
      result[order[: last + 1]] = shared[last] * ordered[: last + 1] / sums[last]
    else:
      result[order[: last + 1]] = 0.0  # Updates of length 0 say nothing.
    return np.minimum(result, 1.0)


def _by_sums(lengths: np.ndarray, count: int, iterations: int) -> np.ndarray:
  """The paper's algorithm 2, for more lengths than `count`."""
  total = lengths.sum()
  result = np.minimum(count * lengths / total, 1.0) if total else np.zeros(len(lengths))
  for _ in range(iterations):
    open_ones = result < 1.0
    rest = result[open_ones].sum()
    if not rest:
      break
    factor = (count - len(lengths) + open_ones.sum()) / rest
    result[open_ones] = np.minimum(factor * result[open_ones], 1.0)
  return result


def build(*, candidates: int, iterations: int) -> Optimal:
  """The registry's entry point; the arguments are those of `Optimal`."""
  return Optimal(candidates, iterations)
