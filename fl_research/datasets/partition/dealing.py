"""The arithmetic that schemes share: how many examples each client gets, and by lot which ones."""

import numpy as np


def even_sizes(total: int, parts: int) -> np.ndarray:
  """`total` in `parts` numbers that differ by at most one, the larger ones first."""
  return total // parts + (np.arange(parts) < total % parts)


def apportion(total: int, shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  """`total` in whole numbers proportional to `shares`, by largest remainder, ties by lot."""
  exact = total * (shares / shares.sum())
  numbers = np.floor(exact).astype(np.int64)
  lot = generator.permutation(len(shares))
  # Rounded, so that equal shares tie even where their remainders differ by rounding errors.
  remainders = np.round(exact - numbers, 9)[lot]
  numbers[lot[np.argsort(-remainders, kind='stable')[: total - numbers.sum()]]] += 1
  return numbers


def draw(
  generator: np.random.Generator, size: int, probabilities: np.ndarray, remaining: np.ndarray
) -> np.ndarray:
  """Counts of `size` draws without replacement, what runs out being left out from then on.

  Drawing one at a time and renormalising after each exhaustion is the same as drawing on and
  throwing away what has run out; the second takes a few multinomial draws instead of `size`.
  Where all that is probable has run out, the rest is drawn in proportion to what remains.
  """
  counts = np.zeros(len(remaining), np.int64)
  while (missing := int(size - counts.sum())) > 0:
    left = remaining - counts
    weights = np.where(left > 0, probabilities, 0.0)
    if not weights.sum() > 0:
      return counts + generator.multivariate_hypergeometric(left, missing)
    counts += np.minimum(generator.multinomial(missing, weights / weights.sum()), left)
  return counts


def by_sizes(sizes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  """Owners of sizes.sum() examples, in random order, so that client k has sizes[k] of them."""
  owners = np.repeat(np.arange(len(sizes)), sizes)
  generator.shuffle(owners)
  return owners


def by_counts(codes: np.ndarray, counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  """Deals each label's examples at random so that client k has counts[k, label] of them.

  Args:
    codes: the label of each example, numbered from 0.
    counts: [clients, labels].
    generator: draws who gets which.
  """
  owners = np.empty(len(codes), np.int64)
  for label in range(counts.shape[1]):
    owners[codes == label] = by_sizes(counts[:, label], generator)
  return owners


def top_up(
  owners: np.ndarray, num_clients: int, enough: int, generator: np.random.Generator
) -> np.ndarray:
  """Gives clients with fewer than `enough` examples some of the largest client's, at random."""
  sizes = np.bincount(owners, minlength=num_clients)
  for client in np.flatnonzero(sizes < enough):
    while sizes[client] < enough:
      largest = int(np.argmax(sizes))
      owners[generator.choice(np.flatnonzero(owners == largest))] = client
      sizes[largest] -= 1
      sizes[client] += 1
  return owners
