"""Methods that give every client a model of its own, or a part of one."""

from fl_research import domains, registry
from fl_research.algorithms import requirements
from fl_research.registry import Hyperparameter

_NAMES = "names separated by commas, or 'last', 'all_but_last', 'normalization' or 'none'"
_PRIVATE_LAYERS = {'private_layers': Hyperparameter('last', f'layers that clients keep: {_NAMES}')}
_PLAIN_STEPS = registry.Requirement(
  'client_optimizer', ('sgd',), 'presumes plain steps on the clients'
)
_TELLS_CLIENTS_APART = requirements.only(
  ('aggregator', 'mean', 'looks at what each client has sent'),
  ('client_weighting', 'uniform', 'counts no client more than another'),
  ('compressor', '', 'takes what clients send as it is'),
  ('secure_aggregation', 'none', 'has to know who sent what'),
  ('attack', '', 'has to know who sent what'),
  ('aggregation_trigger', 'cohort', 'takes what clients send as it is'),
)

METHODS = {
  'local': registry.Entry(
    'fl_research.algorithms.personal.local',
    'each client alone, no federation; what --local_only runs',
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      registry.Requirement('aggregator', ('mean',), 'has nothing to combine'),
      registry.Requirement('compressor', ('',), 'sends nothing'),
      registry.Requirement('secure_aggregation', ('none',), 'sends nothing'),
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
  'lgfedavg': registry.Entry(
    'fl_research.algorithms.personal.lg_fed_avg',
    'clients keep the layers that read their examples (Liang et al. 2020)',
    {'private_layers': Hyperparameter('all_but_last', f'layers that clients keep: {_NAMES}')},
    requires=(registry.ONE_STATE_PER_CLIENT,),
  ),
  'fedbn': registry.Entry(
    'fl_research.algorithms.personal.fed_bn',
    'clients keep the layers that normalise (Li et al. 2021)',
    {'private_layers': Hyperparameter('normalization', f'layers that clients keep: {_NAMES}')},
    requires=(registry.ONE_STATE_PER_CLIENT,),
    defaults=requirements.UNIFORM,
  ),
  'fedrecon': registry.Entry(
    'fl_research.algorithms.personal.fed_recon',
    'layers that clients make anew in every round and nobody keeps (Singhal et al. 2021)',
    {
      'private_layers': Hyperparameter('last', f'layers that clients reconstruct: {_NAMES}'),
      'support_fraction': Hyperparameter(
        0.5, 'share of the examples on which they are reconstructed', **domains.BELOW_1
      ),
      'reconstruction_epochs': Hyperparameter(1, 'passes over that share', **domains.COUNT),
      'reconstruction_factor': Hyperparameter(
        1.0, 'what gradients count in them, with SGD a factor of the rate', **domains.POSITIVE
      ),
    },
  ),
  'fedbabu': registry.Entry(
    'fl_research.algorithms.personal.fed_babu',
    'a body trained under a head that never moves, for clients to fine-tune (Oh et al. 2022)',
    {'private_layers': Hyperparameter('last', f'layers of the head: {_NAMES}')},
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
  'knnper': registry.Entry(
    'fl_research.algorithms.personal.knn_per',
    "the global model and a client's nearest examples (Marfoq et al. 2022)",
    {
      'neighbours': Hyperparameter(10, 'k, how many are asked', **domains.COUNT),
      'weight': Hyperparameter(0.5, 'lambda, what they count beside the model', **domains.SHARE),
      'scale': Hyperparameter(1.0, 'sigma, over which nearness decays', **domains.POSITIVE),
    },
  ),
  'fedpac': registry.Entry(
    'fl_research.algorithms.personal.fed_pac',
    'features drawn to common centroids, heads mixed for each client (Xu et al. 2023)',
    {
      'regularization': Hyperparameter(
        1.0, 'lambda, how strongly features are drawn to centroids', **domains.FROM_0
      ),
      'head_epochs': Hyperparameter(1, 'passes that train the head', **domains.COUNT),
    },
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      *(each for each in _TELLS_CLIENTS_APART if each.setting != 'client_weighting'),
    ),
    not_private='keeps the head of every client apart from the others',
    not_structured='also sends heads and features',
  ),
  'fedproto': registry.Entry(
    'fl_research.algorithms.personal.fed_proto',
    'clients share prototypes of classes, not models (Tan et al. 2022)',
    {
      'regularization': Hyperparameter(
        1.0, 'lambda, how strongly features are drawn to prototypes', **domains.FROM_0
      )
    },
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      requirements.sums_only('divides sums of features by numbers of examples'),
      registry.Requirement(
        'client_weighting', ('uniform',), 'counts every example as much as any other'
      ),
      *requirements.no_server_step('has prototypes at the server, and no model to step with'),
    ),
    defaults=requirements.UNIFORM,
    not_private='also sends how many examples of each class a client has, as numbers that count',
    not_structured='sends prototypes',
  ),
  'fedgh': registry.Entry(
    'fl_research.algorithms.personal.fed_gh',
    "the server trains a head on what clients' extractors make of classes (Yi et al. 2023)",
    {'learning_rate': Hyperparameter(0.01, "eta, the rate of the head's steps", **domains.FROM_0)},
    requires=(registry.ONE_STATE_PER_CLIENT, *_TELLS_CLIENTS_APART),
    defaults=requirements.UNIFORM,
    not_private='learns from what every client has sent, apart from the others',
    not_structured='sends features',
  ),
  'fedala': registry.Entry(
    'fl_research.algorithms.personal.fed_ala',
    'training begins from as much of the global model as helps (Zhang et al. 2023)',
    {
      'layers': Hyperparameter('last', f'layers that are mixed: {_NAMES}'),
      'mixture_learning_rate': Hyperparameter(1.0, 'eta, the rate of the shares', **domains.FROM_0),
      'first_passes': Hyperparameter(10, 'passes that learn them at first', **domains.COUNT),
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
  ),
  'fedrod': registry.Entry(
    'fl_research.algorithms.personal.fed_rod',
    'a head for all that is fair to classes, one of their own beside it (Chen & Chao 2022)',
    {
      'gamma': Hyperparameter(1.0, "gamma, how much the model's loss is balanced", **domains.FROM_0)
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
    not_structured='trains a head that it does not send in the same steps as what it sends',
  ),
  'dbe': registry.Entry(
    'fl_research.algorithms.personal.dbe',
    'vectors of their own for what is their own in the features (Zhang et al. 2023)',
    {
      'regularization': Hyperparameter(
        1.0, 'kappa, how strongly features are drawn to the mean of all', **domains.FROM_0
      ),
      'momentum': Hyperparameter(
        1.0, "mu, what a batch counts in a client's mean", **domains.ABOVE_0_TO_1
      ),
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
    not_private='also sends the mean of its features, which noise would not cover',
    not_structured='trains a vector that it does not send in the same steps as what it sends',
  ),
  'fedphp': registry.Entry(
    'fl_research.algorithms.personal.fed_php',
    'the average of what a client has trained teaches it (Li et al. 2021)',
    {
      'taught': Hyperparameter(
        0.1, 'lambda, what the inherited model counts beside the labels', **domains.SHARE
      ),
      'temperature': Hyperparameter(
        4.0, "T, by which the inherited model's logits are divided", **domains.POSITIVE
      ),
      'momentum': Hyperparameter(
        0.9, 'mu, how much of the inherited model is kept at last', **domains.BELOW_1
      ),
      'growth': Hyperparameter(
        10, "P, a client's rounds over which this share grows from 0", **domains.COUNT
      ),
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
  ),
  'fedamp': registry.Entry(
    'fl_research.algorithms.personal.fed_amp',
    'a mixture for each client of the models like its own (Huang et al. 2021)',
    {
      'regularization': Hyperparameter(
        0.1, "lambda, how strongly models are tied to the server's mixtures", **domains.FROM_0
      ),
      'sigma': Hyperparameter(
        1.0, 'sigma, over which attention decays; how sharp it is, of cosines', **domains.POSITIVE
      ),
      'attention': Hyperparameter(
        'distance',
        "what likeness is: 'distance' of models, or the 'cosine' between them (HeurFedAMP)",
        lambda v: v in ('distance', 'cosine'),
        'distance or cosine',
      ),
      'own_share': Hyperparameter(
        0.5, "s, the own model's share; read with cosine only", **domains.SHARE
      ),
    },
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      *_TELLS_CLIENTS_APART,
      *requirements.no_server_step('has no global model to step with'),
    ),
    defaults=requirements.UNIFORM,
    not_private='keeps the model of every client apart from the others',
  ),
  'fedfomo': registry.Entry(
    'fl_research.algorithms.personal.fed_fomo',
    'clients go towards those models of others that do better (Zhang et al. 2021)',
    {
      'models': Hyperparameter(5, 'M, how many are sent to a client', **domains.COUNT),
      'exploration': Hyperparameter(
        0.3, 'epsilon, how probably they are any, and not the preferred', **domains.SHARE
      ),
      'set_apart': Hyperparameter(
        5,
        'of how many of its examples a client sets one apart to compare models on',
        lambda v: v >= 2,
        'an integer of at least 2',
      ),
    },
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      *_TELLS_CLIENTS_APART,
      *requirements.no_server_step('has no global model to step with'),
    ),
    defaults=requirements.UNIFORM,
    not_private='keeps the model of every client apart from the others',
  ),
  'apfl': registry.Entry(
    'fl_research.algorithms.personal.apfl',
    'a mixture of an own model and the global one (Deng et al. 2020)',
    {
      'alpha': Hyperparameter(0.5, "alpha, the own model's share at first", **domains.SHARE),
      'adaptive': Hyperparameter(False, "whether each client's share follows its loss"),
    },
    requires=(registry.ONE_STATE_PER_CLIENT, _PLAIN_STEPS),
  ),
  'l2gd': registry.Entry(
    'fl_research.algorithms.personal.l2gd',
    'own models, pulled towards their mean when all meet (Hanzely, Richtárik 2020)',
    {
      'pull': Hyperparameter(
        0.5, 'theta, how far a meeting pulls models towards their mean', **domains.SHARE
      )
    },
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      registry.TRAINS_FROM_ONE_MODEL,
      *requirements.no_server_step('goes on from the mean of the models as it is'),
    ),
    defaults=requirements.UNIFORM,
    not_structured='sends models that are not near the one they are compared with',
  ),
  'pfedme': registry.Entry(
    'fl_research.algorithms.personal.p_fed_me',
    'personal models near a global one that is near them (Dinh et al. 2020)',
    {
      'regularization': Hyperparameter(
        5.0, 'lambda, how strongly the two are tied', **domains.FROM_0
      ),
      'personal_steps': Hyperparameter(
        5, 'K, steps of the personal model on each minibatch', **domains.COUNT
      ),
      'personal_learning_rate': Hyperparameter(0.1, 'rate of these steps', **domains.FROM_0),
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
    defaults=requirements.UNIFORM,
  ),
  'perfedavg': registry.Entry(
    'fl_research.algorithms.personal.per_fed_avg',
    'a model that one step adapts to a client (Fallah et al. 2020)',
    {
      'alpha': Hyperparameter(0.05, 'alpha, the rate of that step', **domains.FROM_0),
      'delta': Hyperparameter(
        0.0, 'delta, over which HF takes the difference of gradients; 0: FO', **domains.FROM_0
      ),
    },
    defaults=requirements.UNIFORM,
  ),
}
