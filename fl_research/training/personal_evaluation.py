"""Which of the clients' own models are evaluated, and on what.

For methods whose clients have models of their own (`Method.personal`), columns mean:

- `personal/<metric>`: the headline. Every client's model on its own test examples, all of these
  together, so that clients weigh as many as they have.
- `eval_clients/<metric>_<statistic>`: the same models and examples, each client counting the same.
- `eval/<metric>`: the mean over at most `--max_evaluation_models` training clients, a fixed draw,
  of what each one's model makes of the whole central test set. So are columns of further sets.
- `global/<metric>`, `global_clients/<metric>_<statistic>`: the global model on the central test
  set and on the examples of `eval_clients/`, for methods in which it is of use by itself.

- `groups/…`: whether they found out who belongs to whom
  (see `fl_research.training.group_agreement`).

Clients tested on their own are those that train and have test examples, at most
`--max_evaluation_clients` of them; where there are none, only `eval/` and `global/` are there. In a
federation no machine has a central test set: `eval/` is not there, and `global/<metric>` is on the
clients' examples.
"""

from collections.abc import Mapping
import dataclasses
from typing import Optional

import numpy as np

from fl_research import random_streams
from fl_research.datasets.federated_data import Clients
from fl_research.round import method as method_lib
from fl_research.settings import Settings
from fl_research.training import group_agreement
from fl_research.training.run_data import RunData

PERSONAL, GLOBAL = 'personal', 'global'
"""What stands before the `/` of the columns that only such methods have."""


@dataclasses.dataclass(frozen=True)
class Plan:
  """Whose models are evaluated.

  Attributes:
    positions: position in the population by id, of the clients that are tested on their own.
    tested: these clients, with their test examples; None without any.
    drawn: positions of the clients whose models see the whole test set, ascending.
    global_model: whether the global model is evaluated beside them.
    group_of: the true group of each of `positions`' clients, by id, where each uses one of several
      models; None where that, or its group, is not known.
  """

  positions: Mapping[str, int]
  tested: Optional[Clients]
  drawn: np.ndarray
  global_model: bool
  group_of: Optional[Mapping[str, int]] = None


def plan(settings: Settings, method: method_lib.Method, data: RunData) -> Optional[Plan]:
  """The plan of a run; None for methods whose clients all use the global model."""
  if not method.personal:
    return None
  positions: dict[str, int] = {}
  tested = data.test_clients
  if tested is not None:
    of_all = {client_id: position for position, client_id in enumerate(data.train.ids)}
    positions = {i: of_all[i] for i in tested.ids if i in of_all}
    tested = tested.select(np.flatnonzero([i in positions for i in tested.ids]))
  return Plan(
    positions,
    tested if positions else None,
    _drawn(len(data.train), settings),
    method.global_model,
    data.group_of if positions and group_agreement.choice_of(method) else None,
  )


def _drawn(population: int, settings: Settings) -> np.ndarray:
  most = settings.max_evaluation_models
  if population <= most:
    return np.arange(population)
  generator = random_streams.generator(settings.seed, 'evaluation models')
  return np.sort(generator.choice(population, most, replace=False))
