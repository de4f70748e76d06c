"""The schemes by name, each imported only when it deals."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from fl_research import domains, registry
from fl_research.registry import Hyperparameter, UsageError

_ALPHA = {
  'alpha': Hyperparameter(
    0.5,
    'dirichlet, label_dirichlet, pachinko: concentration; small means few labels per client',
    **domains.POSITIVE,
  )
}


@dataclasses.dataclass(frozen=True)
class Scheme(registry.Entry):
  """A scheme's line in the registry, with what it does to a pool and needs of it.

  Attributes:
    needs_labels: whether it needs one class label per example.
    needs_coarse_labels: whether it needs a superclass for each label as well.
    alters_x: whether it changes the examples too, whose x must then be real numbers.
  """

  needs_labels: bool = True
  needs_coarse_labels: bool = False
  alters_x: bool = False


SCHEMES: Mapping[str, Scheme] = {
  'iid': Scheme(
    'fl_research.datasets.partition.iid', 'shuffled and dealt out evenly', needs_labels=False
  ),
  'shards': Scheme(
    'fl_research.datasets.partition.shards',
    'sorted by label, cut into shards, some shards for each client (McMahan et al. 2017)',
    {
      'shards_per_client': Hyperparameter(
        2, 'shards: shards that each client gets', **domains.COUNT
      )
    },
  ),
  'similarity': Scheme(
    'fl_research.datasets.partition.similarity',
    'a share of each client IID, the rest sorted by label (Karimireddy et al. 2020)',
    {
      'similarity': Hyperparameter(
        0.1,
        'similarity: share of each client that is IID, the rest being sorted by label',
        **domains.SHARE,
      )
    },
  ),
  'dirichlet': Scheme(
    'fl_research.datasets.partition.dirichlet',
    "equal sizes, each client's label shares from a Dirichlet (Hsu et al. 2019)",
    _ALPHA,
  ),
  'label_dirichlet': Scheme(
    'fl_research.datasets.partition.label_dirichlet',
    "unequal sizes, each label's split over clients from a Dirichlet (NIID-Bench)",
    _ALPHA,
  ),
  'labels': Scheme(
    'fl_research.datasets.partition.labels',
    'a fixed number of labels for each client (NIID-Bench)',
    {
      'labels_per_client': Hyperparameter(2, 'labels: labels that each client has', **domains.COUNT)
    },
  ),
  'quantity': Scheme(
    'fl_research.datasets.partition.quantity',
    'IID, but sizes log-normal or following a power law',
    {
      'sigma': Hyperparameter(
        1.0,
        'quantity: sizes are proportional to exp(sigma z), z normal',
        **domains.AT_LEAST_0,
      ),
      'power': Hyperparameter(
        0.0,
        'quantity: when above 0, the r-th largest size is proportional to r^-power instead',
        **domains.AT_LEAST_0,
      ),
    },
    needs_labels=False,
  ),
  'feature_noise': Scheme(
    'fl_research.datasets.partition.feature_noise',
    'IID, with Gaussian noise on x that grows from client to client (NIID-Bench)',
    {
      'noise': Hyperparameter(
        0.1,
        "feature_noise: standard deviation of the last client's noise",
        **domains.AT_LEAST_0,
      )
    },
    needs_labels=False,
    alters_x=True,
  ),
  'pachinko': Scheme(
    'fl_research.datasets.partition.pachinko',
    'Dirichlet over coarse and then fine labels (Reddi et al. 2021, CIFAR-100)',
    _ALPHA,
    needs_coarse_labels=True,
  ),
}
"""Every scheme: the name users type, its module, its hyperparameters, what it needs.

The module has `assign(targets, num_clients, generator, **hyperparameters)`, which returns the owner
of each example, int64; `targets` is the examples' y, class labels where the scheme `needs_labels`,
and one that `needs_coarse_labels` also takes `coarse_labels`. A scheme that `alters_x` also has
`alter(clients, part, seed, **hyperparameters)`, which returns `ContiguousClients` with another x;
part is train or test.
"""


def settings(scheme: str, given: Mapping[str, Any]) -> dict[str, Any]:
  """The scheme's hyperparameters, those given checked and the others at their defaults.

  Raises:
    UsageError: there is no such scheme, or one is outside its domain, or is not the scheme's.
  """
  entry = registry.lookup('partition', scheme, SCHEMES)
  for name, value in given.items():
    if name not in entry.hyperparameters:
      raise UsageError(f'--partition_{name}={value}: --partition={scheme} has no such parameter')
  return entry.settings('partition', given)
