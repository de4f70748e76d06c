"""Flags of differential privacy: each refusal names its flag and reason, in one line."""

import pytest

from fl_research import registry
from fl_research import settings as settings_lib
from fl_research.soundness import privacy, validation

BY_ROUNDS = {'availability': 'rounds', 'availability_trace': 'trace.csv'}
FIXED = {'dp_noise_multiplier': 1.0, 'dp_clip_norm': 0.5}
LOCAL = {**FIXED, 'dp_place': 'local'}
AT_SITES = {'runtime': 'federation', 'federation': 'direct:a=unix:/a.sock'}
ADAPTIVE = {'dp_noise_multiplier': 0.4, 'dp_clipping': 'adaptive'}


def settings(**given):
  return settings_lib.Settings(task='digits', experiment_name='privacy', **given)


@pytest.mark.parametrize(
  'given',
  [
    {},
    FIXED,
    ADAPTIVE,
    {'target_epsilon': 8.0, 'dp_clip_norm': 1.0},
    {**FIXED, 'client_weighting': 'uniform'},
    {**FIXED, 'cohort_sampling': 'poisson', 'dp_accountant': 'pld', 'dp_delta': 1e-6},
    {**FIXED, **BY_ROUNDS},
    {**FIXED, 'dp_noise_multiplier': 0.0},
    {**ADAPTIVE, 'dp_noise_multiplier': 3.0, 'dp_count_noise': 1.6},
    {**ADAPTIVE, 'dp_noise_multiplier': 1.0, 'clients_per_round': 2, 'num_clients': 5},
    {**FIXED, 'algorithm': 'feddyn'},
    {**FIXED, 'dropout_probability': 0.1},
    {**FIXED, 'dp_noise': 'cryptographic'},
    {**FIXED, 'private_metrics': 'withhold'},
    {**ADAPTIVE, 'dp_noise': 'cryptographic', 'cohort_sampling': 'poisson'},
    {**FIXED, 'dp_noise': 'cryptographic', 'secure_aggregation': 'clear'},
    {**LOCAL, 'aggregator': 'median'},
    {**LOCAL, 'over_selection': 1.3, 'straggler_fraction': 0.5},
    {**LOCAL, 'secure_aggregation': 'protocol', 'secure_sum_bound': 10.0},
    {**LOCAL, 'cohort_sampling': 'poisson', 'dp_accountant': 'pld'},
    {**LOCAL, 'compressor': 'rotation,quantize:2'},
    {**LOCAL, **AT_SITES, 'dp_noise': 'cryptographic'},
  ],
)
def test_accepted(given):
  validation.validate(settings(**given))


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'dp_clip_norm': 1.0}, '--dp_clip_norm=1.0: only read with --dp_noise_multiplier or'),
    ({'dp_accountant': 'pld'}, '--dp_accountant=pld: only read with --dp_noise_multiplier or'),
    ({'dp_noise_multiplier': 1.0}, '--dp_clip_norm: must be given'),
    ({**FIXED, 'dp_noise_multiplier': -1.0}, '--dp_noise_multiplier=-1.0: accepted is'),
    ({**FIXED, 'dp_noise_multiplier': float('nan')}, '--dp_noise_multiplier=nan: accepted is'),
    ({**FIXED, 'dp_clip_norm': 0.0}, '--dp_clip_norm=0.0: accepted is a number above 0'),
    ({**FIXED, 'dp_clip_norm': float('inf')}, '--dp_clip_norm=inf: accepted is'),
    ({**FIXED, 'dp_delta': 1.0}, '--dp_delta=1.0: accepted is a number above 0 and below 1'),
    ({**FIXED, 'dp_delta': 0.0}, '--dp_delta=0.0: accepted is'),
    ({**FIXED, 'dp_clipping': 'fixd'}, '--dp_clipping=fixd: unknown (did you mean fixed?)'),
    ({**FIXED, 'dp_accountant': 'zcdp'}, '--dp_accountant=zcdp: unknown'),
    ({**FIXED, 'target_epsilon': 8.0}, '--target_epsilon=8.0: not with --dp_noise_multiplier'),
    ({'target_epsilon': 0.0, 'dp_clip_norm': 1.0}, '--target_epsilon=0.0: accepted is'),
    ({**FIXED, 'dp_target_quantile': 0.9}, '--dp_target_quantile=0.9: only read with --dp_clip'),
    ({**FIXED, 'dp_count_noise': 1.0}, '--dp_count_noise=1.0: only read with --dp_clipping'),
    ({**ADAPTIVE, 'dp_clip_norm': 1.0}, '--dp_clip_norm=1.0: not with --dp_clipping=adaptive'),
    ({**ADAPTIVE, 'dp_target_quantile': 1.5}, '--dp_target_quantile=1.5: accepted is'),
    ({**ADAPTIVE, 'dp_clip_learning_rate': 0.0}, '--dp_clip_learning_rate=0.0: accepted is'),
    ({**ADAPTIVE, 'dp_initial_clip': -1.0}, '--dp_initial_clip=-1.0: accepted is'),
    ({**ADAPTIVE, 'dp_count_noise': 0.2}, '--dp_count_noise=0.2: with a noise multiplier of'),
    ({**FIXED, 'centralized': True}, '--dp_noise_multiplier=1.0: not with --centralized'),
    ({**FIXED, 'local_only': True}, '--dp_noise_multiplier=1.0: not with --local_only'),
    ({**FIXED, 'algorithm': 'scaffold'}, '--dp_noise_multiplier=1.0: not with --algorithm=scaff'),
    ({**FIXED, 'aggregator': 'median'}, '--dp_noise_multiplier=1.0: not with --aggregator=median'),
    (
      {**FIXED, 'client_weighting': 'num_examples'},
      '--dp_noise_multiplier=1.0: not with --client_weighting=num_examples',
    ),
    (
      {**FIXED, 'availability': 'trace'},
      '--dp_noise_multiplier=1.0: not with --availability=trace, by which the time',
    ),
    (
      {**FIXED, **BY_ROUNDS, 'cohort_sampling': 'poisson'},
      '--dp_noise_multiplier=1.0: not with --cohort_sampling=poisson and --availability=rounds',
    ),
    ({**FIXED, 'cohort_sampling': 'by_size'}, '--dp_noise_multiplier=1.0: not with --cohort_sam'),
    (
      {'target_epsilon': 8.0, 'dp_clip_norm': 1.0, 'cohort_sampling': 'with_replacement'},
      '--target_epsilon=8.0: not with --cohort_sampling=with_replacement, which may count',
    ),
    ({**FIXED, 'over_selection': 1.3}, '--dp_noise_multiplier=1.0: not with --over_selection=1.3'),
    ({**FIXED, 'straggler_fraction': 0.5}, '--dp_noise_multiplier=1.0: not with --straggler_fra'),
    ({'dp_noise': 'cryptographic'}, '--dp_noise=cryptographic: only read with --dp_noise_multi'),
    ({**FIXED, 'dp_noise': 'secure'}, '--dp_noise=secure: unknown'),
    ({'private_metrics': 'withhold'}, '--private_metrics=withhold: only read with --dp_noise_mul'),
    ({**FIXED, 'private_metrics': 'hide'}, '--private_metrics=hide: unknown'),
    *(
      (
        {**FIXED, 'private_metrics': 'withhold', flag: value},
        f'--{flag}={shown}: not with --private_metrics=withhold',
      )
      for flag, value, shown in (
        ('clients_csv', True, 'true'),
        ('evaluate_train', True, 'true'),
        ('fine_tune_epochs', 2, '2'),
        ('held_out_clients_fraction', 0.1, '0.1'),
      )
    ),
    ({'dp_place': 'local'}, '--dp_place=local: only read with --dp_noise_multiplier'),
    ({**FIXED, 'dp_place': 'site'}, '--dp_place=site: unknown'),
    ({**ADAPTIVE, 'dp_place': 'local'}, '--dp_clipping=adaptive: not with --dp_place=local'),
    (
      {**LOCAL, 'client_weighting': 'num_examples'},
      '--dp_noise_multiplier=1.0: not with --client_weighting=num_examples, which every client',
    ),
    (
      {**LOCAL, 'dp_noise': 'cryptographic'},
      '--dp_noise=cryptographic: with --dp_place=local only with --runtime=federation',
    ),
    ({**LOCAL, 'algorithm': 'scaffold'}, '--dp_noise_multiplier=1.0: not with --algorithm=scaff'),
    ({**LOCAL, 'cohort_sampling': 'by_size'}, '--dp_noise_multiplier=1.0: not with --cohort_sam'),
    (
      {**LOCAL, 'availability': 'trace'},
      '--dp_noise_multiplier=1.0: not with --availability=trace, by which the time',
    ),
    (
      {**LOCAL, **AT_SITES, 'dp_noise': 'cryptographic', 'compressor': 'qsgd'},
      '--compressor=qsgd: not with --runtime=federation, --dp_place=local and --dp_noise=crypto',
    ),
    (
      {**LOCAL, **AT_SITES, 'private_metrics': 'withhold'},
      '--site_metrics=release: not with --dp_place=local and --private_metrics=withhold',
    ),
    (
      {**FIXED, **AT_SITES, 'dp_noise': 'cryptographic'},
      '--dp_noise=cryptographic: not with --runtime=federation and --dp_place=central',
    ),
    (
      {**LOCAL, 'aggregation_trigger': 'buffer'},
      '--aggregation_trigger=buffer: not with differential privacy',
    ),
    (
      {**FIXED, 'dp_noise': 'cryptographic', 'dp_accountant': 'pld'},
      '--dp_accountant=pld: not with --dp_noise=cryptographic, as',
    ),
    (
      {**FIXED, 'dp_noise': 'cryptographic', 'dp_noise_multiplier': 0.0},
      '--dp_noise_multiplier=0: with --dp_noise=cryptographic accepted is a number from 0.001 on',
    ),
    (
      {**ADAPTIVE, 'dp_noise': 'cryptographic', 'dp_count_noise': 1e6},
      '--dp_count_noise=1e+06: with --dp_noise=cryptographic accepted is a number up to 100000',
    ),
  ],
)
def test_refused(given, message):
  with pytest.raises(registry.UsageError) as caught:
    validation.validate(settings(**given))
  assert str(caught.value).startswith(message)
  assert '\n' not in str(caught.value)


def test_every_client_weighs_the_same_under_privacy():
  assert settings().weighting == 'num_examples'
  assert settings(**FIXED).weighting == 'uniform'


@pytest.mark.parametrize(
  ('given', 'noise', 'cohort', 'expected'),
  [
    ({}, 1.0, 100, 5.0),
    ({}, 1.0, 2, 1.0),
    ({}, 0.0, 10, 0.0),
    ({'dp_count_noise': 3.0}, 1.0, 10, 3.0),
  ],
)
def test_count_noise(given, noise, cohort, expected):
  assert privacy.count_noise(settings(**ADAPTIVE, **given), noise, cohort) == expected
