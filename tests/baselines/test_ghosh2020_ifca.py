"""How many clients have found their group."""

import fl_research.environment  # noqa: F401, I001  before TensorFlow
import numpy as np
import pytest

from baselines.ghosh2020_ifca import groups


@pytest.mark.parametrize(
  ('chosen', 'share'),
  [
    ([0, 1, 2, 0, 1, 2], 1.0),
    ([2, 0, 1, 2, 0, 1], 1.0),  # The models' numbers mean nothing.
    ([1, 1, 2, 1, 1, 2], 4 / 6),  # Two groups share a model: half of these are right.
    ([0, 0, 0, 0, 0, 0], 2 / 6),
    ([0, 1, 2, 0, 1, 0], 5 / 6),
  ],
)
def test_agreement(chosen, share):
  own = np.array([0, 1, 2, 0, 1, 2])
  assert groups.agreement(np.array(chosen), own, 3) == pytest.approx(share)
