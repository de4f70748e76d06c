"""Methods in which models learn from what other models answer."""

from fl_research import domains, registry
from fl_research.algorithms import requirements
from fl_research.registry import Hyperparameter

METHODS = {
  'fedntd': registry.Entry(
    'fl_research.algorithms.distillation.fed_ntd',
    'clients keep to what the global model says of wrong classes (Lee et al. 2022)',
    {
      'beta': Hyperparameter(1.0, 'beta, weight of the distillation', **domains.FROM_0),
      'tau': Hyperparameter(1.0, 'tau, temperature of the answers', **domains.POSITIVE),
    },
  ),
  'fml': registry.Entry(
    'fl_research.algorithms.distillation.fml',
    'a model of its own and the shared one teach each other (Shen et al. 2020)',
    {
      'alpha': Hyperparameter(0.5, "alpha, what labels count for a client's own", **domains.SHARE),
      'beta': Hyperparameter(0.5, 'beta, what labels count for the shared one', **domains.SHARE),
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
    defaults=requirements.UNIFORM,
    not_structured='trains two models by one optimiser',
  ),
  'feddf': registry.Entry(
    'fl_research.algorithms.distillation.fed_df',
    'the server learns what all models answer together (Lin et al. 2020)',
    {
      'passes': Hyperparameter(
        5, "passes over the server's examples in every round", **domains.COUNT_OR_0
      ),
      'learning_rate': Hyperparameter(0.001, 'rate of Adam in these', **domains.FROM_0),
    },
    requires=(requirements.EXAMPLES_OF_THE_SERVER,),
    not_private='also sends what the trained model answers, which noise would not cover',
    needs_server_examples=True,
  ),
  'fedmd': registry.Entry(
    'fl_research.algorithms.distillation.fed_md',
    'clients exchange answers, not models (Li, Wang 2019; DS-FL, Itahara et al. 2021)',
    {
      'agreement': Hyperparameter(
        'scores',
        'what is agreed on: scores (the softmax of mean scores), or era (the mean of '
        'probabilities, made sharper)',
        lambda v: v in ('scores', 'era'),
        'scores or era',
      ),
      'temperature': Hyperparameter(0.1, 'T of era', **domains.POSITIVE),
      'passes': Hyperparameter(
        1, 'passes over the common examples, to digest what was agreed on', **domains.COUNT
      ),
    },
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      requirements.EXAMPLES_OF_THE_SERVER,
      *requirements.no_server_step('has answers at the server, and no model to step with'),
    ),
    defaults=requirements.UNIFORM,
    not_structured='sends answers',
    needs_server_examples=True,
  ),
  'fedgen': registry.Entry(
    'fl_research.algorithms.distillation.fed_gen',
    'clients learn of features that the server makes for each class (Zhu et al. 2021)',
    {
      'regularization': Hyperparameter(
        1.0, 'lambda, what made features count beside own examples', **domains.FROM_0
      ),
      'steps': Hyperparameter(50, 'steps of the generator in every round', **domains.COUNT_OR_0),
      'learning_rate': Hyperparameter(0.0003, 'rate of Adam in these', **domains.FROM_0),
    },
    defaults=requirements.UNIFORM,
    not_private='also sends how many examples of each class a client has, which noise would not '
    'cover',
  ),
  'feddistill': registry.Entry(
    'fl_research.algorithms.distillation.fed_distill',
    'clients tell each other what they answer to each class (Jeong et al. 2018)',
    {'gamma': Hyperparameter(1.0, 'gamma, what teachers count beside labels', **domains.FROM_0)},
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      *requirements.only(
        ('aggregator', 'mean', 'takes out of a mean what the client has sent itself'),
        ('client_weighting', 'uniform', 'counts no client more than another'),
        ('compressor', '', 'takes out of a mean what the client has sent itself'),
        ('aggregation_trigger', 'cohort', 'takes out what was sent in the last round'),
      ),
      *requirements.no_server_step('has answers at the server, and no model to step with'),
    ),
    defaults=requirements.UNIFORM,
    not_private='takes out of a mean what the client has sent itself, which clipping would change',
    not_structured='sends answers',
  ),
}
