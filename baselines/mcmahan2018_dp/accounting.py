"""The privacy that McMahan et al. 2018 report: table 1, and their trained models.

McMahan, Ramage, Talwar, Zhang 2018, "Learning Differentially Private Recurrent Language Models".
"""

from fl_research.aggregation.privacy import accountant


def epsilon(
  users: float, cohort: float, noise_multiplier: float, rounds: float, delta: float = 0.0
) -> float:
  """ε of DP-FedAvg after some rounds, as the paper's moments accountant has it.

  Args:
    users: K.
    cohort: C, users expected in a round; each takes part with probability C / K.
    noise_multiplier: z.
    rounds: T.
    delta: δ; K^-1.1, as in table 1, when 0.
  """
  delta = delta or accountant.default_delta(int(users))
  return accountant.moments_accountant_epsilon(cohort / users, noise_multiplier, int(rounds), delta)
