"""Dealing a pool of examples out to clients, in the ways the literature deals them.

Every scheme answers one question, which client owns example i, so that each example has exactly
one owner by construction. All draws come from `random_streams`, as a function of the seed and the
scheme alone.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import difflib
import math
from typing import Any, Optional, Union

import numpy as np
import scipy.sparse

from fl_research import random_streams
from fl_research.datasets.federated_data import (
  Clients,
  ContiguousClients,
  DataError,
  Examples,
  PooledData,
  Problem,
)
from fl_research.datasets.label_counts import label_counts
from fl_research.registry import Hyperparameter

# Concentration of the fine labels within a coarse one in pachinko allocation (Reddi et al. 2021).
_PACHINKO_FINE_CONCENTRATION = 10.0
# Examples every client must have in `label_dirichlet`, as in NIID-Bench's code, and how often the
# proportions are drawn again for it.
_LABEL_DIRICHLET_EXAMPLES = 10
_LABEL_DIRICHLET_DRAWS = 100


def _is_positive(value: Any) -> bool:
  return math.isfinite(value) and value > 0


def _is_count(value: Any) -> bool:
  return isinstance(value, int) and value >= 1


def _is_nonnegative(value: Any) -> bool:
  return math.isfinite(value) and value >= 0


PARAMETERS: Mapping[str, Hyperparameter] = {
  'shards_per_client': Hyperparameter(
    2, 'shards: shards that each client gets', _is_count, 'an integer of at least 1'
  ),
  'alpha': Hyperparameter(
    0.5,
    'dirichlet, label_dirichlet, pachinko: concentration; small means few labels per client',
    _is_positive,
    'a number above 0',
  ),
  'labels_per_client': Hyperparameter(
    2, 'labels: labels that each client has', _is_count, 'an integer of at least 1'
  ),
  'similarity': Hyperparameter(
    0.1,
    'similarity: share of each client that is IID, the rest being sorted by label',
    lambda v: 0 <= v <= 1,
    'a number in [0, 1]',
  ),
  'sigma': Hyperparameter(
    1.0,
    'quantity: sizes are proportional to exp(sigma z), z normal',
    _is_nonnegative,
    'a number of at least 0',
  ),
  'power': Hyperparameter(
    0.0,
    'quantity: when above 0, the r-th largest size is proportional to r^-power instead',
    _is_nonnegative,
    'a number of at least 0',
  ),
  'noise': Hyperparameter(
    0.1,
    "feature_noise: standard deviation of the last client's noise",
    _is_nonnegative,
    'a number of at least 0',
  ),
}
"""The parameters of all schemes by name; the flag of each is `--partition_<name>`."""


def iid(num_examples: int, num_clients: int, generator: np.random.Generator) -> np.ndarray:
  """Shuffles and deals out evenly (McMahan et al. 2017, section 3, "IID").

  Returns:
    The owner of each example, int64 [num_examples]; sizes differ by at most one.
  """
  sizes = _even_sizes(num_examples, num_clients)
  return _shuffled(np.repeat(np.arange(num_clients), sizes), generator)


def shards(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, shards_per_client: int
) -> np.ndarray:
  """Sorts by label, cuts into shards of equal size, deals each client the same number of them.

  The "pathological non-IID" split of McMahan et al. 2017, section 3: MNIST in 200 shards of 300
  over 100 clients, so that most clients have two digits. Examples of one label stay in the pool's
  order. Where the shards cannot be of equal size, the first ones have one example more.

  Raises:
    DataError: there are more shards than examples.
  """
  count = num_clients * shards_per_client
  if count > len(labels):
    raise DataError(
      f'--partition_shards_per_client={shards_per_client}: {num_clients} clients of so many shards '
      f'need {count} examples, the data set has {len(labels)}'
    )
  owner_of_shard = _shuffled(np.repeat(np.arange(num_clients), shards_per_client), generator)
  owners = np.empty(len(labels), np.int64)
  order = np.argsort(labels, kind='stable')
  owners[order] = np.repeat(owner_of_shard, _even_sizes(len(labels), count))
  return owners


def similarity(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, similarity: float
) -> np.ndarray:
  """A share of every client is IID, the rest comes from the pool sorted by label.

  Karimireddy et al. 2020 ("SCAFFOLD", section 7), "s % similarity": clients have the same size n;
  round(s n) examples of each are drawn at random from the pool, and what is left is sorted by label
  and cut into one piece for every client, dealt out at random. s = 1 is IID; s = 0 is `shards` with
  one shard for each client. The paper says nothing of ties; here they keep the pool's order.
  """
  sizes = _even_sizes(len(labels), num_clients)
  drawn = np.round(similarity * sizes).astype(np.int64)
  order = generator.permutation(len(labels))
  owners = np.empty(len(labels), np.int64)
  owners[order[: drawn.sum()]] = np.repeat(np.arange(num_clients), drawn)
  rest = np.sort(order[drawn.sum() :])
  clients = generator.permutation(num_clients)
  by_label = rest[np.argsort(labels[rest], kind='stable')]
  owners[by_label] = np.repeat(clients, (sizes - drawn)[clients])
  return owners


def dirichlet(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, alpha: float
) -> np.ndarray:
  """Clients of equal size whose label distributions are drawn from a Dirichlet distribution.

  Hsu, Qi, Brown 2019 ("Measuring the effects of non-identical data distribution for federated
  visual classification", section 3): q_k ~ Dir(alpha p), p the labels' prior, and client k draws
  its share of examples without replacement, a label that has run out being left out of q_k. Here
  p is scaled to sum to the number of labels N, so that with balanced labels q_k ~ Dir(alpha, ...,
  alpha), which is what most code means by alpha; where p sums to one, their alpha is N times ours.

  No client is ever empty: sizes differ by at most one. The last clients to draw take what is left,
  so the skew of a few of them is smaller or greater than q_k's.
  """
  present, codes, totals = np.unique(labels, return_inverse=True, return_counts=True)
  concentration = alpha * len(present) * totals / totals.sum()
  remaining = totals.copy()
  counts = np.zeros((num_clients, len(present)), np.int64)
  for client, size in enumerate(_even_sizes(len(labels), num_clients)):
    counts[client] = _draw(generator, size, generator.dirichlet(concentration), remaining)
    remaining -= counts[client]
  return _owners_from_counts(codes, counts, generator)


def label_dirichlet(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, alpha: float
) -> np.ndarray:
  """Splits each label over the clients in proportions drawn from a Dirichlet distribution.

  "Distribution-based label imbalance" of NIID-Bench (Li et al. 2022, section IV-A), after
  Yurochkin et al. 2019: for every label, p ~ Dir(alpha, ..., alpha) over the clients. Sizes vary.
  As in NIID-Bench's code, a client that already has its even share of the pool gets no more
  labels, and everything is drawn again until each client has 10 examples (or half an even share,
  if that is less; at least 1). After 100 draws, which happens with many clients and a small alpha,
  the clients that are short take examples at random from whichever client has most.
  """
  _, codes, totals = np.unique(labels, return_inverse=True, return_counts=True)
  enough = max(1, min(_LABEL_DIRICHLET_EXAMPLES, len(labels) // num_clients // 2))
  for _ in range(_LABEL_DIRICHLET_DRAWS):
    counts = _label_dirichlet_counts(totals, num_clients, generator, alpha)
    if counts.sum(axis=1).min() >= enough:
      break
  return _top_up(_owners_from_counts(codes, counts, generator), num_clients, enough, generator)


def k_labels(
  labels: np.ndarray, num_clients: int, generator: np.random.Generator, labels_per_client: int
) -> np.ndarray:
  """Each client has examples of k labels only.

  "Quantity-based label imbalance" of NIID-Bench (Li et al. 2022, section IV-A): client i has label
  i mod N and k - 1 others drawn at random; a label's examples are split evenly among the clients
  that have it. With fewer clients than labels, labels that nobody drew replace ones drawn by two
  clients or more, so that every example has an owner (NIID-Bench's code loses them). A client left
  with nothing, because more clients than examples share its labels, takes one example at random
  from the client that has most.

  Raises:
    DataError: k is above the number of labels, or all clients together cannot hold all labels.
  """
  present, codes = np.unique(labels, return_inverse=True)
  if labels_per_client > len(present) or num_clients * labels_per_client < len(present):
    raise DataError(
      f'--partition_labels_per_client={labels_per_client}: {num_clients} clients need from '
      f'{-(-len(present) // num_clients)} to {len(present)} labels each to hold {len(present)}'
    )
  holds = _draw_label_sets(len(present), num_clients, generator, labels_per_client)
  counts = np.zeros(holds.shape, np.int64)
  for label, total in enumerate(np.bincount(codes)):
    holders = np.flatnonzero(holds[:, label])
    counts[holders, label] = _even_sizes(total, len(holders))
  owners = _owners_from_counts(codes, counts, generator)
  return _top_up(owners, num_clients, 1, generator)


def quantity(
  num_examples: int,
  num_clients: int,
  generator: np.random.Generator,
  sigma: float,
  power: float,
) -> np.ndarray:
  """Clients of very different size whose examples are nevertheless IID.

  Sizes are proportional to exp(sigma z_k), z_k ~ N(0, 1) (log-normal), or, when power > 0, to
  r^-power for the client of rank r (power law), ranks being dealt at random. Every client has at
  least one example.
  """
  if power > 0:
    shares = generator.permutation(np.arange(1, num_clients + 1) ** -float(power))
  else:
    exponents = sigma * generator.standard_normal(num_clients)
    shares = np.exp(exponents - exponents.max())  # a large sigma must not overflow
  sizes = 1 + _apportion(num_examples - num_clients, shares, generator)
  return _shuffled(np.repeat(np.arange(num_clients), sizes), generator)


def pachinko(
  labels: np.ndarray,
  coarse_labels: np.ndarray,
  num_clients: int,
  generator: np.random.Generator,
  alpha: float,
) -> np.ndarray:
  """Two-level Dirichlet allocation over coarse and fine labels, clients of equal size.

  The split of CIFAR-100 in Reddi et al. 2021 ("Adaptive federated optimization", appendix on data
  sets), after Li & McCallum 2006: client k draws a distribution over the coarse labels from
  Dir(alpha), alpha = 0.1 there, and for every coarse label one over its fine labels from Dir(10).
  Each of its examples picks a coarse label, then a fine one, then an image, without replacement; a
  fine label that has run out is left out and its siblings' probabilities are scaled up. In the
  paper 500 clients have 100 images each; here sizes differ by at most one for other numbers.
  """
  present, codes, totals = np.unique(labels, return_inverse=True, return_counts=True)
  coarse_of_label = np.empty(len(present), np.int64)
  coarse_of_label[codes] = np.unique(coarse_labels, return_inverse=True)[1]
  groups = [np.flatnonzero(coarse_of_label == c) for c in range(coarse_of_label.max() + 1)]
  remaining = totals.copy()
  counts = np.zeros((num_clients, len(present)), np.int64)
  for client, size in enumerate(_even_sizes(len(labels), num_clients)):
    left_of_coarse = np.bincount(coarse_of_label, weights=remaining).astype(np.int64)
    of_coarse = generator.dirichlet(np.full(len(groups), alpha))
    drawn = _draw(generator, size, of_coarse, left_of_coarse)
    for group, number in zip(groups, drawn):
      of_fine = generator.dirichlet(np.full(len(group), _PACHINKO_FINE_CONCENTRATION))
      counts[client, group] = _draw(generator, number, of_fine, remaining[group])
    remaining -= counts[client]
  return _owners_from_counts(codes, counts, generator)


@dataclasses.dataclass(frozen=True)
class _Pool:
  """What a scheme may look at."""

  num_examples: int
  labels: Optional[np.ndarray]
  coarse_labels: Optional[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scheme:
  """One way of dealing.

  Attributes:
    summary: what it does, in one line for `--help`.
    parameters: names of the `PARAMETERS` it takes.
    assign: (pool, num_clients, generator, **parameters) -> owner of each example.
    needs_labels: whether it needs one class label per example.
    needs_coarse_labels: whether it needs a superclass for each label as well.
  """

  summary: str
  parameters: tuple[str, ...]
  assign: Callable[..., np.ndarray]
  needs_labels: bool = True
  needs_coarse_labels: bool = False


SCHEMES: Mapping[str, Scheme] = {
  'iid': Scheme(
    'shuffled and dealt out evenly',
    (),
    lambda pool, *rest: iid(pool.num_examples, *rest),
    needs_labels=False,
  ),
  'shards': Scheme(
    'sorted by label, cut into shards, some shards for each client (McMahan et al. 2017)',
    ('shards_per_client',),
    lambda pool, *rest, **parameters: shards(pool.labels, *rest, **parameters),
  ),
  'similarity': Scheme(
    'a share of each client IID, the rest sorted by label (Karimireddy et al. 2020)',
    ('similarity',),
    lambda pool, *rest, **parameters: similarity(pool.labels, *rest, **parameters),
  ),
  'dirichlet': Scheme(
    "equal sizes, each client's label shares from a Dirichlet (Hsu et al. 2019)",
    ('alpha',),
    lambda pool, *rest, **parameters: dirichlet(pool.labels, *rest, **parameters),
  ),
  'label_dirichlet': Scheme(
    "unequal sizes, each label's split over clients from a Dirichlet (NIID-Bench)",
    ('alpha',),
    lambda pool, *rest, **parameters: label_dirichlet(pool.labels, *rest, **parameters),
  ),
  'labels': Scheme(
    'a fixed number of labels for each client (NIID-Bench)',
    ('labels_per_client',),
    lambda pool, *rest, **parameters: k_labels(pool.labels, *rest, **parameters),
  ),
  'quantity': Scheme(
    'IID, but sizes log-normal or following a power law',
    ('sigma', 'power'),
    lambda pool, *rest, **parameters: quantity(pool.num_examples, *rest, **parameters),
    needs_labels=False,
  ),
  'feature_noise': Scheme(
    'IID, with Gaussian noise on x that grows from client to client (NIID-Bench)',
    ('noise',),
    lambda pool, *rest, noise: iid(pool.num_examples, *rest),
    needs_labels=False,
  ),
  'pachinko': Scheme(
    'Dirichlet over coarse and then fine labels (Reddi et al. 2021, CIFAR-100)',
    ('alpha',),
    lambda pool, *rest, **parameters: pachinko(
      pool.labels, pool.coarse_labels, *rest, **parameters
    ),
    needs_coarse_labels=True,
  ),
}
"""The schemes by name."""


def partition(
  pool: Union[PooledData, Examples], scheme: str, num_clients: int, seed: int, **parameters: Any
) -> ContiguousClients:
  """Deals the training examples of a pool out to clients.

  `feature_noise` alone changes them: client k of K adds N(0, (noise k/(K-1))^2) to every number of
  x, as NIID-Bench's code does (Li et al. 2022, section IV-B, writes noise k/K for the variance).

  Args:
    pool: a data set without clients, or just its examples.
    scheme: a name in `SCHEMES`.
    num_clients: number of clients, from 1 to the number of examples.
    seed: the run's seed.
    **parameters: the scheme's `PARAMETERS`; those not given have their defaults.

  Returns:
    The clients; every example belongs to exactly one.

  Raises:
    DataError: unknown scheme, a parameter outside its domain or of another scheme, more clients
      than examples, or a pool that lacks what the scheme needs (labels, superclasses, numbers).
  """
  data = pool.train if isinstance(pool, PooledData) else pool
  chosen = _scheme(scheme)
  settings = _check_parameters(scheme, parameters)
  if not 1 <= num_clients <= len(data['y']):
    raise DataError(
      f'--num_clients={num_clients}: the data set has {len(data["y"])} training examples, '
      f'so accepted is 1 to {len(data["y"])}'
    )
  generator = random_streams.generator(seed, f'partition {scheme}')
  owners = chosen.assign(_view(pool, scheme), num_clients, generator, **settings)
  clients = _clients_of(data, owners, num_clients)
  if scheme == 'feature_noise':
    return _add_noise(clients, settings['noise'], seed, 'partition noise train')
  return clients


def partition_test(
  clients: Clients,
  test: Examples,
  problem: Problem,
  scheme: str,
  seed: int,
  **parameters: Any,
) -> ContiguousClients:
  """Deals test examples out so that each client is tested on labels as it has trained on.

  The test examples of a label are divided among the clients in proportion to how many training
  examples of that label each has, rounded by largest remainder (ties by lot). Whatever scheme made
  the training split, a client's test labels thus have its training distribution, up to rounding;
  a label no client trains on, and labels that are not classes, are divided by training size. With
  fewer test examples than clients some clients have none. `feature_noise` adds noise of each
  client's own strength, drawn anew.

  Args:
    clients: the training clients that `partition` made.
    test: the data set's test examples.
    problem: what is predicted.
    scheme, seed, **parameters: as given to `partition`.

  Returns:
    As many clients, with the same ids; every test example belongs to exactly one.
  """
  settings = _check_parameters(scheme, parameters)
  generator = random_streams.generator(seed, 'partition test')
  sizes = clients.sizes.astype(np.float64)
  if problem in (Problem.CLASSIFICATION, Problem.BINARY):
    trained = label_counts(clients, problem).tocsc()
    codes = np.asarray(test['y'], np.int64)
    shares = lambda label: _column(trained, label, sizes)
  else:
    codes = np.zeros(len(test['y']), np.int64)
    shares = lambda label: sizes
  owners = np.empty(len(codes), np.int64)
  for label in np.unique(codes):
    rows = np.flatnonzero(codes == label)
    numbers = _apportion(len(rows), shares(label), generator)
    owners[rows] = _shuffled(np.repeat(np.arange(len(clients)), numbers), generator)
  dealt = _clients_of(test, owners, len(clients), clients.ids)
  if scheme == 'feature_noise':
    return _add_noise(dealt, settings['noise'], seed, 'partition noise test')
  return dealt


def _scheme(name: str) -> Scheme:
  if name not in SCHEMES:
    near = difflib.get_close_matches(name, SCHEMES, n=1)
    hint = f' (did you mean {near[0]}?)' if near else ''
    raise DataError(f'--partition={name}: unknown{hint}; accepted are {", ".join(SCHEMES)}')
  return SCHEMES[name]


def _check_parameters(scheme: str, given: Mapping[str, Any]) -> dict[str, Any]:
  """The scheme's parameters, defaults filled in."""
  accepted = _scheme(scheme).parameters
  for name, value in given.items():
    if name not in accepted:
      raise DataError(f'--partition_{name}={value}: --partition={scheme} has no such parameter')
    if not PARAMETERS[name].valid(value):  # type: ignore[misc]  # all of these have a check
      raise DataError(f'--partition_{name}={value}: accepted is {PARAMETERS[name].domain}')
  return {name: given.get(name, PARAMETERS[name].default) for name in accepted}


def _view(pool: Union[PooledData, Examples], scheme: str) -> _Pool:
  """What the scheme needs of the pool, checked."""
  data = pool.train if isinstance(pool, PooledData) else pool
  labels_given = np.asarray(data['y'])
  are_classes = labels_given.ndim == 1 and np.issubdtype(labels_given.dtype, np.integer)
  coarse = pool.coarse_labels if isinstance(pool, PooledData) else None
  if SCHEMES[scheme].needs_labels and not are_classes:
    raise DataError(f'--partition={scheme}: needs one class per example, the data set has none')
  if SCHEMES[scheme].needs_coarse_labels and coarse is None:
    raise DataError(f'--partition={scheme}: the data set has no superclasses (CIFAR-100 has)')
  if scheme == 'feature_noise' and not np.issubdtype(data['x'].dtype, np.floating):
    raise DataError('--partition=feature_noise: x of this data set is not made of real numbers')
  return _Pool(len(labels_given), labels_given if are_classes else None, coarse)


def _clients_of(
  data: Examples, owners: np.ndarray, num_clients: int, ids: Optional[Sequence[str]] = None
) -> ContiguousClients:
  """The clients that own these examples; each keeps them in the pool's order."""
  order = np.argsort(owners, kind='stable')
  offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=num_clients))])
  return ContiguousClients({key: array[order] for key, array in data.items()}, offsets, ids)


