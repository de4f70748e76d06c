"""`--algorithm=tff:<name>`: TFF's own processes, by what `tff.learning.algorithms.build_<name>` is.

Reading the table imports nothing, as with the other families; these are no methods of this library,
so they stand in a table of their own.
"""

from collections.abc import Mapping

from fl_research import domains, registry, runtime
from fl_research.datasets import files
from fl_research.models import own
from fl_research.population import cohorts
from fl_research.registry import Hyperparameter, Requirement

PREFIX, FLAGS = 'tff:', 'tff'
"""How their names begin, and the flags of their hyperparameters."""

_BUILDERS = 'fl_research.algorithms.of_tff.builders'

_PROCESS = "is a tff.learning process, whose clients' work is its own from data set to update"
_COMMON = (
  Requirement('compressor', ('',), f'{_PROCESS}, with nothing between for a compressor to take'),
  Requirement('attack', ('',), f'{_PROCESS}, with nothing between for attackers to change'),
  Requirement(
    'secure_aggregation',
    ('none',),
    'sums metrics and weights in the clear beside updates; a process of your own may be built with '
    'tff.learning.secure_aggregator',
  ),
  Requirement(
    'runtime',
    tuple(name for name in runtime.NAMES if name != 'federation'),
    'is one computation of all clients, and sites run the work of one',
  ),
  Requirement(
    'aggregation_trigger', ('cohort',), 'is one computation of a whole cohort, in which none waits'
  ),
  Requirement(
    'cohort_sampling',
    tuple(cohorts.SAMPLINGS),
    'reports sums over its clients, and no client by which to choose',
  ),
  Requirement('server_lr_schedule', ('constant',), "steps with the server optimiser's one rate"),
  Requirement('jit', ('off',), 'reads data sets, which XLA does not compile'),
)
_ONE_RATE = Requirement(
  'client_lr_schedule',
  ('constant',),
  'has one rate; with_optimizer_schedule is in the names of those that do not',
)
_SUMS = Requirement(
  'aggregator', ('mean', 'norm_bounding', 'zeroing'), 'combines by a tff.aggregators factory'
)
_MEAN = Requirement(
  'aggregator', ('mean',), 'takes unweighted tff.aggregators factories, and these are weighted'
)
_WEIGHTS = Requirement(
  'client_weighting', ('num_examples', 'uniform'), 'weighs by tff.learning.ClientWeighting'
)
_BY_EXAMPLES = Requirement('client_weighting', ('num_examples',), 'weighs by examples always')
_NOT_PRIVATE = (
  'combines updates itself; a process of your own may do so by tff.learning.dp_aggregator, whose '
  'noise comes from no seed, and for which no epsilon is reckoned here'
)
_MU = {'proximal_strength': Hyperparameter(0.1, 'strength of the proximal term', **domains.FROM_0)}
_UNIFORM = {'client_weighting': 'uniform'}
_AWAY = 'FedProx, whose term has the wrong sign in TFF 0.87: it drives clients away'


def _entry(
  summary: str,
  *requires: Requirement,
  hyperparameters: Mapping[str, Hyperparameter] = {},
  defaults: Mapping[str, str] = {},
  module: str = _BUILDERS,
) -> registry.Entry:
  return registry.Entry(
    module,
    summary,
    hyperparameters,
    requires=(*_COMMON, *requires),
    defaults=defaults,
    not_private=_NOT_PRIVATE,
  )


_UNWEIGHTED = Requirement('client_weighting', ('uniform',), 'counts every client once')
_FED_AVG = _entry('FedAvg', _SUMS, _WEIGHTS, _ONE_RATE)
_FED_PROX = _entry(_AWAY, _SUMS, _WEIGHTS, _ONE_RATE, hyperparameters=_MU)
_MIME_LITE = _entry(
  "MimeLite, of the clients' optimiser",
  _SUMS,
  _WEIGHTS,
  _ONE_RATE,
)

ALGORITHMS: dict[str, registry.Entry] = {
  f'{PREFIX}{name}': entry
  for name, entry in {
    'fed_avg': _FED_AVG,
    'weighted_fed_avg': _FED_AVG,
    'unweighted_fed_avg': _entry(
      'FedAvg, every client counting once', _MEAN, _UNWEIGHTED, _ONE_RATE, defaults=_UNIFORM
    ),
    'weighted_fed_avg_with_optimizer_schedule': _entry(
      'FedAvg with --client_lr_schedule', _SUMS, _BY_EXAMPLES
    ),
    'fed_prox': _FED_PROX,
    'weighted_fed_prox': _FED_PROX,
    'unweighted_fed_prox': _entry(
      f'{_AWAY}; every client counts once',
      _MEAN,
      _UNWEIGHTED,
      _ONE_RATE,
      hyperparameters=_MU,
      defaults=_UNIFORM,
    ),
    'fed_sgd': _entry('FedSGD', _SUMS, _BY_EXAMPLES, _ONE_RATE),
    'mime_lite': _MIME_LITE,
    'weighted_mime_lite': _MIME_LITE,
    'unweighted_mime_lite': _entry(
      'MimeLite, every client counting once', _MEAN, _UNWEIGHTED, _ONE_RATE, defaults=_UNIFORM
    ),
    'mime_lite_with_optimizer_schedule': _entry(
      'MimeLite with --client_lr_schedule', _SUMS, _WEIGHTS
    ),
  }.items()
}
"""Every builder: the name users type, and what it asks; `fed_avg` is short for `weighted_fed_avg`.

The module has a function of the name after the prefix, `(**hyperparameters)`, which returns a
`fl_research.round.from_learning_process.OfLearningProcess`.
"""

_AS_BUILT = (
  Requirement('aggregator', ('mean',), 'combines as it was built to'),
  Requirement('client_weighting', ('num_examples',), 'weighs its clients as it was built to'),
)
_OWN = _entry('your own', *_AS_BUILT, _ONE_RATE, module='fl_research.algorithms.of_tff.own_process')


def is_own(name: str) -> bool:
  """Whether `--algorithm` names a function of the user's own, which builds a learning process."""
  return '.py' in name or name.startswith(own.MEMORY)


def sources(name: str) -> dict[str, str]:
  """SHA-256 of the user's own file, so that a run is not resumed with another; none without one.

  Raises:
    UsageError: there is no such file; one line.
  """
  if not is_own(name) or name.startswith(own.MEMORY):
    return {}
  return {'algorithm': files.sha256_of(own.place(name, 'algorithm').path)}


def has(name: str) -> bool:
  """Whether `--algorithm` is to name a learning process, and no method of this library."""
  return name.startswith(PREFIX) or is_own(name)


def entry(name: str) -> registry.Entry:
  """What a learning process asks of the settings.

  Raises:
    UsageError: unknown name, with the nearest one.
  """
  return _OWN if is_own(name) else registry.lookup('algorithm', name, ALGORITHMS)


def build(name: str, hyperparameters: Mapping[str, float]):
  """Builds the method that is this learning process.

  Raises:
    UsageError: it is a user's own, and there is no such file or function; one line.
  """
  chosen = entry(name)
  if is_own(name):
    return chosen.load().build(name)
  function = getattr(chosen.load(), name.removeprefix(PREFIX))
  return function(**chosen.settings(FLAGS, hyperparameters))
