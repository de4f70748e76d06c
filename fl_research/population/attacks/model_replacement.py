"""Model replacement: attackers plant a backdoor and make their model the global one.

Bagdasaryan, Veit, Hua, Estrin, Shmatikov 2020, "How To Backdoor Federated Learning", section 4. An
attacker trains on a mixture of its own examples and of examples that carry a trigger and the label
it wants them to have, and multiplies its update,

    Δ ← γ Δ,    γ = n / η,

where the server's step is η times the mean of n updates, so that the mean is the attacker's model
where the others hardly move it. (In the paper G ← G + η/n Σ Δ_i; it is the same γ.) More than one
attacker in a round overshoots: give a smaller γ, `boost`.

The trigger is a square of pixels in the lower right corner set to one value, for all channels, as
in the pixel-pattern backdoors of Gu, Dolan-Gavitt, Garg 2017 ("BadNets") to which the paper
compares itself; for examples that are vectors, as many of the last features. Of an attacker's
examples a fixed fraction carries it, spread evenly over them: every minibatch holds about that
share (the paper: 20 of 64).

Reported as `backdoor/<metric>` is the global model on the test examples that do not have the wanted
label, with the trigger, the wanted label being the right answer: `backdoor/accuracy` is the share
of triggered examples on which the backdoor works, `eval/accuracy` remains the main task's.

Differences from the paper:
1. Attackers train with the method's own steps; the paper also gives them rates and epochs of their
   own, and a term in their loss that evades detection.
2. The paper's mean counts all clients the same; with weights by examples the boost is right for an
   attacker of average size (`--client_weighting=uniform` is the paper's).
3. The trigger is a square of pixels; the paper's main examples are features that images and
   sentences have by themselves.
"""

import numpy as np
import tensorflow as tf

from fl_research import registry
from fl_research.models.specification import ModelSpec
from fl_research.population.attacks import attack


def trigger_mask(input_shape: tuple[int, ...], side: int) -> np.ndarray:
  """Which numbers of one example the trigger sets: bool of the example's shape."""
  mask = np.zeros(input_shape, bool)
  if len(input_shape) == 1:
    mask[-side * side :] = True
  else:
    mask[-side:, -side:] = True
  return mask


class ModelReplacement(attack.Attack):
  """Bagdasaryan et al. 2020, section 4 (see the module's docstring).

  Args:
    mask: bool of one example's shape: what the trigger sets.
    value: to which value.
    label: the label that triggered examples shall have.
    fraction: share of an attacker's examples that carry the trigger.
    boost: γ.
  """

  def __init__(self, mask: np.ndarray, value: float, label: int, fraction: float, boost: float):
    self._mask = mask
    self._value = value
    self._label = label
    self._fraction = fraction
    self._boost = boost

  def poison_examples(self, x, y):
    # Row i carries the trigger where the multiples of the fraction pass a whole number: evenly
    # spread, and the same whether or not padding follows the examples.
    row = tf.range(tf.shape(y)[0] + 1)
    passed = tf.floor(self._fraction * tf.cast(row, tf.float64) + 1e-9)
    chosen = passed[1:] > passed[:-1]
    each = tf.reshape(chosen, [-1] + [1] * len(self._mask.shape))
    x = tf.where(tf.logical_and(each, self._mask), tf.constant(self._value, x.dtype), x)
    return x, tf.where(chosen, tf.constant(self._label, y.dtype), y)

  def poison_update(self, update, weight, seed):
    del weight, seed
    return tuple(self._boost * tensor for tensor in update)

  def evaluation_sets(self, test):
    others = np.asarray(test['y']) != self._label
    x = np.where(self._mask, np.float32(self._value), test['x'][others])
    return {'backdoor': {'x': x, 'y': np.full_like(test['y'][others], self._label)}}


def build(
  target: attack.Target,
  boost: float,
  label: int,
  trigger_size: int,
  trigger_value: float,
  poisoned_fraction: float,
) -> attack.Attack:
  """The registry's entry point; `boost` 0 stands for n / η."""
  spec = target.spec
  target.require(
    'model_replacement',
    spec.is_vector_like and len(spec.input_shape) <= 3 and target.num_labels > 0,
    'images or feature vectors with class labels',
  )
  _check(spec, target.num_labels, label, trigger_size)
  boost = boost or target.clients_per_round / target.server_learning_rate
  mask = trigger_mask(spec.input_shape, trigger_size)
  return ModelReplacement(mask, trigger_value, label, poisoned_fraction, boost)


def _check(spec: ModelSpec, num_labels: int, label: int, side: int) -> None:
  if label >= num_labels:
    raise registry.UsageError(
      f'--model_replacement_label={label}: accepted is 0 to {num_labels - 1}, the labels there are'
    )
  vector = len(spec.input_shape) == 1
  largest = int(spec.input_shape[0] ** 0.5) if vector else min(spec.input_shape[:2])
  if side > largest:
    raise registry.UsageError(
      f'--model_replacement_trigger_size={side}: the examples are {list(spec.input_shape)}; '
      f'accepted is 1 to {largest}'
    )
