"""Label flipping: attackers learn honestly from wrong labels.

Yin, Chen, Ramchandran, Bartlett 2018, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", section 7: every label y of an attacker's training examples becomes

    K - 1 - y        for K classes (the paper's 9 - y on MNIST); 1 - y for a yes-or-no label.

Labels that are several yes-or-no tags flip each of them. What the attackers then do with these
examples, and send, is what the method says.

Differences from the paper:
1. None where labels are classes; a yes-or-no label, and tags, are not in the paper.
"""

from fl_research.datasets.federated_data import Problem
from fl_research.population.attacks import attack


class LabelFlip(attack.Attack):
  """Yin et al. 2018, section 7 (see the module's docstring).

  Args:
    largest: K - 1.
  """

  def __init__(self, largest: int):
    self._largest = largest

  def poison_examples(self, x, y):
    return x, self._largest - y


def build(target: attack.Target) -> attack.Attack:
  """The registry's entry point."""
  tags = target.spec.problem is Problem.MULTILABEL
  target.require('label_flip', tags or target.num_labels > 0, 'class labels')
  return LabelFlip(1 if tags else target.num_labels - 1)
