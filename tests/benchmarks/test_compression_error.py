"""Table 1 of DRIVE (Vargaftik et al. 2021), for the dimensions that take seconds."""

import numpy as np
import pytest

from benchmarks import compression_error


@pytest.mark.parametrize(
  'text, dimension, trials',
  [
    ('drive', 128, 400),
    ('drive', 8192, 30),
    ('rotation,quantize:1', 128, 400),
    ('rotation,quantize:1', 8192, 60),
  ],
)
def test_error_is_the_papers(text, dimension, trials):
  errors = compression_error.nmse(text, dimension, trials)
  margin = 3 * errors.std() / np.sqrt(trials) + 0.0003
  assert errors.mean() == pytest.approx(compression_error.PAPER[dimension][text], abs=margin)
  # The margin itself is small, or this would show nothing.
  assert margin < 0.04 * errors.mean()
