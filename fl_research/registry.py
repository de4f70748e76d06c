"""Names that users type, and what stands behind them.

A registry is a table of `Entry` lines. Reading it imports nothing, so that `--help`, and the
checking of flags, never wait for TensorFlow. An entry's hyperparameters become flags named
`--<name>_<hyperparameter>`.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import difflib
import importlib
from typing import Any, Optional


class UsageError(ValueError):
  """A user's mistake; the message is one line that names the flag, and what it accepts, or file."""


@dataclasses.dataclass(frozen=True)
class Hyperparameter:
  """One number or word of a method that users may set.

  Attributes:
    default: its value when not set; its type is the flag's type.
    help: one line for `--help`.
    valid: says whether a value is in the domain; None when all values are.
    domain: the domain in words, for the error message.
  """

  default: Any
  help: str
  valid: Optional[Callable[[Any], bool]] = None
  domain: str = ''

  def check(self, flag: str, value: Any) -> None:
    """Raises `UsageError` when the value is outside the domain."""
    if self.valid is not None and not self.valid(value):
      raise UsageError(f'--{flag}={value}: accepted is {self.domain}')


@dataclasses.dataclass(frozen=True)
class Requirement:
  """What an entry asks of another setting of the run.

  Attributes:
    setting: the setting's name, as its flag has it.
    accepted: the values with which the entry works.
    reason: why no others, as the end of a sentence whose subject is the entry.
  """

  setting: str
  accepted: tuple[Any, ...]
  reason: str

  def accepts(self, setting: str, value: Any) -> bool:
    """Whether it leaves that setting this value."""
    return setting != self.setting or value in self.accepted

  def check(self, flag: str, name: str, value: Any) -> None:
    """Raises `UsageError` unless the setting's value is accepted by `--<flag>=<name>`."""
    if value not in self.accepted:
      raise UsageError(
        f'--{self.setting}={_word(value)}: not with --{flag}={name}, which {self.reason}; accepted '
        f'is {" or ".join(_word(value) for value in self.accepted)}'
      )


ONE_STATE_PER_CLIENT = Requirement(
  'cohort_sampling',
  ('uniform', 'by_size', 'poisson', 'power_of_choice', 'oort'),
  'keeps a state for each client, who must not be drawn twice in a round nor train in vain',
)
"""With replacement a client may work twice in a round, and but one of its two states could stay."""

TRAINS_FROM_ONE_MODEL = Requirement(
  'aggregation_trigger',
  ('cohort',),
  'presumes that all whose updates are combined were given the same model',
)
"""What clients know of each other, or keep of the last round, would be of another round each."""


def _word(value: Any) -> str:
  """A setting's value as it is written in a message."""
  return str(value).lower() if isinstance(value, bool) else str(value or 'none')


@dataclasses.dataclass(frozen=True)
class Entry:
  """One line of a registry.

  Attributes:
    module: the module that implements it, imported when it is used.
    summary: what it is, in one line for `--help`.
    hyperparameters: its own settings, by name.
    requires: what it asks of other settings; they are checked before anything is read.
    defaults: for an algorithm or a model: what settings that are left open mean with it, where that
      is not what `settings.LEFT_OPEN` says.
    not_private: why a run with it cannot be differentially private (a method, whose updates noise
      does not hide; a way of drawing cohorts), as the end of a sentence whose subject is the
      entry; empty when it can.
    not_structured: for a method: why compressors that restrict training do not go with it, as the
      end of a sentence whose subject is the entry; empty when they do.
    is_sum: for an aggregator: whether all it needs of the clients are sums over them, which can
      then be secure ones.
    needs_server_examples: for an algorithm or an aggregator: whether it looks at examples that the
      server has itself.
    check_cohort: for an aggregator: `(name, hyperparameters, cohort_size)`, which raises
      `UsageError` when cohorts of this size are too small for it; None when none is.
  """

  module: str
  summary: str
  hyperparameters: Mapping[str, Hyperparameter] = dataclasses.field(default_factory=dict)
  requires: tuple[Requirement, ...] = ()
  defaults: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  not_private: str = ''
  not_structured: str = ''
  is_sum: bool = False
  needs_server_examples: bool = False
  check_cohort: Optional[Callable[[str, Mapping[str, Any], int], None]] = None

  def load(self) -> Any:
    """Imports the module."""
    return importlib.import_module(self.module)

  def settings(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All hyperparameters, those given checked and the others at their defaults.

    Raises:
      UsageError: one is outside its domain, or is not this entry's.
    """
    for key, value in given.items():
      if key not in self.hyperparameters:
        raise UsageError(f'--{name}_{key}={value}: {name} has no hyperparameter {key}')
      self.hyperparameters[key].check(f'{name}_{key}', value)
    return {key: given.get(key, hyper.default) for key, hyper in self.hyperparameters.items()}


def shared(
  table: Mapping[str, Entry], first: Mapping[str, Hyperparameter]
) -> dict[str, Hyperparameter]:
  """The hyperparameters of all entries by name, where entries that have the same share its flag.

  Args:
    table: the entries.
    first: those that come first, in this order.

  Raises:
    ValueError: a name stands for two different ones.
  """
  found = dict(first)
  for entry in table.values():
    for name, hyperparameter in entry.hyperparameters.items():
      if found.setdefault(name, hyperparameter) is not hyperparameter:
        raise ValueError(f'{entry.module}: {name} is another hyperparameter already')
  return found


def nearest(name: str, names: Iterable[str]) -> str:
  """The name that was probably meant; empty when none is near."""
  return next(iter(difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)), '')


def suggestion(name: str, names: Iterable[str]) -> str:
  """The nearest name as a question, to be put behind a complaint; empty when none is near."""
  near = nearest(name, names)
  return f' (did you mean {near}?)' if near else ''


def unknown(flag: str, name: str, valid: Iterable[str]) -> UsageError:
  """The error for a name that is not in a table, with the nearest one suggested."""
  names = sorted(valid)
  return UsageError(
    f'--{flag}={name}: unknown{suggestion(name, names)}; accepted are {", ".join(names)}'
  )


def lookup(flag: str, name: str, table: Mapping[str, Any]) -> Any:
  """The entry of that name; `UsageError` listing the names when there is none."""
  if name not in table:
    raise unknown(flag, name, table)
  return table[name]
