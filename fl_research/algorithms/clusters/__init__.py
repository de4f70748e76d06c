"""Methods with several global models, among which clients choose, or which they mix."""

from fl_research import domains, registry
from fl_research.algorithms import requirements
from fl_research.registry import Hyperparameter

METHODS = {
  'ifca': registry.Entry(
    'fl_research.algorithms.clusters.ifca',
    'several models; a client trains the one that suits it best (Ghosh et al. 2020)',
    {
      'clusters': Hyperparameter(2, 'number of models', **domains.COUNT),
      'averaging': Hyperparameter(
        'models',
        'what clients send: models that they have trained, or gradients',
        lambda v: v in ('models', 'gradients'),
        'models or gradients',
      ),
    },
    requires=(requirements.sums_only('divides sums by how many chose a model'),),
    defaults=requirements.UNIFORM,
    not_structured='sends updates of several models',
    not_private='also sends which model a client has chosen, which noise would not cover',
  ),
  'cfl': registry.Entry(
    'fl_research.algorithms.clusters.cfl',
    'clients whose updates disagree are parted, again and again (Sattler et al. 2021)',
    {
      'max_clusters': Hyperparameter(4, 'how many clusters there may be', **domains.COUNT),
      'mean_norm': Hyperparameter(
        0.4, "eps_1, below which a cluster's mean update hardly moves it", **domains.FROM_0
      ),
      'max_norm': Hyperparameter(
        1.6, "eps_2, above which a client's update moves far", **domains.FROM_0
      ),
    },
    requires=(
      registry.TRAINS_FROM_ONE_MODEL,
      *(
        registry.Requirement(setting, (accepted,), 'compares updates as clients have trained them')
        for setting, accepted in (
          ('aggregator', 'mean'),
          ('compressor', ''),
          ('secure_aggregation', 'none'),
        )
      ),
    ),
    not_private='shows the server every update by itself',
  ),
  'fedem': registry.Entry(
    'fl_research.algorithms.clusters.fed_em',
    'several models; a client mixes them by shares of its own (Marfoq et al. 2021)',
    {'components': Hyperparameter(2, 'M, number of models', **domains.COUNT)},
    requires=(registry.ONE_STATE_PER_CLIENT,),
    not_structured='trains several models',
  ),
}
