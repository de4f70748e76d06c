"""Methods whose clients train a part of the model, as large as they can."""

import itertools
import math

from fl_research import aggregation, registry
from fl_research.algorithms import requirements
from fl_research.registry import Hyperparameter

_SUMS = tuple(name for name, entry in aggregation.AGGREGATORS.items() if entry.is_sum)


def numbers(text: str) -> tuple[float, ...]:
  """`'1,0.5'` as numbers; none where one of them is none."""
  try:
    return tuple(float(part) for part in text.split(',')) if text else ()
  except ValueError:
    return ()


def _are_widths(text: str) -> bool:
  """Whether they are from (0, 1], the largest first."""
  widths = numbers(text)
  return bool(widths) and all(0 < w <= 1 for w in widths) and _falls(widths)


def _falls(widths: tuple[float, ...]) -> bool:
  return all(wide > narrow for wide, narrow in itertools.pairwise(widths))


def _are_shares(text: str) -> bool:
  """Whether they are above 0 and add up to 1, or there are none."""
  shares = numbers(text)
  return not text or (all(s > 0 for s in shares) and math.isclose(sum(shares), 1, abs_tol=1e-6))


METHODS = {
  'heterofl': registry.Entry(
    'fl_research.algorithms.submodels.hetero_fl',
    'models as wide as each client can train (Diao et al. 2021)',
    {
      'widths': Hyperparameter(
        '1,0.5,0.25',
        "shares of each hidden layer's units, separated by commas, that clients have",
        _are_widths,
        'numbers from (0, 1] with commas between them, the largest first',
      ),
      'shares': Hyperparameter(
        '',
        'what share of the clients has each of the widths, separated by commas; alike when empty',
        _are_shares,
        'numbers above 0 with commas between them, which add up to 1',
      ),
      'scaler': Hyperparameter(
        True, "whether training divides what a narrow model's hidden layers compute by its width"
      ),
    },
    requires=(
      registry.Requirement('aggregator', _SUMS, 'divides sums by how many have a weight'),
      registry.Requirement(
        'model',
        ('', 'mlp', '2nn', 'cnn', 'emnist_cnn', 'cnn1d'),
        'knows how to make these models narrower',
      ),
    ),
    defaults=requirements.UNIFORM,
    not_private='also sends how wide its model is, which noise would not cover',
    not_structured='trains a part of each weight',
  ),
}
