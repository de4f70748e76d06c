"""The accountant against published values, against dp-accounting, and against itself."""

import math
import subprocess
import sys
import time

import dp_accounting
from dp_accounting import rdp
import numpy as np
import pytest
from scipy import special

from fl_research import registry
from fl_research.aggregation.privacy import accountant
from fl_research.population import cohorts
from tests import slow_machines

DELTA = 1e-5
POISSON = accountant.Sampling('poisson', 1000, 20)
FIXED = accountant.Sampling('uniform', 1000, 20)
EVERYBODY = accountant.Sampling('uniform', 50, 50)
AVAILABLE = accountant.Sampling('availability', 1000, 20)

# McMahan et al. 2018, table 1: (users K, cohort C, z), then epsilon after 10^0, …, 10^6 rounds at
# delta = K^-1.1.
TABLE_1 = [
  ((1e5, 1e2, 1.0), (0.97, 0.98, 1.00, 1.07, 1.18, 2.21, 7.50)),
  ((1e6, 1e1, 1.0), (0.68, 0.69, 0.69, 0.69, 0.69, 0.72, 0.73)),
  ((1e6, 1e3, 1.0), (1.17, 1.17, 1.20, 1.28, 1.39, 2.44, 8.13)),
  ((1e6, 1e4, 1.0), (1.73, 1.92, 2.08, 3.06, 8.49, 32.38, 187.01)),
  ((1e6, 1e3, 3.0), (0.47, 0.47, 0.48, 0.48, 0.49, 0.67, 1.95)),
  ((1e9, 1e3, 1.0), (0.84, 0.84, 0.84, 0.85, 0.88, 0.88, 0.88)),
]


@pytest.mark.parametrize(('setting', 'published'), TABLE_1)
def test_table_1_of_mcmahan_2018(setting, published):
  users, cohort, z = setting
  ours = [
    accountant.moments_accountant_epsilon(cohort / users, z, 10**t, users**-1.1) for t in range(7)
  ]
  assert [round(epsilon, 2) for epsilon in ours] == list(published)


@pytest.mark.parametrize(('cohort', 'epsilon'), [(5000, 4.634), (1667, 2.314), (1250, 2.038)])
def test_trained_models_of_mcmahan_2018(cohort, epsilon):
  ours = accountant.moments_accountant_epsilon(cohort / 763_430, 1.0, 5000, 1e-9)
  assert round(ours, 3) == epsilon


@pytest.mark.parametrize('rounds', [1, 30])
@pytest.mark.parametrize(
  ('sampling', 'event', 'relation'),
  [
    (
      POISSON,
      dp_accounting.PoissonSampledDpEvent(0.02, dp_accounting.GaussianDpEvent(1.1)),
      dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    ),
    (
      # Replacing a client changes the sum by twice the clipping norm.
      FIXED,
      dp_accounting.SampledWithoutReplacementDpEvent(
        1000, 20, dp_accounting.GaussianDpEvent(1.1 / 2)
      ),
      dp_accounting.NeighboringRelation.REPLACE_ONE,
    ),
    (
      EVERYBODY,
      dp_accounting.GaussianDpEvent(1.1),
      dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    ),
    (
      AVAILABLE,
      dp_accounting.GaussianDpEvent(1.1 / 2),
      dp_accounting.NeighboringRelation.REPLACE_ONE,
    ),
  ],
)
def test_each_sampling_is_accounted_as_what_it_is(sampling, event, relation, rounds):
  ours = accountant.Accountant('rdp', sampling, 1.1, DELTA)
  assert sampling.neighbors is relation
  expected = rdp.RdpAccountant(neighboring_relation=relation).compose(event, rounds)
  assert ours.epsilon(rounds) == pytest.approx(expected.get_epsilon(DELTA), rel=1e-9)


def test_everybody_is_poisson_with_probability_one():
  poisson = accountant.Sampling('poisson', 50, 50)
  for method in ('rdp', 'pld'):
    of = lambda sampling, method=method: accountant.Accountant(method, sampling, 3.0, DELTA)
    assert of(poisson).epsilon(10) == of(EVERYBODY).epsilon(10)


