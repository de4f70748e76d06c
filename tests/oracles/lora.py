"""FedAvg on low-rank adapters of a softmax regression's kernel (Hu et al. 2022, section 4.1)."""

import numpy as np

from tests.oracles import softmax_regression


def run(kernel, bias, first, rounds, rate, scale, freeze_a):
  """(A, B) after every round; kernel and bias stay as they are.

  Args:
    kernel, bias: the base.
    first: A and B at first.
    rounds: the D of every client, by round.
    rate: of the clients' SGD.
    scale: alpha / r.
    freeze_a: whether A stays as it was drawn.
  """
  a, b = (np.asarray(factor, np.float64) for factor in first)
  history = []
  for cohort in rounds:
    trained = []
    for data in cohort:
      own_a, own_b = a, b
      for x, y in softmax_regression.batches(data):
        merged = kernel + scale * own_a @ own_b
        at_kernel, _ = softmax_regression.gradient([merged, bias], x, y)
        move = rate * scale * at_kernel @ own_b.T
        own_b = own_b - rate * scale * own_a.T @ at_kernel
        own_a = own_a if freeze_a else own_a - move
      trained.append((own_a, own_b))
    counts = [float(data['num_examples']) for data in cohort]
    a, b = (np.average(np.array(f), axis=0, weights=counts) for f in zip(*trained))
    history.append([b] if freeze_a else [a, b])
  return history