def _add_noise(
  clients: ContiguousClients, noise: float, seed: int, purpose: str
) -> ContiguousClients:
  arrays = dict(clients.pooled())
  noisy = np.empty_like(arrays['x'])
  first = 0
  for client, size in enumerate(clients.sizes):
    generator = random_streams.generator(seed, purpose, client)
    strength = noise * client / max(len(clients) - 1, 1)
    part = arrays['x'][first : first + size]
    noisy[first : first + size] = part + strength * generator.standard_normal(part.shape)
    first += size
  offsets = np.concatenate([[0], np.cumsum(clients.sizes)])
  return ContiguousClients({**arrays, 'x': noisy}, offsets, clients.ids)


def _column(counts: scipy.sparse.csc_matrix, label: int, otherwise: np.ndarray) -> np.ndarray:
  """How many examples of a label each client has, or `otherwise` where nobody has any."""
  if label >= counts.shape[1]:
    return otherwise
  column = counts[:, [label]].toarray()[:, 0].astype(np.float64)
  return column if column.any() else otherwise


def _even_sizes(total: int, parts: int) -> np.ndarray:
  """`total` in `parts` numbers that differ by at most one, the larger ones first."""
  return total // parts + (np.arange(parts) < total % parts)


def _shuffled(owners: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  generator.shuffle(owners)
  return owners


def _apportion(total: int, shares: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  """`total` in whole numbers proportional to `shares`, by largest remainder, ties by lot."""
  exact = total * (shares / shares.sum())
  numbers = np.floor(exact).astype(np.int64)
  lot = generator.permutation(len(shares))
  # Rounded, so that equal shares tie even where their remainders differ by rounding errors.
  remainders = np.round(exact - numbers, 9)[lot]
  numbers[lot[np.argsort(-remainders, kind='stable')[: total - numbers.sum()]]] += 1
  return numbers


def _draw(
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


def _owners_from_counts(
  codes: np.ndarray, counts: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
  """Deals each label's examples at random so that client k has counts[k, label] of them."""
  owners = np.empty(len(codes), np.int64)
  for label in range(counts.shape[1]):
    dealt = np.repeat(np.arange(len(counts)), counts[:, label])
    owners[codes == label] = _shuffled(dealt, generator)
  return owners


def _label_dirichlet_counts(
  totals: np.ndarray, num_clients: int, generator: np.random.Generator, alpha: float
) -> np.ndarray:
  """One draw of `label_dirichlet`: examples by client and label, int64 [num_clients, labels]."""
  counts = np.zeros((num_clients, len(totals)), np.int64)
  for label, total in enumerate(totals):
    open_clients = counts.sum(axis=1) < totals.sum() / num_clients
    shares = generator.dirichlet(np.full(num_clients, alpha)) * open_clients
    if not shares.sum() > 0:  # a small alpha: all the mass was on clients that are full
      shares = open_clients.astype(np.float64)
    cuts = (np.cumsum(shares / shares.sum()) * total).astype(np.int64)
    cuts[-1] = total
    counts[:, label] = np.diff(cuts, prepend=0)
  return counts


def _draw_label_sets(
  num_labels: int, num_clients: int, generator: np.random.Generator, labels_per_client: int
) -> np.ndarray:
  """Which client has which label: bool [num_clients, num_labels], every label with a holder."""
  clients = np.arange(num_clients)
  keys = generator.random((num_clients, num_labels))
  keys[clients, clients % num_labels] = -1.0  # the client's own label comes first
  chosen = np.argsort(keys, axis=1)[:, :labels_per_client]
  holds = np.zeros((num_clients, num_labels), bool)
  np.put_along_axis(holds, chosen, True, axis=1)
  for label in np.flatnonzero(~holds.any(axis=0)):
    shared = holds & (holds.sum(axis=0) > 1)
    client, given_up = generator.choice(np.argwhere(shared))
    holds[client, given_up], holds[client, label] = False, True
  return holds


def _top_up(
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