def test_composed_gaussians_have_their_known_epsilon():
  # The analytic Gaussian mechanism (Balle, Wang 2018, theorem 8) at sigma = z / sqrt(T).
  rounds, z = 25, 6.0
  epsilon = accountant.Accountant('pld', EVERYBODY, z, DELTA).epsilon(rounds)
  cumulative = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))
  ratio = math.sqrt(rounds) / z
  delta = cumulative(ratio / 2 - epsilon / ratio) - math.exp(epsilon) * cumulative(
    -ratio / 2 - epsilon / ratio
  )
  assert delta == pytest.approx(DELTA, rel=1e-2)


@pytest.mark.parametrize(('z', 'rounds'), [(0.8, 1), (1.0, 100), (2.0, 1000)])
@pytest.mark.parametrize('sampling', [POISSON, EVERYBODY])
def test_loss_distributions_are_tighter_than_renyi(sampling, z, rounds):
  tight = accountant.Accountant('pld', sampling, z, DELTA).epsilon(rounds)
  loose = accountant.Accountant('rdp', sampling, z, DELTA).epsilon(rounds)
  assert 0.5 * loose < tight < loose


def test_coarse_losses_cost_little():
  ours = accountant.Accountant('pld', POISSON, 1.0, DELTA).epsilon(1000)
  fine = dp_accounting.pld.PLDAccountant(value_discretization_interval=1e-4)
  fine.compose(POISSON.event(1.0), 1000)
  assert fine.get_epsilon(DELTA) <= ours <= 1.01 * fine.get_epsilon(DELTA)


def test_epsilon_grows_with_rounds_from_nothing():
  for method in ('rdp', 'pld'):
    ledger = accountant.Accountant(method, POISSON, 1.0, DELTA)
    epsilons = [ledger.epsilon(t) for t in (0, 1, 10, 100)]
    assert epsilons[0] == 0.0
    assert epsilons == sorted(epsilons) and epsilons[1] > 0


def test_without_noise_epsilon_is_infinite():
  ledger = accountant.Accountant('rdp', POISSON, 0.0, DELTA)
  assert ledger.epsilon(0) == 0.0 and ledger.epsilon(1) == math.inf


@pytest.mark.parametrize('z', [1e-3, 1e6])
def test_extreme_noise_breaks_nothing(z):
  epsilon = accountant.Accountant('rdp', POISSON, z, DELTA).epsilon(10)
  assert epsilon > 1e4 if z < 1 else epsilon == 0.0


def test_ten_thousand_rows_are_cheap():
  ledger = accountant.Accountant('rdp', POISSON, 1.0, DELTA)
  ledger.epsilon(1)
  begin = time.process_time()
  for rounds in range(1000):
    ledger.epsilon(rounds)
  assert time.process_time() - begin < slow_machines.seconds(10)


@pytest.mark.parametrize(
  ('method', 'sampling'),
  [('rdp', POISSON), ('pld', POISSON), ('rdp', EVERYBODY), ('pld', EVERYBODY), ('rdp', AVAILABLE)],
)
@pytest.mark.parametrize('target', [0.5, 8.0])
def test_solved_noise_meets_the_target_and_no_less_does(method, sampling, target):
  z = accountant.solve_noise_multiplier(method, sampling, 50, target, DELTA)
  assert round(z, 4) == z
  epsilon = lambda z: accountant.Accountant(method, sampling, z, DELTA).epsilon(50)
  assert epsilon(z) <= target < epsilon(z - 1e-4)


def test_solved_noise_is_that_of_dp_accounting():
  theirs = dp_accounting.calibrate_dp_mechanism(
    rdp.RdpAccountant,
    lambda z: dp_accounting.SelfComposedDpEvent(POISSON.event(z), 100),
    2.0,
    DELTA,
    tol=1e-6,
  )
  ours = accountant.solve_noise_multiplier('rdp', POISSON, 100, 2.0, DELTA)
  assert theirs <= ours <= theirs + 2e-4


def test_a_target_that_hardly_any_noise_meets_is_refused():
  with pytest.raises(registry.UsageError, match=r'^--target_epsilon=1e\+09: .*protects nobody'):
    accountant.solve_noise_multiplier('rdp', POISSON, 1, 1e9, DELTA)


def test_every_sampling_is_accounted_for_or_refused():
  refused = []
  for scheme in (*cohorts.SAMPLINGS, 'availability'):
    try:
      ledger = accountant.Accountant('rdp', accountant.Sampling(scheme, 100, 10), 1.0, DELTA)
    except registry.UsageError as error:
      assert str(error).startswith(f'--cohort_sampling={scheme}: ')
      refused.append(scheme)
    else:
      assert 0 < ledger.epsilon(1) < math.inf
  assert refused == ['by_size', 'with_replacement']


