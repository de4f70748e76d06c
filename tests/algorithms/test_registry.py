"""What the registry's entries ask of flags, checked before anything is read."""

import pytest

from fl_research import algorithms, settings
from fl_research.registry import UsageError
from fl_research.round.method import Method
from fl_research.soundness import validation

STATEFUL = (
  'local',
  'scaffold',
  'scaffnew',
  'feddyn',
  'feddc',
  'fedpd',
  'fedper',
  'fedrep',
  'lgfedavg',
  'fedem',
  'moon',
  'fedproto',
  'fedgh',
  'fedala',
  'fedrod',
  'dbe',
  'fedphp',
  'fedamp',
  'fedfomo',
  'fedpac',
  'fedmd',
  'feddistill',
  'apfl',
  'l2gd',
  'pfedme',
  'ditto',
)


def _settings(algorithm, **given):
  if algorithms.ALGORITHMS[algorithm].needs_server_examples:
    given = {'server_examples': 20, **given}
  return settings.Settings(task='digits', experiment_name='x', algorithm=algorithm, **given)


@pytest.mark.parametrize('name', algorithms.ALGORITHMS)
def test_defaults_are_accepted(name):
  validation.validate(_settings(name))


def test_the_servers_examples_are_given_where_they_are_looked_at():
  with pytest.raises(UsageError, match='--server_examples: must be given for --algorithm=feddf'):
    validation.validate(_settings('feddf', server_examples=0))
  with pytest.raises(UsageError, match='only read with --algorithm=feddf, --algorithm=fedmd'):
    validation.validate(_settings('fedavg', server_examples=10))


@pytest.mark.parametrize(
  'name', ['fedavgm', 'fedadagrad', 'fedadam', 'fedyogi', 'fedexp', 'feddyn', 'feddc']
)
def test_methods_with_a_server_step_refuse_server_optimizers(name):
  validation.validate(_settings(name, server_learning_rate=0.01))
  with pytest.raises(UsageError, match=f'--server_optimizer=adam: not with --algorithm={name}, wh'):
    validation.validate(_settings(name, server_optimizer='adam'))


def test_which_personal_methods_have_a_global_model_of_use_by_itself():
  methods = {name: algorithms.build(name, {}) for name in algorithms.ALGORITHMS}
  shown = {name for name, method in methods.items() if method.personal and method.global_model}
  assert shown == {
    'ditto',
    'knnper',
    'fedala',
    'fedrod',
    'dbe',
    'fedphp',
    'apfl',
    'l2gd',
    'pfedme',
    'perfedavg',
    'fml',
  }


@pytest.mark.parametrize('name', STATEFUL)
def test_methods_with_client_state_refuse_drawing_twice(name):
  with pytest.raises(UsageError, match=f'--cohort_sampling=with_replacement: .*{name}'):
    validation.validate(_settings(name, cohort_sampling='with_replacement'))


@pytest.mark.parametrize(
  ('name', 'optimizer'),
  [('scaffold', 'momentum'), ('fednova', 'adam'), ('fedcm', 'momentum'), ('qfedavg', 'adam')],
)
def test_methods_that_presume_a_client_optimizer_refuse_others(name, optimizer):
  with pytest.raises(UsageError, match=f'--client_optimizer={optimizer}: not with .*{name}'):
    validation.validate(_settings(name, client_optimizer=optimizer))


@pytest.mark.parametrize(
  'given',
  [{'server_learning_rate': 0.5}, {'server_lr_schedule': 'cosine'}, {'server_optimizer': 'adam'}],
)
@pytest.mark.parametrize('name', ['scaffnew', 'fedpd', 'l2gd'])
def test_those_that_take_the_mean_have_no_step_of_the_servers(name, given):
  validation.validate(_settings(name, server_learning_rate=1.0))
  with pytest.raises(UsageError, match=f'--algorithm={name}, which goes on from the mean'):
    validation.validate(_settings(name, **given))


def test_several_models_need_sums():
  validation.validate(_settings('ifca', aggregator='norm_bounding'))
  with pytest.raises(UsageError, match=r'--aggregator=median: not with --algorithm=ifca, wh'):
    validation.validate(_settings('ifca', aggregator='median'))


@pytest.mark.parametrize(
  'given', [{'aggregator': 'median'}, {'compressor': 'top_k'}, {'secure_aggregation': 'clear'}]
)
def test_updates_that_are_compared_come_as_they_are(given):
  with pytest.raises(UsageError, match=r'not with --algorithm=cfl, which compares updates as cli'):
    validation.validate(_settings('cfl', **given))


@pytest.mark.parametrize('name', ['qfedavg', 'term', 'afl'])
def test_methods_that_weigh_clients_by_their_losses_refuse_other_weights(name):
  with pytest.raises(UsageError, match=r'--client_weighting=num_examples: not with .*losses'):
    validation.validate(_settings(name, client_weighting='num_examples'))


