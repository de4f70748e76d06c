"""Methods whose clients train on other logits where they have few examples of a class."""

import abc
from collections.abc import Callable

import tensorflow as tf

from fl_research.models import objectives
from fl_research.round import minibatches
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
    federation.require_classes(self.name, 'calibrates the logits of')
    return super().bind(federation)

  def work(self, client, message):
    model = client.model
    counts = minibatches.class_counts(client.data, model.spec.num_classes)
    calibrated = self.calibration(counts)
    loss = lambda output, batch: objectives.objective(
      model.example_metrics(calibrated(output), batch.y)
    )
    trained = client.train(message, objective=Loss(model, loss))
    return Reply(subtract(trained.weights, message), client.state, trained)
