"""Whether clients found out who belongs to whom: the model that each uses against its true group.

Where the data say which group a client is of (`--label_namings`, `--rotations`, `--renderings`) and
each client uses one of several models, these columns are over the clients that are tested:

- `groups/found`: the share of clients that use the model of their own group, models being matched
  to groups so that as many clients as can be are right.
- `groups/rand_index`: the adjusted Rand index of the two ways to part clients (Hubert and Arabie
  1985, "Comparing Partitions"): 1 where they are the same, about 0 for one that is drawn at random.
"""

from collections.abc import Callable, Sequence
from typing import Optional

import numpy as np
import scipy.optimize
import tensorflow as tf

from fl_research.algorithms.clusters import several_models
from fl_research.round.client import Client
from fl_research.round.method import Method, Predictor, Server

GROUP = 'groups'
NAMES = ('found', 'rand_index')


def found(chosen: np.ndarray, groups: np.ndarray) -> float:
  """The share of clients that chose their group's model, models being matched to groups at best.

  Args:
    chosen, groups: int [clients], numbers from 0 on.
  """
  table = np.zeros((chosen.max() + 1, groups.max() + 1), np.int64)
  np.add.at(table, (chosen, groups), 1)
  return float(table[scipy.optimize.linear_sum_assignment(-table)].sum() / len(groups))


def values(chosen: Sequence[int], groups: Sequence[int]) -> dict[str, float]:
  """The columns, without what stands before the `/`."""
  from sklearn import metrics as sklearn_metrics

  return {
    'found': found(np.asarray(chosen), np.asarray(groups)),
    'rand_index': float(sklearn_metrics.adjusted_rand_score(groups, chosen)),
  }


def choice_of(method: Method) -> Optional[Callable[[Server, Client], Predictor]]:
  """What answers, whatever it is asked, with the number of the client's model; None without one."""
  if not isinstance(method, several_models.OneOfSeveral):
    return None

  def predictor(server, client):
    number = tf.cast(method.choice(server, client), tf.float32)
    return lambda x: tf.fill([tf.shape(x)[0], 1], number)

  return predictor
