"""The outputs of a network that somebody brought, as what losses and metrics take."""

from typing import Any

import tensorflow as tf

from fl_research.datasets.federated_data import Problem
from fl_research.models.specification import ModelSpec
from fl_research.registry import UsageError

_LAST = {
  Problem.CLASSIFICATION: 'Softmax',
  Problem.NEXT_TOKEN: 'Softmax',
  Problem.BINARY: 'Sigmoid',
  Problem.MULTILABEL: 'Sigmoid',
}
"""The function that turns a problem's raw outputs into probabilities, and which its loss has."""

_PROBABILITIES = ('Softmax', 'Sigmoid')


def raw(answers: Any, problem: Problem) -> tf.Tensor:
  """The raw output: logits where a network gives probabilities, several outputs side by side.

  The loss takes logits, from which probabilities can be told without overflow. Keras does the
  same: it looks what the softmax, or sigmoid, was taken of.
  """
  logits = [_before(_LAST.get(problem, ''), tensor) for tensor in tf.nest.flatten(answers)]
  logits = [tensor[:, tf.newaxis] if tensor.shape.rank == 1 else tensor for tensor in logits]
  return logits[0] if len(logits) == 1 else tf.concat(logits, axis=-1)


def _before(function: str, tensor: tf.Tensor) -> tf.Tensor:
  return tensor.op.inputs[0] if tensor.op.type == function else tensor


def check(flag: str, output: tf.Tensor, spec: ModelSpec) -> None:
  """Sees that a traced output is what the problem asks for.

  Raises:
    UsageError: it has another shape, or is probabilities of the wrong kind.
  """
  found, needed = list(output.shape[1:]), _needed(spec)
  if found != needed:
    raise UsageError(
      f'{flag}: gives {found} for each example, where {spec.problem.value} needs {needed}'
      f'{_why(spec)}'
    )
  if spec.problem in _LAST and output.op.type in _PROBABILITIES:
    raise UsageError(
      f'{flag}: ends in {output.op.type.lower()}, where {spec.problem.value} needs '
      f'{_LAST[spec.problem].lower()}, or nothing'
    )


def _needed(spec: ModelSpec) -> list[int]:
  """The shape of an example's output."""
  if spec.problem is Problem.RECONSTRUCTION:
    return list(spec.label_shape)
  if spec.problem is Problem.NEXT_TOKEN:
    return [*spec.label_shape, spec.output_units]
  return [spec.output_units]


def _why(spec: ModelSpec) -> str:
  return {
    Problem.CLASSIFICATION: ', a number for each class',
    Problem.MULTILABEL: ', a number for each tag',
    Problem.NEXT_TOKEN: ', a number for each token at each place',
    Problem.BINARY: ', one number',
  }.get(spec.problem, '')
