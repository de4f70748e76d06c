"""Methods that give every client a model of its own, or a part of one."""

from fl_research import domains, registry
from fl_research.algorithms import requirements
from fl_research.registry import Hyperparameter

_PRIVATE_LAYERS = {
  'private_layers': Hyperparameter(
    'last', "layers that clients keep: names separated by commas, or 'last', or 'none'"
  )
}

METHODS = {
  'local': registry.Entry(
    'fl_research.algorithms.personal.local',
    'each client alone, no federation; what --local_only runs',
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      registry.Requirement('aggregator', ('mean',), 'has nothing to combine'),
      registry.Requirement('compressor', ('',), 'sends nothing'),
      registry.Requirement('secure_aggregation', (False,), 'sends nothing'),
      registry.Requirement('attack', ('',), 'has no federation to attack'),
      registry.Requirement('aggregation_trigger', ('cohort',), 'has no server whose steps count'),
    ),
    not_private='sends no updates that noise could hide',
  ),
  'fedper': registry.Entry(
    'fl_research.algorithms.personal.fed_per',
    'clients keep layers of their own (Arivazhagan et al. 2019)',
    _PRIVATE_LAYERS,
    requires=(registry.ONE_STATE_PER_CLIENT,),
  ),
  'fedrep': registry.Entry(
    'fl_research.algorithms.personal.fed_rep',
    'heads of their own, trained before the shared body (Collins et al. 2021)',
    {
      **_PRIVATE_LAYERS,
      'head_epochs': Hyperparameter(10, 'passes that train the head', **domains.COUNT),
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
    defaults=requirements.UNIFORM,
  ),
  'ditto': registry.Entry(
    'fl_research.algorithms.personal.ditto',
    'a personal model beside the global one (Li et al. 2021)',
    {
      'regularization': Hyperparameter(
        1.0, 'lambda, how strongly the personal model is tied to the global one', **domains.FROM_0
      ),
      'personal_epochs': Hyperparameter(
        0, 'passes that train the personal model; 0: as the global one', **domains.COUNT_OR_0
      ),
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
  ),
}
