"""Methods for one global model: how clients step towards it, and how the server does."""

from fl_research import domains, registry
from fl_research.algorithms import requirements
from fl_research.registry import Hyperparameter

_IS_SERVER_OPTIMIZER = registry.Requirement(
  'server_optimizer', ('sgd',), "is the server's optimiser itself (its rate still counts)"
)
# Adaptive steps are about as long as their rate, whatever the gradient; the usual 1 would be far
# too long. These are the rates that Reddi et al. 2021 find best most often (tables 8 to 10).
_ADAPTIVE_STEP = {'server_learning_rate': 0.01}


def _moments(beta_1: float) -> dict[str, Hyperparameter]:
  """The hyperparameters that all adaptive servers have."""
  return {
    'beta_1': Hyperparameter(beta_1, 'decay of the first moment', **domains.BELOW_1),
    'tau': Hyperparameter(1e-3, 'tau, added to the root of the second moment', **domains.POSITIVE),
    'initial_accumulator': Hyperparameter(
      0.0, 'initial second moment, at least tau squared; 0: tau squared', **domains.FROM_0
    ),
  }


_BETA_2 = {'beta_2': Hyperparameter(0.99, 'decay of the second moment', **domains.BELOW_1)}
_MIME_BASE = {
  'base': Hyperparameter(
    'momentum',
    'the optimiser that is mimicked',
    lambda v: v in ('sgd', 'momentum', 'adam', 'adagrad'),
    'sgd, momentum, adam or adagrad',
  ),
  'beta_1': Hyperparameter(0.9, 'decay of the first moment', **domains.BELOW_1),
  **_BETA_2,
  'epsilon': Hyperparameter(
    1e-3, 'epsilon, added to the root of the second moment', **domains.POSITIVE
  ),
  'initial_accumulator': Hyperparameter(0.1, 'initial second moment', **domains.FROM_0),
}
_MIMICS = registry.Requirement('client_optimizer', ('sgd',), "defines the clients' steps")
_RHO = {'rho': Hyperparameter(0.05, 'rho, how far the worst point nearby is', **domains.FROM_0)}
_MU = {'mu': Hyperparameter(0.0, 'mu, strength of the proximal term', **domains.FROM_0)}

_PLAIN_STEPS = registry.Requirement(
  'client_optimizer', ('sgd',), 'presumes plain steps on the clients'
)
_TAKES_THE_MEAN = requirements.no_server_step('goes on from the mean of the models as it is')
_SENDS_STEPS = 'also sends how much work is behind an update, which noise would not cover'

