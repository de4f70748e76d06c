"""What an update looks like on the wire: compressors by name, and chains of them.

`--compressor=subsample:0.1,rotation,quantize:2` is a chain of three stages; see
`fl_research.aggregation.compression.chain` for its grammar, and `fl_research.soundness.chains` for
what makes a chain sound.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

from fl_research import registry
from fl_research.registry import Hyperparameter

STRUCTURED = 'structured'
SKETCH = 'sketch'
CODE = 'code'


@dataclasses.dataclass(frozen=True)
class StageEntry(registry.Entry):
  """A compressor's line in the registry, with what decides where in a chain it may stand.

  Attributes:
    kind: STRUCTURED restricts training to what can be sent, and so comes first; SKETCH turns
      numbers into other, often fewer, numbers; CODE turns numbers into bits, and so comes last.
    rotates: whether it applies a random rotation.
    feeds_back: whether a client must remember what was lost and add it to its next update.
    contracts: by its hyperparameters, whether what it loses is always less than what there was,
      E‖decoded - v‖² < ‖v‖²; without that, an error that is fed back grows without bound.
  """

  kind: str = CODE
  rotates: bool = False
  feeds_back: bool = False
  contracts: Callable[[Mapping[str, Any]], bool] = lambda hyperparameters: False


_LINEAR_STEPS = registry.Requirement(
  'client_optimizer',
  ('sgd', 'momentum'),
  'trains in a random subspace, where only steps linear in the gradient stay the same',
)
_NO_XLA = registry.Requirement(
  'jit', ('auto', 'off'), 'picks out numbers in a way that XLA does not compile'
)
_always = lambda hyperparameters: True
_is_share = lambda value: 0 < value <= 1
_SHARE = 'a share in (0, 1]'

COMPRESSORS: dict[str, StageEntry] = {
  'low_rank': StageEntry(
    'fl_research.aggregation.compression.low_rank',
    'train a random low-rank factor only (Konečný et al. 2016)',
    {
      'rank': Hyperparameter(
        0.25,
        'rank of the update of a matrix: a share of its rows, or the rank itself',
        lambda v: 0 < v < 1 or (v >= 1 and float(v).is_integer()),
        'a share in (0, 1), or an integer of at least 1',
      )
    },
    requires=(_LINEAR_STEPS,),
    kind=STRUCTURED,
    contracts=_always,
  ),
  'random_mask': StageEntry(
    'fl_research.aggregation.compression.random_mask',
    'train a random part of the weights (Konečný et al. 2016)',
    {'fraction': Hyperparameter(0.25, 'share of the weights trained', _is_share, _SHARE)},
    requires=(_LINEAR_STEPS, _NO_XLA),
    kind=STRUCTURED,
    contracts=_always,
  ),
  'subsample': StageEntry(
    'fl_research.aggregation.compression.subsample',
    'send a random part of the numbers, scaled up (Konečný et al. 2016)',
    {'fraction': Hyperparameter(0.1, 'share of the numbers sent', _is_share, _SHARE)},
    requires=(_NO_XLA,),
    kind=SKETCH,
  ),
  'rotation': StageEntry(
    'fl_research.aggregation.compression.rotation',
    'random Hadamard rotation, which evens out numbers before quantize (Konečný et al. 2016)',
    kind=SKETCH,
    rotates=True,
    contracts=_always,
  ),
  'top_k': StageEntry(
    'fl_research.aggregation.compression.top_k',
    'send the largest numbers, remember the others (Seide et al. 2014, Stich et al. 2018)',
    {'fraction': Hyperparameter(0.01, 'share of the numbers sent', _is_share, _SHARE)},
    requires=(_NO_XLA, registry.ONE_STATE_PER_CLIENT),
    kind=SKETCH,
    feeds_back=True,
    contracts=_always,
  ),
  'quantize': StageEntry(
    'fl_research.aggregation.compression.quantize',
    'round at random to 2^bits levels (Konečný et al. 2016)',
    {'bits': Hyperparameter(8, 'bits per number', lambda v: 1 <= v <= 16, 'an integer in [1, 16]')},
    contracts=lambda hyperparameters: hyperparameters['bits'] >= 8,
  ),
  'qsgd': StageEntry(
    'fl_research.aggregation.compression.qsgd',
    'round at random to parts of the norm, Elias-coded (Alistarh et al. 2017)',
    {
      'levels': Hyperparameter(
        16, 's, levels between 0 and the norm', lambda v: 1 <= v <= 2**15, 'an integer in [1, 2^15]'
      )
    },
    requires=(_NO_XLA,),
  ),
  'drive': StageEntry(
    'fl_research.aggregation.compression.drive',
    'rotate, then one bit per number and one scale (Vargaftik et al. 2021)',
    rotates=True,
  ),
}
"""Every compressor: the name users type, its module, its hyperparameters, its place in a chain.

The module has `build(**hyperparameters)`, which returns a
`fl_research.aggregation.compression.stage.Stage`.
"""


def build(stages: Mapping[str, Mapping[str, Any]]):
  """The compressor that applies these stages in this order; None when there are none.

  Args:
    stages: all hyperparameters of each stage, by the stage's name; `chain.parse` gives them.
  """
  if not stages:
    return None
  from fl_research.aggregation.compression import staged

  built = [COMPRESSORS[name].load().build(**values) for name, values in stages.items()]
  return staged.StagedCompressor(
    built, error_feedback=any(COMPRESSORS[name].feeds_back for name in stages)
  )
