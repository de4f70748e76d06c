"""What stale results count: the papers' formulas, worked out by hand."""

import numpy as np
import pytest

from fl_research.population import staleness
from fl_research.registry import UsageError

STEPS = np.array([0, 1, 3, 4, 5, 8])


@pytest.mark.parametrize(
  'name, given, expected',
  [
    ('constant', {}, [1, 1, 1, 1, 1, 1]),
    ('polynomial', {}, [1, 2**-0.5, 0.5, 5**-0.5, 6**-0.5, 1 / 3]),
    ('polynomial', {'exponent': 2.0}, [1, 1 / 4, 1 / 16, 1 / 25, 1 / 36, 1 / 81]),
    ('polynomial', {'exponent': 0.0}, [1, 1, 1, 1, 1, 1]),
    ('hinge', {}, [1, 1, 1, 1, 1 / 11, 1 / 41]),
    ('hinge', {'slope': 0.5, 'grace': 1}, [1, 1, 1 / 2, 1 / 2.5, 1 / 3, 1 / 4.5]),
  ],
)
def test_factors(name, given, expected):
  np.testing.assert_allclose(staleness.factors(name, given, STEPS), expected, rtol=1e-12)


@pytest.mark.parametrize('name', staleness.WEIGHTINGS)
def test_fresh_results_count_in_full_and_staler_ones_no_more(name):
  found = staleness.factors(name, {}, np.arange(50))
  assert found[0] == 1.0 and np.all(np.diff(found) <= 0) and np.all(found > 0)
  assert staleness.factors(name, {}, np.array([], int)).shape == (0,)


def test_misspelt_names_and_values_outside_the_domain_are_refused():
  with pytest.raises(UsageError, match='did you mean hinge'):
    staleness.factors('hinged', {}, STEPS)
  with pytest.raises(UsageError, match='--staleness_exponent=-1'):
    staleness.factors('polynomial', {'exponent': -1.0}, STEPS)
