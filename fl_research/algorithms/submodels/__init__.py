"""Methods whose clients train a part of the model, as large as they can."""

from fl_research import registry
from fl_research.algorithms import requirements
from fl_research.algorithms.submodels import widths
from fl_research.registry import Hyperparameter

METHODS = {
  'heterofl': registry.Entry(
    'fl_research.algorithms.submodels.hetero_fl',
    'models as wide as each client can train (Diao et al. 2021)',
    {
      'widths': Hyperparameter(
        '1,0.5,0.25',
        "shares of each hidden layer's units, separated by commas, that clients have",
        widths.are_widths,
        'numbers from (0, 1] with commas between them, the largest first',
      ),
      'shares': Hyperparameter(
        '',
        'what share of the clients has each of the widths, separated by commas; alike when empty',
        widths.are_shares,
        'numbers above 0 with commas between them, which add up to 1',
      ),
      'scaler': Hyperparameter(
        False, "whether training divides what a narrow model's hidden layers compute by its width"
      ),
    },
    requires=(
      requirements.sums_only('divides sums by how many have a weight'),
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
