"""Flags that entries of registries bring with them."""

from collections.abc import Iterable, Mapping
import dataclasses

from fl_research import aggregation, algorithms, models, optimizers, registry
from fl_research.aggregation import compression
from fl_research.algorithms import of_tff
from fl_research.datasets import partition as partition_lib
from fl_research.population import attacks, choosers, scheduler, staleness
from fl_research.registry import Hyperparameter


@dataclasses.dataclass(frozen=True)
class Registry:
  """A registry whose entries may have hyperparameters.

  Attributes:
    setting: the setting that chooses from it.
    table: its entries.
    group: heading of their flags in `--help`.
    prefix: what these flags begin with; empty for the entry's name.
    first: hyperparameters that are listed first, where there is a prefix.
  """

  setting: str
  table: Mapping[str, registry.Entry]
  group: str
  prefix: str = ''
  first: Mapping[str, Hyperparameter] = dataclasses.field(default_factory=dict)

  def hyperparameters(self) -> Mapping[str, Mapping[str, Hyperparameter]]:
    """Prefix -> hyperparameters by name."""
    if self.prefix:
      return {self.prefix: registry.shared(self.table, self.first)}
    return {name: entry.hyperparameters for name, entry in self.table.items()}


def registries() -> list[Registry]:
  """Every registry whose entries may have hyperparameters."""
  shared = optimizers.HYPERPARAMETERS
  return [
    Registry('partition', partition_lib.SCHEMES, 'Data', 'partition'),
    Registry('cohort_sampling', choosers.ALL, 'Clients'),
    Registry('client_optimizer', optimizers.OPTIMIZERS, 'Clients', 'client', shared),
    Registry('aggregation_trigger', scheduler.TRIGGERS, 'Asynchronous'),
    Registry('staleness_weighting', staleness.WEIGHTINGS, 'Asynchronous', 'staleness'),
    Registry('server_optimizer', optimizers.OPTIMIZERS, 'Server', 'server', shared),
    Registry('algorithm', algorithms.ALGORITHMS, 'Method'),
    Registry('algorithm', of_tff.ALGORITHMS, 'Method', of_tff.FLAGS),
    Registry('aggregator', aggregation.AGGREGATORS, 'Method'),
    Registry('compressor', compression.COMPRESSORS, 'Wire'),
    Registry('attack', attacks.ATTACKS, 'Attackers'),
    Registry('model', models.MODELS, 'Data'),
  ]


@dataclasses.dataclass(frozen=True)
class RegistryFlag:
  """A flag that a registry's entry brings with it.

  Attributes:
    prefix: the entry's name (or `partition`, `client`, `server`).
    name: the hyperparameter's name.
    hyperparameter: its default, help and domain.
    group: heading in `--help`.
  """

  prefix: str
  name: str
  hyperparameter: Hyperparameter
  group: str


def flags(taken: Iterable[str]) -> dict[str, RegistryFlag]:
  """All flags `--<prefix>_<hyperparameter>` of the registries.

  Args:
    taken: names of other flags.

  Raises:
    ValueError: two flags would have the same name.
  """
  found: dict[str, RegistryFlag] = {}
  names = set(taken)
  for r in registries():
    for prefix, table in r.hyperparameters().items():
      for name, hyperparameter in table.items():
        flag = f'{prefix}_{name}'
        if flag in names:
          raise ValueError(f'--{flag}, of {r.setting}, is the name of another flag already')
        names.add(flag)
        found[flag] = RegistryFlag(prefix, name, hyperparameter, r.group)
  return found
