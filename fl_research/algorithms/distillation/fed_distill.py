"""FD, federated distillation: clients tell each other what they answer to each class.

Jeong, Oh, Kim, Park, Bennis, Kim 2018, "Communication-Efficient On-Device Machine Learning:
Federated Distillation and Augmentation under Non-IID Private Data", section 2; FedDistill in later
papers and frameworks. Every client keeps a model f_k of its own and trains it, on an example x of
class y, on

    CE(y, q) + γ CE(t_y, q),    q = softmax(f_k(x)),

t_c being its teacher of class c: the mean of what the other clients of the last round have sent for
c. What a client sends is, of each class, the mean of q over the class's examples in all of its
steps, at the weights before each step. A class that none of the others has sent has no teacher, and
in the first round none has. What a client uses is its own model. With γ = 0 clients train alone.

Classes × (classes + 1) numbers go up and as many, and one, down; models never travel, nor do
examples or features.

Differences from the paper:
1. All clients take part in the paper's rounds. Here those of the last round teach, and a client
   that was one of them takes out what it had sent itself.
2. Clients that lack a class send nothing for it, and the mean is over those that have it.
3. Later code (PFLlib) descends the squared distance between logits and keeps the client's own among
   its teachers; here it is the paper's cross-entropy between probabilities, without.
4. Federated augmentation, the paper's section 3, is a matter of data and not here.
5. The paper's text was not at hand: what is said of it is from memory.
"""

import collections
from typing import Any

import tensorflow as tf

from fl_research.models import model as model_lib
from fl_research.models import objectives
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss, Objective


class Taught(Objective):
  """The loss, and γ times the cross-entropy to a class's teacher.

  It carries sums of probabilities by class, float32 [C, C], and how many they are, float32 [C].

  Args:
    model: the model.
    teachers: t, a row for each class, float32 [C, C].
    known: 1 for classes that have one, otherwise 0: float32 [C].
    strength: γ.
  """

  def __init__(
    self, model: model_lib.Model, teachers: tf.Tensor, known: tf.Tensor, strength: float
  ):
    self._model = model
    self._classes = known.shape[0]

    def losses(output, batch):
      teacher = tf.gather(teachers, batch.y)
      far = tf.nn.softmax_cross_entropy_with_logits(labels=teacher, logits=output)
      own = objectives.objective(model.example_metrics(output, batch.y))
      return own + strength * tf.gather(known, batch.y) * far

    self._loss = Loss(model, losses)

  def initial_carry(self, weights):
    return tf.zeros([self._classes, self._classes]), tf.zeros([self._classes])

  def gradient(self, weights, batch, seed, carry):
    found = self._loss.gradient(weights, batch, seed, ())
    # The same answers once more, which TensorFlow computes once.
    answers = tf.nn.softmax(self._model.predict_on_batch((weights, ()), batch.x, True, seed))
    classes = tf.one_hot(batch.y, self._classes) * batch.mask[:, tf.newaxis]
    sums, counts = carry
    sums += tf.matmul(classes, answers, transpose_a=True)
    return found._replace(carry=(sums, counts + tf.reduce_sum(classes, axis=0)))


class FedDistill(Method):
  """Jeong et al. 2018 (see the module's docstring).

  Server state: of the last round, sums of what was sent by class, from how many clients each, and
  which round it was. Client state: its model, and what it sent in which round.

  Args:
    gamma: γ ≥ 0.

  Raises:
    UsageError: the task has no classes.
  """

  personal = True
  global_model = False

  def __init__(self, gamma: float):
    self._gamma = gamma

  def bind(self, federation):
    federation.require_classes('feddistill', 'learns from answers about')
    return super().bind(federation)

  def shares(self, weight_names):
    return (False,) * len(weight_names)

  def initial_own(self, weights):
    return self._nothing()

  def initial_client_state(self, weights):
    return collections.OrderedDict(model=list(weights), **self._nothing())

  def message(self, server):
    return server.own

  def work(self, client, message):
    teachers, known = _of_others(message, client.state)
    objective = Taught(client.model, teachers, known, self._gamma)
    trained = client.train(client.state['model'], objective=objective)
    sums, counts = trained.carry
    answers = tf.math.divide_no_nan(sums, counts[:, tf.newaxis])
    there = tf.cast(counts > 0.0, tf.float32)
    state = collections.OrderedDict(
      model=list(trained.weights), answers=answers, there=there, round=message['round'] + 1.0
    )
    return Reply((answers, there), state, trained, weight=tf.constant(1.0))

  def finish(self, server, combined):
    answers, there = combined.update
    count = combined.participants
    own = collections.OrderedDict(
      answers=count * answers, there=tf.round(count * there), round=server.own['round'] + 1.0
    )
    return server._replace(own=own)

  def predictor(self, server, client):
    return self.predict(tuple(client.state['model']))

  def _nothing(self) -> collections.OrderedDict:
    classes = self.federation.model.spec.num_classes
    return collections.OrderedDict(
      answers=tf.zeros([classes, classes]), there=tf.zeros([classes]), round=tf.constant(0.0)
    )


def _of_others(sent: Any, own: Any) -> tuple[tf.Tensor, tf.Tensor]:
  """Teachers of every class, and which classes have one."""
  taught = tf.cast(tf.equal(sent['round'], own['round']), tf.float32)
  others = sent['there'] - taught * own['there']
  sums = sent['answers'] - taught * own['answers']
  teachers = tf.math.divide_no_nan(sums, others[:, tf.newaxis])
  return teachers, tf.cast(others > 0.0, tf.float32)


def build(*, gamma: float) -> Method:
  """The registry's entry point; the argument is that of `FedDistill`."""
  return FedDistill(gamma)
