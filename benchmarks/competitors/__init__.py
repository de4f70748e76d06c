"""Programs that train the same rounds, each run in a process of its own (see `benchmarks.worker`).

A competitor's module has `build(job, **options)`, which returns an object with

    prepare(round_num)   what may be done ahead of the round, not timed
    round(round_num)     one federated round, timed, with all results in memory at its end
    weights()            the global model as arrays
    facts()              what the results should say about it
"""

from collections.abc import Mapping
import dataclasses
import importlib
from typing import Any


@dataclasses.dataclass(frozen=True)
class Competitor:
  """One program.

  Attributes:
    module: its module.
    configurations: the ways to run it, by name, as options of `build`; the fastest one counts.
  """

  module: str
  configurations: Mapping[str, Mapping[str, Any]]

  def build(self, job: Any, configuration: str) -> Any:
    """Builds one configuration for a `works.Job`."""
    return importlib.import_module(self.module).build(job, **self.configurations[configuration])


_OURS = 'benchmarks.competitors.ours'
_TFF = 'benchmarks.competitors.tff_learning'
_PLAIN = 'benchmarks.competitors.plain_loop'

COMPETITORS: Mapping[str, Competitor] = {
  'fused': Competitor(_OURS, {'default': {'runtime': 'auto'}}),
  'native': Competitor(_OURS, {'default': {'runtime': 'native'}}),
  'tff_learning': Competitor(
    _TFF,
    {
      f'{model} model, dataset {loop}': {'model': model, 'loop': loop}
      for model in ('keras', 'functional_keras', 'functional')
      for loop in ('reduce', 'iterator')
    },
  ),
  'tff_tutorial': Competitor(_TFF, {'default': {'model': 'keras', 'loop': 'reduce'}}),
  'tff_fused': Competitor(
    _TFF, {'default': {'model': 'keras', 'loop': 'reduce', 'runtime_name': 'fused'}}
  ),
  'plain_loop': Competitor(
    _PLAIN,
    {
      'one process, two threads': {'threads': 2, 'processes': 1},
      'two processes': {'threads': 1, 'processes': 2},
    },
  ),
}
"""Every competitor by name."""