def test_loss_distributions_of_fixed_size_cohorts_are_refused():
  with pytest.raises(registry.UsageError, match=r'^--dp_accountant=pld: .*rdp'):
    accountant.Accountant('pld', FIXED, 1.0, DELTA)


@pytest.mark.parametrize('z', [0.8, 2.0])
@pytest.mark.parametrize('probability', [0.1, 1.0])
def test_discrete_noise_has_the_divergences_that_it_is_accounted_by(z, probability):
  # One client moves a sum by 3: from the logarithms of the probabilities, in both directions.
  shift, x = 3, np.arange(-400, 401)
  weights = lambda centre: -((x - centre) ** 2) / (2 * (z * shift) ** 2)
  without, moved = (weights(c) - special.logsumexp(weights(c)) for c in (0, shift))
  shares = np.log([[max(1 - probability, 1e-300)], [probability]])
  with_client = special.logsumexp(np.array([without, moved]) + shares, axis=0)
  sampling = accountant.Sampling('poisson', 10, round(10 * probability))
  accounted = dict(
    zip(*accountant.Accountant('rdp', sampling, z, DELTA, discrete=True)._renyi_costs)
  )
  divergence = lambda order, p, q: special.logsumexp(order * p + (1 - order) * q) / (order - 1)
  for order in (2, 3, 5):
    assert divergence(order, with_client, without) == pytest.approx(accounted[order], rel=1e-6)
    assert divergence(order, without, with_client) <= accounted[order] * (1 + 1e-9)


def test_discrete_noise_is_accounted_at_whole_orders_where_clients_are_sampled():
  orders = lambda sampling, discrete: accountant.Accountant(
    'rdp', sampling, 1.0, DELTA, discrete
  )._renyi_costs[0]
  assert all(order == int(order) for order in orders(POISSON, True))
  for sampling in (FIXED, EVERYBODY, AVAILABLE):
    assert orders(sampling, True) == orders(POISSON, False)
  epsilon = lambda discrete: accountant.Accountant('rdp', POISSON, 1.0, DELTA, discrete).epsilon(
    100
  )
  assert epsilon(False) <= epsilon(True) < 1.1 * epsilon(False)
  z = accountant.solve_noise_multiplier('rdp', POISSON, 100, 2.0, DELTA, True)
  assert accountant.Accountant('rdp', POISSON, z, DELTA, True).epsilon(100) <= 2.0
  with pytest.raises(registry.UsageError, match=r'^--dp_accountant=pld: .*continuous'):
    accountant.Accountant('pld', POISSON, 1.0, DELTA, True)


@pytest.mark.parametrize(
  ('epsilon', 'clients', 'said'),
  [
    (60.1, 21, ['delta = 0.035 is 0.74 / N at N = 21 clients', 'epsilon = 60.1 ', '10^26']),
    (9.9, 100, ['delta = 0.0063 is 0.63 / N']),
    (10.0, 10_000, ['epsilon = 10 ', '10^4']),
    (math.inf, 10_000, ['epsilon = inf ', 'any size']),
    (1.0, 10_000, []),
  ],
)
def test_a_guarantee_that_says_little_is_said_to(epsilon, clients, said):
  words = accountant.cautions(epsilon, accountant.default_delta(clients), clients)
  assert len(words) == sum(each.startswith(('delta', 'epsilon')) for each in said)
  assert all(each in ' '.join(words) for each in said)


def test_default_delta():
  assert accountant.default_delta(1000) == pytest.approx(1000**-1.1)
  with pytest.raises(registry.UsageError, match=r'^--dp_delta: '):
    accountant.default_delta(1)


def test_nothing_here_imports_tensorflow():
  code = (
    'import sys, fl_research.aggregation.privacy.accountant; sys.exit("tensorflow" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_amplification_lowers_epsilon():
  epsilon = lambda sampling: accountant.Accountant('rdp', sampling, 2.0, DELTA).epsilon(100)
  assert epsilon(POISSON) < epsilon(FIXED) < epsilon(AVAILABLE)
  assert np.isfinite(epsilon(AVAILABLE))
