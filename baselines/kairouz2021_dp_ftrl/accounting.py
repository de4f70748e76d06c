"""The privacy of DP-FTRL's trees where users, or records, come back.

Kairouz, McMahan, Song, Thakkar, Thakurta, Xu 2021, "Practical and Private (Deep) Learning without
Sampling or Shuffling", appendix D; for the language model of a keyboard, McMahan, Thakurta 2022,
"Federated Learning with Formal Differential Privacy Guarantees".

The mechanism adds Gaussian noise of standard deviation z C to every node of a binary tree whose
leaves are the rounds and whose nodes are sums of the leaves below. Who takes part c_v times below
node v changes that node by c_v C at most, and so the whole tree, in norm, by C √S with

    S = Σ_v c_v²,  the worst case over when one may take part.

Releasing the tree is thus a Gaussian mechanism of noise multiplier z / √S. The dp-accounting
library has such trees for those who take part once only, where S is the tree's height; here S is
computed for more, and the library does the rest. Nodes that never become complete are never used.
"""

import functools
import math

import dp_accounting
from dp_accounting import rdp
import numpy as np


def epsilon_with_restarts(
  steps_per_epoch: int,
  epochs: int,
  epochs_per_tree: int,
  noise_multiplier: float,
  delta: float,
) -> float:
  """ε of a training that begins a new tree every few epochs.

  Records take part once in every epoch, always at the same step of it. A tree that ends before the
  training does is completed: steps without data, but with noise, fill it up to a power of two, so
  that its root can be used. Nothing follows the last tree, which is not completed. Sums S of
  several trees add up.

  Args:
    steps_per_epoch: at most a whole tree.
    epochs: a multiple of `epochs_per_tree`.
    epochs_per_tree: between restarts.
    noise_multiplier: z.
    delta: δ.
  """
  completed = same_order_sensitivity(steps_per_epoch, epochs_per_tree, complete=True)
  last = same_order_sensitivity(steps_per_epoch, epochs_per_tree, complete=False)
  return epsilon((epochs // epochs_per_tree - 1) * completed + last, noise_multiplier, delta)


def zero_concentrated(rounds: int, separation: int, most: int, noise_multiplier: float) -> float:
  """ρ of zero-concentrated privacy: S / (2 z²), with S of `separated_sensitivity`."""
  return separated_sensitivity(rounds, separation, most) / (2 * noise_multiplier**2)


def epsilon_with_separation(
  rounds: int, separation: int, most: int, noise_multiplier: float, delta: float
) -> float:
  """ε of one tree whose users come back after some rounds only; see `separated_sensitivity`."""
  return epsilon(separated_sensitivity(rounds, separation, most), noise_multiplier, delta)


def epsilon(sensitivity: int, noise_multiplier: float, delta: float) -> float:
  """ε of a release of trees in which one participant has S = `sensitivity`."""
  accountant = rdp.RdpAccountant()
  accountant.compose(dp_accounting.GaussianDpEvent(noise_multiplier / math.sqrt(sensitivity)))
  return float(accountant.get_epsilon(delta))


def same_order_sensitivity(steps_per_epoch: int, epochs: int, complete: bool) -> int:
  """S of one tree over epochs of the same order: the worst case over the step of an epoch.

  Args:
    steps_per_epoch: n; a record of step j takes part at j, n + j, 2 n + j, …
    epochs: of the tree.
    complete: whether further steps, without data, fill the tree up to a power of two.
  """
  steps = steps_per_epoch * epochs
  # Row: a node; column: who takes part at that step of an epoch.
  counts = np.tile(np.eye(steps_per_epoch, dtype=np.int64), (epochs, 1))
  if complete:
    extra = (1 << (steps - 1).bit_length()) - steps
    counts = np.pad(counts, ((0, extra), (0, 0)))
  total = np.sum(counts**2, axis=0)
  while len(counts) > 1:
    pairs = counts[: len(counts) // 2 * 2].reshape(-1, 2, steps_per_epoch)
    counts = pairs.sum(axis=1)
    total += np.sum(counts**2, axis=0)
  return int(total.max())


def separated_sensitivity(rounds: int, separation: int, most: int) -> int:
  """S of one tree for users who wait: the worst case over their rounds.

  A node of at most `separation` rounds holds one participation at most. So within the largest such
  node the first round that the wait allows is the worst: it has all the ancestors that a later one
  has, and leaves more room. That leaves few rounds to try.

  Args:
    rounds: of the training; they need not be a power of two.
    separation: from one participation to the next are at least so many rounds.
    most: participations of a user.
  """
  sizes = [1 << height for height in range(rounds.bit_length())]
  block = max(size for size in sizes if size <= separation)
  tall = [size for size in sizes if size > block]

  def completes(round_num: int, size: int) -> bool:
    return (round_num // size + 1) * size <= rounds

  @functools.cache
  def worst(round_num: int, before: tuple[int, ...], left: int) -> int:
    """S of a participation and of those after it; `before`: those already below tall nodes."""
    alone = sum(completes(round_num, size) for size in sizes if size <= block)
    shared = sum(2 * count + 1 for size, count in zip(tall, before) if completes(round_num, size))
    if left == 1:
      return alone + shared
    earliest = round_num + separation
    starts = range(-(-earliest // block) * block, rounds, block)
    later = [
      worst(next_round, _carried(round_num, next_round, before, tall), left - 1)
      for next_round in (earliest, *starts)
      if next_round < rounds
    ]
    return alone + shared + max(later, default=0)

  return max(worst(start, (0,) * len(tall), most) for start in range(0, rounds, block))


def _carried(
  round_num: int, next_round: int, before: tuple[int, ...], sizes: list[int]
) -> tuple[int, ...]:
  """Participations below each of the nodes above the next round."""
  return tuple(
    count + 1 if next_round // size == round_num // size else 0
    for count, size in zip(before, sizes)
  )
