"""When, and on what, models are evaluated."""

import dataclasses

from fl_research import domains
from fl_research.settings import section

_setting = section.settings_of('Evaluation')


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """Settings of evaluation."""

  rounds_per_evaluation: int = _setting(
    1, 'evaluate every so many rounds, and after the last', **domains.COUNT
  )
  evaluate_train: bool = _setting(
    False, 'also evaluate on the training examples of all clients: train_set/...'
  )
  evaluate_auc: bool = _setting(
    False,
    'of more than two classes also the area under the ROC curve, the mean over classes of each '
    'against the rest; binary problems always have it',
  )
  clients_csv: bool = _setting(False, 'write clients.csv: metrics of every client', identity=False)
  max_evaluation_clients: int = _setting(
    1000,
    'evaluate at most so many clients one by one (a fixed draw); 0: none',
    **domains.COUNT_OR_0,
  )
  max_evaluation_models: int = _setting(
    100,
    'of methods with personal models: try at most so many of these (a fixed draw) on all test '
    'examples, for eval/...',
    **domains.COUNT,
  )
  fine_tune_epochs: int = _setting(
    0,
    'also evaluate what held-out (else test) clients make of the model in so many passes over a '
    'part of their own examples, tested on the rest; 0: do not',
    **domains.COUNT_OR_0,
  )
  fine_tune_learning_rate: float = _setting(
    0.01, 'learning rate of these passes, by SGD', **domains.FROM_0
  )
  fine_tune_fraction: float = _setting(
    0.5,
    "that part's share of a client's examples",
    valid=lambda v: 0 < v < 1,
    domain='a number in (0, 1)',
  )
