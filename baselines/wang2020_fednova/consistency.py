"""How far from the optimum methods come to rest when clients take unequal numbers of steps.

Wang, Liu, Liang, Joshi, Poor 2020, "Tackling the Objective Inconsistency Problem in Heterogeneous
Federated Optimization", sections 3 and 4: FedAvg converges to the optimum of another objective, in
which clients with more steps count for more; FedNova to the optimum of the true one.

Both train softmax regression with weight decay on Synthetic(1,1), all 30 clients in every round, 5
epochs each, so that the largest client takes over a hundred times as many steps as the smallest.
The learning rate falls by 1.5 % per round, as with a constant one neither would come to rest. The
optimum is SciPy's.
"""

from baselines import softmax_objective
from fl_research.settings import Settings

_ROUNDS = 300
_WEIGHT_DECAY = 0.01


def excess_loss(algorithm: str, seed: int) -> float:
  """f - min f, in nats, where 300 rounds of an algorithm end."""
  objective, points = softmax_objective.path(
    Settings(
      seed=seed,
      algorithm=algorithm,
      task='synthetic',
      synthetic_alpha=1.0,
      synthetic_beta=1.0,
      clients_per_round=30,
      client_epochs_per_round=5.0,
      client_batch_size='50',
      client_learning_rate=0.05,
      client_lr_schedule='exponential',
      client_lr_decay=0.985,
      client_weight_decay=_WEIGHT_DECAY,
      total_rounds=_ROUNDS,
      rounds_per_evaluation=_ROUNDS,
      rounds_per_checkpoint=_ROUNDS,
      jit='on',
    )
  )
  return objective.value(points[-1])[0] - objective.minimum()