METHODS = {
  'fedavg': registry.Entry(
    'fl_research.algorithms.optimization.fed_avg',
    'train locally, average the models (McMahan et al. 2017)',
  ),
  'fedsgd': registry.Entry(
    'fl_research.algorithms.optimization.fed_sgd',
    'average one gradient per client (McMahan et al. 2017)',
  ),
  'fedavgm': registry.Entry(
    'fl_research.algorithms.optimization.fed_avg_m',
    'FedAvg with momentum at the server (Hsu et al. 2019)',
    {
      'momentum': Hyperparameter(0.9, 'momentum', **domains.BELOW_1),
      'nesterov': Hyperparameter(False, "Nesterov's form of it"),
    },
    requires=(_IS_SERVER_OPTIMIZER,),
  ),
  'fedadagrad': registry.Entry(
    'fl_research.algorithms.optimization.fed_adagrad',
    'Adagrad at the server (Reddi et al. 2021)',
    _moments(beta_1=0.0),
    requires=(_IS_SERVER_OPTIMIZER,),
    defaults={'server_learning_rate': 0.1},
  ),
  'fedadam': registry.Entry(
    'fl_research.algorithms.optimization.fed_adam',
    'Adam at the server, without bias correction (Reddi et al. 2021)',
    {**_moments(beta_1=0.9), **_BETA_2},
    requires=(_IS_SERVER_OPTIMIZER,),
    defaults=_ADAPTIVE_STEP,
  ),
  'fedyogi': registry.Entry(
    'fl_research.algorithms.optimization.fed_yogi',
    'Yogi at the server, without bias correction (Reddi et al. 2021)',
    {**_moments(beta_1=0.9), **_BETA_2},
    requires=(_IS_SERVER_OPTIMIZER,),
    defaults=_ADAPTIVE_STEP,
  ),
  'fedexp': registry.Entry(
    'fl_research.algorithms.optimization.fed_exp',
    'longer steps of the server where clients disagree (Jhunjhunwala et al. 2023)',
    {
      'epsilon': Hyperparameter(
        1e-3, "epsilon, added to the mean update's squared length", **domains.POSITIVE
      )
    },
    requires=(requirements.DEFINES_SERVER_STEP,),
    defaults=requirements.UNIFORM,
    not_private='also sends how long an update is, which noise would not cover',
  ),
  'fedprox': registry.Entry(
    'fl_research.algorithms.optimization.fed_prox',
    'a proximal term holds clients near the global model (Li et al. 2020)',
    {'mu': Hyperparameter(0.1, 'mu, strength of the proximal term', **domains.FROM_0)},
  ),
  'fednova': registry.Entry(
    'fl_research.algorithms.optimization.fed_nova',
    'updates normalised by the work behind them (Wang et al. 2020)',
    _MU,
    requires=(
      registry.Requirement(
        'client_optimizer', ('sgd', 'momentum'), 'normalises by what these do with gradients'
      ),
    ),
    not_private=_SENDS_STEPS,
  ),
  'scaffold': registry.Entry(
    'fl_research.algorithms.optimization.scaffold',
    'control variates against client drift (Karimireddy et al. 2020)',
    {
      'option': Hyperparameter(
        'II', "how a client's variate is renewed", lambda v: v in ('I', 'II'), 'I or II'
      )
    },
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      registry.TRAINS_FROM_ONE_MODEL,
      _PLAIN_STEPS,
    ),
    defaults=requirements.UNIFORM,
    not_private='also sends the change of a control variate, which noise would not cover',
  ),
  'fedgamma': registry.Entry(
    'fl_research.algorithms.optimization.fed_gamma',
    'SCAFFOLD that looks for flat minima (Dai et al. 2023)',
    _RHO,
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      registry.TRAINS_FROM_ONE_MODEL,
      _PLAIN_STEPS,
    ),
    defaults=requirements.UNIFORM,
    not_private='also sends the change of a control variate, which noise would not cover',
  ),
  'fedlin': registry.Entry(
    'fl_research.algorithms.optimization.fed_lin',
    "local steps corrected by this round's gradient of all (Mitra et al. 2021)",
    {'even': Hyperparameter(False, "divide a client's rate by its number of steps")},
    requires=(_PLAIN_STEPS, registry.TRAINS_FROM_ONE_MODEL, requirements.SEVERAL_TRIPS),
    defaults=requirements.UNIFORM,
    not_private='also sends a gradient, in a trip of its own',
  ),
  'fedacg': registry.Entry(
    'fl_research.algorithms.optimization.fed_acg',
    "clients begin where the server's momentum leads (Kim et al. 2024)",
    {
      'momentum': Hyperparameter(0.85, "lambda, the server's momentum", **domains.BELOW_1),
      'beta': Hyperparameter(0.01, 'beta, strength of the proximal term', **domains.FROM_0),
    },
    requires=(requirements.DEFINES_SERVER_STEP,),
    defaults=requirements.UNIFORM,
  ),
  'fedpa': registry.Entry(
    'fl_research.algorithms.optimization.fed_pa',
    "updates by the mean and covariance of clients' posteriors (Al-Shedivat et al. 2021)",
    {
      'samples': Hyperparameter(5, 'l, samples of the posterior', **domains.COUNT),
      'burn_in': Hyperparameter(
        0.5, "share of a client's steps before the first sample; 1: FedAvg", **domains.SHARE
      ),
      'burn_in_rounds': Hyperparameter(
        0, 'so many rounds of FedAvg at first', **domains.COUNT_OR_0
      ),
      'rho': Hyperparameter(0.01, "rho, how much the samples' covariance counts", **domains.FROM_0),
    },
  ),
  'mimelite': registry.Entry(
    'fl_research.algorithms.optimization.mime_lite',
    "local steps with a central optimiser's statistics (Karimireddy et al. 2021)",
    _MIME_BASE,
    requires=(_MIMICS,),
    defaults=requirements.UNIFORM,
    not_private='also sends a gradient, which noise would not cover',
  ),
  'mime': registry.Entry(
    'fl_research.algorithms.optimization.mime',
    'MimeLite with control variates of the same round (Karimireddy et al. 2021)',
    _MIME_BASE,
    requires=(_MIMICS, registry.TRAINS_FROM_ONE_MODEL, requirements.SEVERAL_TRIPS),
    defaults=requirements.UNIFORM,
    not_private='also sends a gradient, in a trip of its own',
  ),
  'fedcm': registry.Entry(
    'fl_research.algorithms.optimization.fed_cm',
    "momentum of the last round in every client's steps (Xu et al. 2021)",
    {
      'alpha': Hyperparameter(
        0.1, "alpha, the gradient's share of a step; 1: FedAvg", **domains.ABOVE_0_TO_1
      )
    },
    requires=(_PLAIN_STEPS,),
    defaults=requirements.UNIFORM,
    not_private=_SENDS_STEPS,
  ),
  'fedsam': registry.Entry(
    'fl_research.algorithms.optimization.fed_sam',
    'clients look for flat minima (Qu et al. 2022, Caldarola et al. 2022)',
    _RHO,
  ),
  'fedasam': registry.Entry(
    'fl_research.algorithms.optimization.fed_asam',
    'FedSAM that measures by the size of weights (Caldarola et al. 2022)',
    {
      'rho': Hyperparameter(0.5, 'rho, how far the worst point nearby is', **domains.FROM_0),
      'nu': Hyperparameter(0.2, "nu, added to the weights' sizes", **domains.FROM_0),
    },
  ),
  'mofedsam': registry.Entry(
    'fl_research.algorithms.optimization.mo_fed_sam',
    'FedSAM with the momentum of the last round (Qu et al. 2022)',
    {
      **_RHO,
      'beta': Hyperparameter(
        0.1, "beta, the gradient's share of a step; 1: FedSAM", **domains.ABOVE_0_TO_1
      ),
    },
    requires=(_PLAIN_STEPS,),
    defaults=requirements.UNIFORM,
    not_private=_SENDS_STEPS,
  ),
  'scaffnew': registry.Entry(
    'fl_research.algorithms.optimization.scaffnew',
    "control variates from what becomes of a client's model (Mishchenko et al. 2022)",
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      registry.TRAINS_FROM_ONE_MODEL,
      _PLAIN_STEPS,
      *_TAKES_THE_MEAN,
    ),
    defaults=requirements.UNIFORM,
    not_structured='renews variates of all weights by how far its training led',
  ),
  'feddc': registry.Entry(
    'fl_research.algorithms.optimization.fed_dc',
    'drifts that clients learn, and control variates (Gao et al. 2022)',
    {'alpha': Hyperparameter(0.1, 'alpha, strength of the tie', **domains.FROM_0)},
    requires=(
      requirements.DEFINES_SERVER_STEP,
      registry.ONE_STATE_PER_CLIENT,
      registry.TRAINS_FROM_ONE_MODEL,
      _PLAIN_STEPS,
    ),
    defaults=requirements.UNIFORM,
    not_private='also sends the change of a control variate, which noise would not cover',
  ),
  'moon': registry.Entry(
    'fl_research.algorithms.optimization.moon',
    "features near the global model's, away from the client's last (Li et al. 2021)",
    {
      'mu': Hyperparameter(1.0, 'mu, what that counts', **domains.FROM_0),
      'tau': Hyperparameter(0.5, 'tau, the temperature of likeness', **domains.POSITIVE),
    },
    requires=(registry.ONE_STATE_PER_CLIENT,),
  ),
  'fedlc': registry.Entry(
    'fl_research.algorithms.optimization.fed_lc',
    'logits calibrated for the classes that a client has (Zhang et al. 2022)',
    {'tau': Hyperparameter(1.0, 'tau, strength of the calibration', **domains.FROM_0)},
  ),
  'fedrs': registry.Entry(
    'fl_research.algorithms.optimization.fed_rs',
    'the weights of classes that a client has not are held back (Li, Zhan 2021)',
    {'alpha': Hyperparameter(0.5, 'alpha, scales the logits of missing classes', **domains.SHARE)},
  ),
  'feddyn': registry.Entry(
    'fl_research.algorithms.optimization.fed_dyn',
    'dynamic regularisation (Acar et al. 2021)',
    {'alpha': Hyperparameter(0.01, 'alpha, strength of the regulariser', **domains.FROM_0)},
    requires=(
      requirements.DEFINES_SERVER_STEP,
      registry.ONE_STATE_PER_CLIENT,
      registry.TRAINS_FROM_ONE_MODEL,
    ),
    defaults=requirements.UNIFORM,
  ),
  'fedpd': registry.Entry(
    'fl_research.algorithms.optimization.fed_pd',
    'primal-dual steps, several between two meetings (Zhang et al. 2021)',
    {
      'eta': Hyperparameter(1.0, 'eta, how far a solve may lead', **domains.POSITIVE),
      'solves': Hyperparameter(
        1,
        "R: so many times a client solves its problem in a round; the paper's p is 1 - 1/R",
        lambda value: 1 <= value <= 20,
        'an integer from 1 to 20',
      ),
      'start': Hyperparameter(
        'own',
        "where a solve begins: at the client's own last model, or at the global one",
        lambda value: value in ('own', 'global'),
        'own or global',
      ),
    },
    requires=(
      registry.ONE_STATE_PER_CLIENT,
      registry.TRAINS_FROM_ONE_MODEL,
      *_TAKES_THE_MEAN,
    ),
    defaults=requirements.UNIFORM,
    not_structured='renews duals of all weights by how far its training led',
  ),
}