@pytest.mark.parametrize(
  ('flag', 'value'),
  [
    ('fedavgm_momentum', 1.0),
    ('fedadagrad_tau', 0.0),
    ('fedadam_beta_1', -0.1),
    ('fedadam_beta_2', 1.0),
    ('fedadam_tau', float('inf')),
    ('fedyogi_initial_accumulator', -1.0),
    ('fedexp_epsilon', 0.0),
    ('fedprox_mu', -0.1),
    ('fedprox_mu', float('nan')),
    ('fednova_mu', -1.0),
    ('scaffold_option', 'III'),
    ('fedcm_alpha', 0.0),
    ('fedsam_rho', -0.1),
    ('fedasam_nu', -0.1),
    ('mofedsam_beta', 1.1),
    ('feddyn_alpha', -0.01),
    ('feddc_alpha', -0.01),
    ('fedpd_eta', 0.0),
    ('fedpd_solves', 21),
    ('fedpd_start', 'both'),
    ('ifca_clusters', 0),
    ('ifca_averaging', 'both'),
    ('fedem_components', 0),
    ('qfedavg_q', -1.0),
    ('term_t', float('inf')),
    ('afl_mixture_learning_rate', -0.1),
    ('fedrep_head_epochs', 0),
    ('ditto_regularization', -1.0),
    ('ditto_personal_epochs', -1),
    ('apfl_alpha', 1.1),
    ('pfedme_regularization', -1.0),
    ('pfedme_personal_steps', 0),
    ('perfedavg_alpha', -0.1),
    ('perfedavg_delta', -0.1),
    ('fedlc_tau', -1.0),
    ('fedrs_alpha', 1.1),
    ('moon_mu', -1.0),
    ('moon_tau', 0.0),
    ('knnper_neighbours', 0),
    ('knnper_weight', 1.1),
    ('knnper_scale', 0.0),
    ('fedpac_regularization', -1.0),
    ('fedpac_head_epochs', 0),
    ('fedproto_regularization', -1.0),
    ('fedgh_learning_rate', -1.0),
    ('fedala_mixture_learning_rate', -1.0),
    ('fedala_first_passes', 0),
    ('fedrod_gamma', -1.0),
    ('dbe_regularization', -1.0),
    ('dbe_momentum', 0.0),
    ('fedphp_taught', 1.1),
    ('fedphp_temperature', 0.0),
    ('fedphp_momentum', 1.0),
    ('fedphp_growth', 0),
    ('fedamp_sigma', 0.0),
    ('fedfomo_models', 0),
    ('fedfomo_exploration', 1.1),
    ('fedfomo_set_apart', 1),
    ('fedamp_attention', 'both'),
    ('fedamp_own_share', 1.1),
    ('feddf_passes', -1),
    ('feddf_learning_rate', -1.0),
    ('fedmd_agreement', 'both'),
    ('fedmd_temperature', 0.0),
    ('fedmd_passes', 0),
    ('feddistill_gamma', -1.0),
    ('fedgen_regularization', -1.0),
    ('fedgen_steps', -1),
    ('fedgen_learning_rate', -1.0),
    ('fedntd_beta', -1.0),
    ('fedntd_tau', 0.0),
  ],
)
def test_values_outside_the_domain_are_refused(flag, value):
  name = flag.split('_')[0]
  with pytest.raises(UsageError, match=f'--{flag}={value}: accepted is '):
    validation.validate(_settings(name, hyperparameters={flag: value}))


def test_weighting_left_empty_is_the_papers():
  assert _settings('fedavg').weighting == 'num_examples'
  assert _settings('scaffold').weighting == 'uniform'
  assert _settings('scaffold', client_weighting='num_examples').weighting == 'num_examples'


@pytest.mark.parametrize('name', algorithms.ALGORITHMS)
def test_models_that_differ_by_client_are_said_to(name):
  families = [family for family, table in algorithms.FAMILIES.items() if name in table]
  kept = ('fedmd', 'feddistill', 'fml')
  of_a_client = families[0] in ('personal models', 'clusters') or name in kept
  # Clients of FedBABU get models of their own by fine-tuning.
  assert algorithms.build(name, {}).personal is (of_a_client and name != 'fedbabu')


@pytest.mark.parametrize('name', algorithms.ALGORITHMS)
def test_what_sites_cannot_do_is_refused_before_they_are_asked(name):
  method, entry = algorithms.build(name, {}), algorithms.ALGORITHMS[name]
  needs_more = type(method).exchanges is not Method.exchanges or entry.needs_server_examples
  accepts = all(r.accepts('runtime', 'federation') for r in entry.requires)
  assert accepts is not needs_more
