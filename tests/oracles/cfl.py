"""CFL (Sattler, Müller, Samek 2021) in NumPy; a split is the best of all that there are."""

import itertools

import numpy as np

from tests.oracles import flat


def cosines(deltas):
  """α_ij, float64 [n, n]."""
  units = [d / np.linalg.norm(d) for d in deltas]
  return np.array([[u @ v for v in units] for u in units])


def cross(similarity, part, other):
  """How alike the two most similar clients of two parts are."""
  return max(similarity[i, j] for i in part for j in other)


def best_split(similarity, members):
  """The two parts, the first of which has the first member."""
  splits = [
    ([i for i in members if i not in leaving], list(leaving))
    for size in range(1, len(members))
    for leaving in itertools.combinations(members[1:], size)
  ]
  return min(splits, key=lambda parts: cross(similarity, *parts))


def mean(deltas, cohort, members):
  """The mean of some clients' deltas, by examples."""
  sizes = [cohort[k]['num_examples'] for k in members]
  return np.average([deltas[k] for k in members], axis=0, weights=sizes)


def run(start, rounds, rate, mean_norm, max_norm, max_clusters):
  """The models of all clusters, and their clients, after every round. Clients are 0, 1, ….

  Means are by examples, all clients take part, and a new cluster is not split at once.
  """
  models, clusters = [flat.join(start)], [list(range(len(rounds[0])))]
  history = []
  for cohort in rounds:
    deltas = {}
    for model, members in zip(models, clusters):
      for k in members:
        deltas[k] = flat.descend(model, cohort[k], rate)[0] - model
    for c in range(len(clusters)):
      members = clusters[c]
      longest = max(np.linalg.norm(deltas[k]) for k in members)
      disagree = np.linalg.norm(mean(deltas, cohort, members)) < mean_norm and longest > max_norm
      if disagree and len(members) > 1 and len(clusters) < max_clusters:
        similarity = cosines([deltas[k] for k in range(len(cohort))])
        clusters[c], leaving = best_split(similarity, members)
        clusters.append(leaving)
        models.append(models[c])
    ways = [mean(deltas, cohort, members) for members in clusters]
    models = [model + way for model, way in zip(models, ways)]
    history.append(([flat.split(m) for m in models], [list(c) for c in clusters]))
  return history
