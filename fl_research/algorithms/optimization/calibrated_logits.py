"""Methods whose clients train on other logits where they have few examples of a class."""

import abc
from collections.abc import Callable

import tensorflow as tf

from fl_research.datasets.federated_data import Problem
from fl_research.models import objectives
from fl_research.registry import UsageError
from fl_research.round import minibatches
from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss
from fl_research.round.structures import subtract


class CalibratedLogits(Method):
  """FedAvg whose clients descend the cross-entropy of logits changed by what classes they have.

  What the model answers, and the training metrics, are those of the logits as they are.
  """

  name: str
  """What the method is called in `--algorithm`."""

  @abc.abstractmethod
  def calibration(self, counts: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """What a client makes of logits, float32 [n, classes].

    Args:
      counts: how many examples the client has of every class, float32 [classes].
    """

  def bind(self, federation):
    """As `Method.bind`.

    Raises:
      UsageError: the task has no classes.
    """
    if federation.model.spec.problem is not Problem.CLASSIFICATION:
      raise UsageError(
        f'--algorithm={self.name}: calibrates the logits of classes, which this task has not; '
        'accepted are tasks with one of several classes for each example'
      )
    return super().bind(federation)

  def work(self, client, message):
    model, calibrated = client.model, self.calibration(_counts(client))
    loss = lambda output, batch: objectives.objective(
      model.example_metrics(calibrated(output), batch.y)
    )
    trained = client.train(message, objective=Loss(model, loss))
    return Reply(subtract(trained.weights, message), client.state, trained)


def _counts(client: Client) -> tf.Tensor:
  """How many examples a client has of every class, float32 [classes]."""
  _, labels, mask = minibatches.examples(client.data)
  classes = tf.one_hot(labels, client.model.spec.num_classes)
  return tf.linalg.matvec(classes, mask, transpose_a=True)
