"""Cohorts that depend on what clients report: who is chosen, and what each update counts.

`fl_research.population.cohorts` has the ways of drawing that know of clients no more than their
size. A rule here chooses a round's cohort from what the server knows when it begins: the scores of
earlier rounds (`fl_research.population.scores`), and what it asks of candidates. Everything is a
function of (seed, round) and of what was reported, and part of what a run saves, so that the same
flags give the same cohorts, also in a run that was resumed. The driver of such rounds is
`fl_research.training.choosing`.
"""

from collections.abc import Mapping
from typing import Any

from fl_research import domains, registry, runtime
from fl_research.population import cohorts
from fl_research.registry import Hyperparameter, Requirement, UsageError

_LOOKS_AT_CLIENTS = (
  Requirement(
    'runtime',
    tuple(name for name in runtime.NAMES if name != 'federation'),
    'needs numbers of single clients, which sites do not release',
  ),
  Requirement(
    'secure_aggregation', ('none',), 'needs numbers of single clients, which secure sums hide'
  ),
  Requirement('centralized', (False,), 'needs clients to choose among'),
  Requirement('local_only', (False,), 'needs clients to choose among'),
)
_NOT_PRIVATE = 'chooses clients by what they report of their data, which epsilon does not cover'


def _candidates(what: str) -> Hyperparameter:
  return Hyperparameter(
    0, f'how many clients {what}; 0: twice clients_per_round', **domains.COUNT_OR_0
  )


CHOOSERS: Mapping[str, registry.Entry] = {
  'power_of_choice': registry.Entry(
    'fl_research.population.power_of_choice',
    'of some candidates those with the highest losses (Cho et al. 2022)',
    {
      'candidates': _candidates('are candidates, drawn by_size'),
      'loss': Hyperparameter(
        'all',
        "whose loss counts: the present model's on all of a candidate's examples, or on a batch "
        'of them, or the one of the last round that it trained in (last)',
        lambda v: v in ('all', 'batch', 'last'),
        'all, batch or last',
      ),
    },
    requires=_LOOKS_AT_CLIENTS,
    not_private=_NOT_PRIVATE,
  ),
  'oort': registry.Entry(
    'fl_research.population.oort',
    'clients of high loss that are fast, and some that are new (Lai et al. 2021)',
    {
      'exploration': Hyperparameter(
        0.9, 'share of a cohort that is new clients, in the first round', **domains.SHARE
      ),
      'exploration_decay': Hyperparameter(
        0.98, 'what that share is multiplied by in every round', **domains.ABOVE_0_TO_1
      ),
      'exploration_min': Hyperparameter(0.2, 'what it does not fall below', **domains.SHARE),
      'alpha': Hyperparameter(
        2.0, 'alpha, how much slow clients lose; 0: speed does not count', **domains.FROM_0
      ),
      'clip': Hyperparameter(
        0.95, "share of clients by which the others' utility is bounded", **domains.ABOVE_0_TO_1
      ),
      'cutoff': Hyperparameter(
        0.95, 'c, what share of the last utility that would do is enough', **domains.SHARE
      ),
      'pacer_start': Hyperparameter(
        0.3, 'share of clients that are fast enough, in the first round', **domains.ABOVE_0_TO_1
      ),
      'pacer_rounds': Hyperparameter(
        20, 'W, after how many rounds that share may be raised; 0: never', **domains.COUNT_OR_0
      ),
      'pacer_delta': Hyperparameter(0.05, 'by how much it is raised', **domains.SHARE),
      'most_rounds': Hyperparameter(
        0, 'a client that reported more often is left out; 0: nobody is', **domains.COUNT_OR_0
      ),
    },
    requires=_LOOKS_AT_CLIENTS,
    not_private=_NOT_PRIVATE,
  ),
  'optimal': registry.Entry(
    'fl_research.population.optimal',
    'of some that train those send whose updates count, unbiased (Chen et al. 2022)',
    {
      'candidates': _candidates('train'),
      'iterations': Hyperparameter(
        0, 'j, steps of algorithm 2, which needs sums only; 0: exact', **domains.COUNT_OR_0
      ),
    },
    requires=(
      *_LOOKS_AT_CLIENTS,
      Requirement('aggregator', ('mean',), 'weighs updates for their mean to be unbiased'),
      Requirement('compressor', ('',), 'sends updates as they are, or not at all'),
      Requirement('over_selection', (1.0,), 'waits for the lengths of all updates'),
    ),
    not_private=_NOT_PRIVATE,
  ),
}
"""Every rule: the name users type, its module.

The module has `build(**hyperparameters)`, which returns a `rule.Rule`, or, for one that decides
when clients have trained, a `rule.Sender`.
"""

SENDERS = ('optimal',)
"""Those that decide when clients have trained."""

ALL: Mapping[str, registry.Entry] = {**cohorts.SAMPLINGS, **CHOOSERS}
"""What `--cohort_sampling` may be."""


def build(name: str, hyperparameters: Mapping[str, Any]) -> Any:
  """The rule of this name; None for a way of drawing that asks for no reports."""
  if name not in CHOOSERS:
    return None
  return CHOOSERS[name].load().build(**CHOOSERS[name].settings(name, hyperparameters))


def num_candidates(name: str, given: int, cohort_size: int) -> int:
  """How many candidates there are to be.

  Raises:
    UsageError: fewer than are wanted.
  """
  if given and given < cohort_size:
    raise UsageError(
      f'--{name}_candidates={given}: accepted is clients_per_round, here {cohort_size}, or more'
    )
  return given or 2 * cohort_size
