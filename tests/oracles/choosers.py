"""Power-of-Choice, Oort and optimal client sampling in plain Python, from their papers."""

import math

import numpy as np


def power_of_choice(drawn, losses, count):
  """Cho et al. 2022, section 4: the candidates with the highest losses, first drawn first."""
  left, chosen = list(zip(drawn, losses)), []
  while left and len(chosen) < count:
    best = left[0]
    for each in left[1:]:
      if each[1] > best[1]:
        best = each
    left.remove(best)
    chosen.append(best[0])
  return set(chosen)


def oort_scores(reports, round_num, clip, preferred, alpha):
  """Lai et al. 2021, algorithm 1, lines 8 to 14, utilities scaled as in the authors' code.

  `reports`: client -> (examples, mean squared loss, seconds, last round).
  """
  utility = {k: n * math.sqrt(square) for k, (n, square, _, _) in reports.items()}
  ordered = sorted(utility.values())
  bound = ordered[math.ceil(clip * len(ordered)) - 1]
  low, scores = ordered[0], {}
  for k, (_, _, seconds, seen) in reports.items():
    scores[k] = (min(utility[k], bound) - low) / (bound - low)
    scores[k] += math.sqrt(0.1 * math.log(round_num) / seen)
    if seconds > preferred:
      scores[k] *= (preferred / seconds) ** alpha
  return scores


def oort_pool(scores, number, cutoff):
  """Those among whom it draws so many: within `cutoff` of the last score that would do."""
  last = sorted(scores.values(), reverse=True)[number - 1]
  return {k for k, score in scores.items() if score >= cutoff * last}


def optimal_probabilities(lengths, count):
  """min(1, u / λ), which sum to `count`: the minimum of Σ u² / p under that sum and p ≤ 1."""
  low, high = 1e-12, sum(lengths)
  for _ in range(200):
    middle = (low + high) / 2
    total = sum(min(1.0, u / middle) for u in lengths)
    low, high = (middle, high) if total > count else (low, middle)
  return np.array([min(1.0, u / high) for u in lengths])
