"""The heterogeneity passport: how unequal the clients of an actual split are, in a few numbers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import hashlib
import itertools
from typing import Optional, Union

import numpy as np
import scipy.sparse

from fl_research import random_streams
from fl_research.datasets.federated_data import Clients, ContiguousClients, Problem
from fl_research.datasets.label_counts import label_counts, LABELLED
from fl_research.gini import gini

Passport = Mapping[str, Union[int, float, str, None]]

# Clients that must be read one by one are all read up to this many, and sampled beyond.
_READ_ALL_CLIENTS = 10_000
_SAMPLED_CLIENTS = 1_000
# Labels of clients in memory (or mapped into it) are all read up to this many numbers.
_READ_ALL_LABELS = 50_000_000
_HASHED_ROWS = 1_000
_IDS_OF_A_BLOCK = 100_000


def passport(clients: Clients, problem: Problem) -> Passport:
  """Measures the split of the data over the clients.

  With p_k the label distribution of client k and p that of all clients together:

  - `label_js_divergence_mean`: mean over k of the Jensen-Shannon *divergence* (not its square root,
    the distance) in bits (logarithm of base 2), JS = KL(p_k|m)/2 + KL(p|m)/2, m = (p_k + p)/2;
    0 (all alike) to 1.
  - `label_emd_mean`: mean over k of sum_i |p_k(i) - p(i)|, 0 to 2; what Zhao et al. 2018
    ("Federated learning with non-IID data", section 3.2) call the earth mover's distance, labels
    being at distance 1 from one another (and the sum not halved).
  - `examples_gini`: Gini coefficient of the numbers of examples; 0 (all equal) to 1.

  Both means are over clients that have labels, each counting once. They are None where labels are
  not choices from a list (regression, reconstruction). Labels are counted as in `label_counts`.

  The cost is bounded. Clients held in (mapped) memory are measured completely up to 5 10^7 numbers
  of labels; other sets are read client by client, all of them up to 10,000 clients. Beyond that
  1,000 clients are drawn without replacement, always the same ones for a given number of clients,
  p is then their common distribution, and `label_clients_measured` says how many there were.

  Args:
    clients: the training clients.
    problem: what is predicted.

  Returns:
    Plain numbers by name, ready for JSON: `clients`, `examples_total`, `_min`, `_median`, `_max`,
    `_gini`, the label skew as above, and `partition_sha256` (see `partition_hash`).
  """
  positions = _measured(clients)
  divergence, distance = None, None
  measured = len(clients) if positions is None else len(positions)
  if problem in LABELLED and np.sum(clients.sizes):
    divergence, distance = label_skew(label_counts(clients, problem, positions))
  return {
    **of_sizes(clients),
    'label_js_divergence_mean': divergence,
    'label_emd_mean': distance,
    'label_clients_measured': measured if divergence is not None else 0,
    'partition_sha256': partition_hash(clients),
  }


def of_sizes(clients: Clients) -> Passport:
  """The part of the passport that the clients' sizes give."""
  sizes = np.asarray(clients.sizes, np.int64)
  return {
    'clients': len(clients),
    'examples_total': int(sizes.sum()),
    'examples_min': int(sizes.min()),
    'examples_median': float(np.median(sizes)),
    'examples_max': int(sizes.max()),
    'examples_gini': gini(sizes),
  }


def partition_hash(clients: Clients) -> str:
  """SHA-256 that tells whether two runs had the same clients with the same examples.

  Over the ids, the sizes, and of the clients that `passport` measures every label (in the order
  in which clients hold them) and 1,000 rows of x: evenly spread over the pool where the clients
  lie in memory, the first row of each of 1,000 clients otherwise. Two splits that differ only in
  which of several examples of one label go where are told apart by the rows, unless none of the
  examples concerned is among them.
  """
  digest = hashlib.sha256()
  for number, block in enumerate(_blocks(clients.ids)):
    digest.update(('\n' if number else '').encode() + '\n'.join(block).encode())
  digest.update(np.asarray(clients.sizes, '<i8').tobytes())
  positions = _measured(clients)
  if isinstance(clients, ContiguousClients) and positions is None:
    arrays = clients.pooled()
    _update(digest, arrays['y'])
    _update(digest, arrays['x'][:: max(1, -(-len(arrays['x']) // _HASHED_ROWS))])
    return digest.hexdigest()
  chosen: Sequence[int] = range(len(clients)) if positions is None else positions
  stride = max(1, -(-len(chosen) // _HASHED_ROWS))
  for number, position in enumerate(chosen):
    examples = clients.examples(position)
    _update(digest, examples['y'])
    if number % stride == 0:
      _update(digest, examples['x'][:1])
  return digest.hexdigest()


def _blocks(ids: Iterable[str]) -> Iterator[list[str]]:
  """Some ids at a time."""
  rest = iter(ids)
  return iter(lambda: list(itertools.islice(rest, _IDS_OF_A_BLOCK)), [])


def _measured(clients: Clients) -> Optional[Sequence[int]]:
  """The positions of the clients to read; None for all of them."""
  if isinstance(clients, ContiguousClients):
    everything = int(np.prod(clients.pooled()['y'].shape)) <= _READ_ALL_LABELS
  else:
    everything = len(clients) <= _READ_ALL_CLIENTS
  if everything or len(clients) <= _SAMPLED_CLIENTS:
    return None
  # Not the run's seed: the same split must have the same passport in every run.
  generator = random_streams.generator(0, 'passport')
  return np.sort(generator.choice(len(clients), _SAMPLED_CLIENTS, replace=False)).tolist()


def _update(digest, array: np.ndarray) -> None:
  array = np.ascontiguousarray(array)
  digest.update(f'{array.dtype.str}{array.shape}'.encode())
  digest.update(array.data)


def label_skew(counts: scipy.sparse.csr_matrix) -> tuple[float, float]:
  """Mean JS divergence and mean L1 distance of rows' distributions from the common one.

  As `passport` says, of the counts of each client's (row's) labels.

  Only the labels a client has are visited: each of the others adds p(i)/2 to its divergence (its
  mixture is p/2, and log2 of 2 is 1) and p(i) to its distance.
  """
  totals = np.asarray(counts.sum(axis=1), np.float64).ravel()
  common = np.asarray(counts.sum(axis=0), np.float64).ravel()
  common /= common.sum()
  client = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
  own = counts.data / totals[client]
  shared = common[counts.indices]
  middle = (own + shared) / 2
  bits = own * np.log2(own / middle) + shared * np.log2(shared / middle)
  present = totals > 0
  sums = lambda values: np.bincount(client, values, minlength=len(totals))[present]
  absent = 1 - sums(shared)
  divergences = (sums(bits) + absent) / 2
  distances = sums(np.abs(own - shared)) + absent
  # Rounding can leave a few 1e-17 below zero where all clients are alike.
  return float(max(divergences.mean(), 0.0)), float(max(distances.mean(), 0.0))
