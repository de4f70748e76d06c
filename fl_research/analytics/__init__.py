"""Federated analytics: what is learnt of clients' data without training a model to predict.

An analysis is a line in `ANALYSES` and a file that says how a round goes (`Analysis`); data,
cohorts, runtimes, the folder and its files are those of training. Reading this table imports no
TensorFlow.
"""

from collections.abc import Mapping

from fl_research import domains, registry
from fl_research.registry import Hyperparameter, Requirement

_ONE_ROUND = Requirement(
  'total_rounds', (1,), 'asks each client once; --clients_per_round says how many are asked'
)
_SUMS_ARE_SHOWN = Requirement(
  'secure_aggregation', ('none',), 'needs what each client sends by itself'
)
_ITERATIVE = {'total_rounds': 10}
_ONE_SHOT = {'total_rounds': 1}

_CLUSTERS = {'clusters': Hyperparameter(10, 'K: so many centres', **domains.COUNT)}
_RANGE = {
  'low': Hyperparameter(0.0, 'where the first bin begins'),
  'high': Hyperparameter(
    0.0, 'where the last bin ends; both 0: the smallest and the largest number of the clients'
  ),
}

ANALYSES: Mapping[str, registry.Entry] = {
  'kmeans': registry.Entry(
    'fl_research.analytics.kmeans',
    "k-means by rounds: TFF's build_fed_kmeans (after Sculley 2010)",
    {
      **_CLUSTERS,
      'start': Hyperparameter(
        'examples',
        "the first centres: examples (K of the clients', drawn at random and shown to the server), "
        "or normal (TFF's: drawn from the standard normal distribution)",
        lambda value: value in ('examples', 'normal'),
        'examples or normal',
      ),
    },
    defaults=_ITERATIVE,
    not_private='sums points of any length',
  ),
  'kfed': registry.Entry(
    'fl_research.analytics.kfed',
    'k-FED (Dennis, Li, Smith 2021): k-means in one round',
    {
      **_CLUSTERS,
      'local_clusters': Hyperparameter(
        2, "k': so many centres of each client's own", **domains.COUNT
      ),
      'local_steps': Hyperparameter(
        100, "at most so many of Lloyd's steps at a client", **domains.COUNT
      ),
    },
    requires=(_ONE_ROUND, _SUMS_ARE_SHOWN),
    defaults=_ONE_SHOT,
    not_private="shows the server each client's centres",
  ),
  'pca': registry.Entry(
    'fl_research.analytics.pca',
    'principal components, from sums of x and x xT',
    {'components': Hyperparameter(10, 'so many components', **domains.COUNT)},
    requires=(_ONE_ROUND,),
    defaults=_ONE_SHOT,
    not_private='sums squares of any size',
  ),
  'histogram': registry.Entry(
    'fl_research.analytics.histogram',
    "counts of clients' numbers in bins, with differential privacy or without",
    {'bins': Hyperparameter(20, 'K: so many bins of equal width', **domains.COUNT), **_RANGE},
    requires=(_ONE_ROUND,),
    defaults={**_ONE_SHOT, 'column': 'num_examples'},
  ),
  'tff_histogram': registry.Entry(
    'fl_research.analytics.tff_histogram',
    "TFF's own histogram from a tree of counts; its noise does not come from --seed",
    {
      'bins': Hyperparameter(20, 'K: so many bins of equal width', **domains.COUNT),
      'low': Hyperparameter(0.0, 'where the first bin begins'),
      'high': Hyperparameter(0.0, 'where the last bin ends; must be given'),
      'arity': Hyperparameter(
        2,
        'so many children has a node of the tree',
        lambda value: 2 <= value <= 64,
        'an integer from 2 to 64',
      ),
      'clipping': Hyperparameter(
        'sub-sampling',
        'which of a client count: any of its numbers (sub-sampling), or each bin once (distinct)',
        lambda value: value in ('sub-sampling', 'distinct'),
        'sub-sampling or distinct',
      ),
      'max_records': Hyperparameter(
        10, 'm: so many of a client count, drawn at random where it has more', **domains.COUNT
      ),
      'noise': Hyperparameter(
        0.0, "z: noise in units of a client's longest tree; 0: none", **domains.FROM_0
      ),
    },
    requires=(_ONE_ROUND,),
    defaults={**_ONE_SHOT, 'column': 'num_examples'},
    not_private="has TFF's own noise, --tff_histogram_noise",
  ),
  'quantiles': registry.Entry(
    'fl_research.analytics.quantiles',
    "quantiles of clients' numbers by a tree of counts, with differential privacy or without",
    {
      'of': Hyperparameter('0.1,0.25,0.5,0.75,0.9', 'which quantiles'),
      'bins': Hyperparameter(
        256,
        'K: so many bins of equal width',
        lambda value: 2 <= value <= 1024 and value & (value - 1) == 0,
        'a power of 2 from 2 to 1024',
      ),
      **_RANGE,
    },
    requires=(_ONE_ROUND,),
    defaults={**_ONE_SHOT, 'column': 'num_examples'},
  ),
  'distinct': registry.Entry(
    'fl_research.analytics.distinct',
    'how many different words there are: linear counting, or HyperLogLog',
    {
      'sketch': Hyperparameter(
        'linear',
        'linear (buckets that some word falls into), or hyperloglog (32 registers)',
        lambda value: value in ('linear', 'hyperloglog'),
        'linear or hyperloglog',
      ),
      'buckets': Hyperparameter(
        4096,
        'linear: m, so many buckets',
        lambda value: 1 <= value <= 1 << 22,
        'an integer from 1 to 4194304',
      ),
    },
    requires=(_ONE_ROUND,),
    defaults={**_ONE_SHOT, 'column': 'label'},
    not_private='looks for buckets that are empty, which noise would fill',
  ),
  'heavy_hitters': registry.Entry(
    'fl_research.analytics.heavy_hitters',
    "the most frequent words, from TFF's sketch (IBLT)",
    {
      'capacity': Hyperparameter(
        1000, 'so many different words can be told apart', **domains.COUNT
      ),
      'max_bytes': Hyperparameter(20, 'words are cut to so many bytes of UTF-8', **domains.COUNT),
      'max_words': Hyperparameter(
        0, 'so many words of a client count, its first ones; 0: all', **domains.COUNT_OR_0
      ),
      'min_clients': Hyperparameter(1, 'leave out words of fewer clients', **domains.COUNT),
      'top': Hyperparameter(10, 'the recall is of so many words', **domains.COUNT),
    },
    requires=(_ONE_ROUND,),
    defaults={**_ONE_SHOT, 'column': 'label'},
    not_private='gives exact counts; --analysis=triehh has an epsilon',
  ),
  'triehh': registry.Entry(
    'fl_research.analytics.triehh',
    'TrieHH (Zhu et al. 2020): frequent words with an epsilon and no noise, letter by letter',
    {
      'epsilon': Hyperparameter(4.0, 'epsilon of all rounds together', **domains.POSITIVE),
      'delta': Hyperparameter(0.0, 'delta; 0: clients^-1.1', **domains.BELOW_1),
      'length': Hyperparameter(
        10,
        'L: a letter more than the longest word has',
        lambda value: 2 <= value <= 100,
        'an integer from 2 to 100',
      ),
      'top': Hyperparameter(10, 'the recall is of so many words', **domains.COUNT),
    },
    requires=(
      Requirement('clients_per_round', (None,), 'asks as many as --triehh_epsilon allows'),
      Requirement('cohort_sampling', ('uniform',), 'has its epsilon for uniform cohorts alone'),
    ),
    defaults={'total_rounds': 10, 'column': 'label'},
    not_private='has an epsilon of its own, --triehh_epsilon',
  ),
}
"""Every analysis, by the name that users type."""
