"""K-means in NumPy, from the papers."""

import numpy as np


def nearest(points, centres):
  """For each point the number of the nearest centre, and the distance to it."""
  distances = np.array([[np.linalg.norm(p - c) for c in centres] for p in points])
  return distances.argmin(axis=1), distances.min(axis=1)


def mini_batch(centres, counts, points):
  """Sculley's steps in one: every centre moves to each of its points at a rate of 1 / its count."""
  owners, _ = nearest(points, centres)
  centres, counts = np.array(centres, np.float64), np.array(counts, np.float64)
  for point, owner in zip(points, owners):
    counts[owner] += 1
    rate = 1 / counts[owner]
    centres[owner] = (1 - rate) * centres[owner] + rate * point
  return centres, counts


def _plus_plus(points, chances):
  rows = [int(chances[0] * len(points))]
  for chance in chances[1:]:
    _, distances = nearest(points, points[rows])
    ends = np.cumsum(distances**2)
    # Where all points are chosen, which one comes again does not matter.
    rows.append(min(int(np.sum(ends <= chance * ends[-1])), len(points) - 1))
  return rows


def awasthi_sheffet(points, chances):
  """A client's centres and the sizes of its clusters: algorithm 1 of k-FED."""
  points, k = np.asarray(points, np.float64), len(chances)
  u, s, vt = np.linalg.svd(points, full_matrices=False)
  plane = (u[:, :k] * s[:k]) @ vt[:k]
  rows = _plus_plus(plane, chances)
  distances = np.array([[np.linalg.norm(p - plane[r]) for r in rows] for p in plane])
  centres = points[rows].copy()
  for r in range(k):
    others = np.delete(distances, r, axis=1)
    near = np.all(distances[:, [r]] <= others / 3, axis=1)
    if near.any():
      centres[r] = points[near].mean(axis=0)
  before = None
  while True:
    owners, _ = nearest(points, centres)
    if before is not None and np.array_equal(owners, before):
      return centres, np.bincount(owners, minlength=k)
    before = owners
    for r in range(k):
      if (owners == r).any():
        centres[r] = points[owners == r].mean(axis=0)


def k_fed(by_client, k):
  """The server's centres of the clients', and how many it has of each: algorithm 2 of k-FED."""
  everything = np.concatenate(by_client)
  chosen = list(by_client[0][:k])
  while len(chosen) < k:
    chosen.append(everything[nearest(everything, chosen)[1].argmax()])
  owners, _ = nearest(everything, chosen)
  centres = [everything[owners == r].mean(axis=0) for r in range(k)]
  return np.array(centres), np.bincount(owners, minlength=k)
