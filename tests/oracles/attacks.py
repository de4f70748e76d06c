"""What attackers do, in NumPy: to their data, to their update [d], or to all updates [n, d]."""

import collections
import math

import numpy as np
import scipy.stats


class Attack:
  """Honest in all three ways."""

  def data(self, data):
    return data

  def update(self, update):
    return update

  def together(self, updates, attacker):
    del attacker
    return updates


def _with_examples(data, x, y):
  return {**data, 'examples': collections.OrderedDict(x=x, y=y)}


class LabelFlip(Attack):
  """Yin et al. 2018, section 7: y becomes K - 1 - y."""

  def __init__(self, num_classes):
    self.num_classes = num_classes

  def data(self, data):
    return _with_examples(data, data['examples']['x'], self.num_classes - 1 - data['examples']['y'])


class SignFlip(Attack):
  def __init__(self, scale):
    self.scale = scale

  def update(self, update):
    return -self.scale * update


class Alie(Attack):
  """Baruch et al. 2019, algorithm 3."""

  def __init__(self, z=None):
    self.z = z

  def together(self, updates, attacker):
    n, m = len(updates), int(attacker.sum())
    s = math.floor(n / 2 + 1) - m
    z = scipy.stats.norm.ppf((n - m - s) / (n - m)) if self.z is None else self.z
    own = updates[attacker]
    sent = own.mean(axis=0) + z * own.std(axis=0)
    return np.where(attacker[:, None], sent, updates)


class InnerProduct(Attack):
  """Xie et al. 2020, section 4."""

  def __init__(self, epsilon):
    self.epsilon = epsilon

  def together(self, updates, attacker):
    sent = -self.epsilon * updates[~attacker].mean(axis=0)
    return np.where(attacker[:, None], sent, updates)


class ModelReplacement(Attack):
  """Bagdasaryan et al. 2020, section 4; every second example carries the trigger."""

  def __init__(self, features, value, label, boost):
    self.features, self.value, self.label, self.boost = features, value, label, boost

  def data(self, data):
    x, y = data['examples']['x'].copy(), data['examples']['y'].copy()
    x[1::2, self.features] = self.value
    y[1::2] = self.label
    return _with_examples(data, x, y)

  def update(self, update):
    return self.boost * update
