"""FML: a model that stays with the client, and a shared one, learn from each other.

Shen, Zhang, Jia, Zhang, Huang, Zhou, Kuang, Wu, Wu 2020, "Federated Mutual Learning" (arXiv
2006.16765), with the losses of Zhang et al. 2018, "Deep Mutual Learning". Client k keeps a model
v_k. In a round it starts another, the meme w_k, from the global model w_t, and for every batch both
take a step by what they answered before it, p_v and p_w:

    v_k = v_k - η ∇(α CE(v_k) + (1 - α) KL(p_w ‖ p_v)),    p_w being fixed
    w_k = w_k - η ∇(β CE(w_k) + (1 - β) KL(p_v ‖ p_w)),    p_v being fixed

The server averages the memes as FedAvg does; nothing is known of v_k but what w_k has learnt from
it. α = 1 is training each client alone, β = 1 FedAvg for the global model. A client's predictions
are v_k's; one that has never taken part has the initial model.

For the user it is FedAvg beside a personal model: the same bytes, two gradients a batch, a state at
every client, the columns `personal/…` and `global/…`, and training metrics that are v_k's.

Differences from the paper:
1. Private models have the shared one's architecture and initial weights; the paper's may be of any,
   which is what it is for where devices differ.
2. The paper's private model keeps its optimiser from round to round; here both have a new one in
   every round. `--client_gradient_clip_norm` is of both models' gradient together.
3. α and β are 0.5, the default of the authors' code. Memes are averaged uniformly, as they do.
4. With dropout each model draws by itself, and teaches what it then answered, as in their code.
"""

import functools

import tensorflow as tf
import tensorflow_federated as tff

from fl_research.models import model as model_lib
from fl_research.models import objectives
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Gradient, metrics_of_examples, Objective, out_of_the_loop
from fl_research.round.structures import subtract


def divergence(taught: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
  """KL(softmax(taught) ‖ softmax(logits)) of each example, float32 [n]; `taught` is fixed."""
  theirs = tf.nn.log_softmax(tf.stop_gradient(taught))
  return tf.reduce_sum(tf.exp(theirs) * (theirs - tf.nn.log_softmax(logits)), axis=-1)


class Mutual(Objective):
  """What two models of one architecture descend together: the weights are one's, then the other's.

  Args:
    model: the architecture.
    shares: of the first and of the second, what the labels count for it; what the other answers
      counts the rest.

  The metric columns are the second's.
  """

  def __init__(self, model: model_lib.Model, shares: tuple[float, float]):
    self._model = model
    self._shares = shares

  def gradient(self, weights, batch, seed, carry):
    compute = out_of_the_loop(self._model, functools.partial(_gradient, self._model, self._shares))
    gradient, columns = compute(tuple(weights), batch, seed)
    return Gradient(gradient, columns, carry)


def _gradient(model, shares, weights, batch, seed):
  half = len(weights) // 2
  seeds = [None, None]
  if seed is not None:
    seeds = [tf.random.experimental.stateless_fold_in(seed, number) for number in range(2)]
  with tf.GradientTape() as tape:
    tape.watch(weights)
    outputs = [
      model.predict_on_batch((own, ()), batch.x, True, own_seed)
      for own, own_seed in zip((weights[:half], weights[half:]), seeds)
    ]
    columns = [model.example_metrics(output, batch.y) for output in outputs]
    losses = tf.add_n(
      [
        share * objectives.objective(own) + (1.0 - share) * divergence(other, output)
        for share, own, output, other in zip(shares, columns, outputs, reversed(outputs))
      ]
    )
  share = tf.math.divide_no_nan(batch.mask, tf.reduce_sum(batch.mask))
  gradient = tape.gradient(
    losses,
    weights,
    output_gradients=share,
    unconnected_gradients=tf.UnconnectedGradients.ZERO,
  )
  gradient = tff.learning.optimizers.handle_indexed_slices_gradients(gradient)
  return gradient, metrics_of_examples(model, columns[1], batch.mask)


class FML(Method):
  """Shen et al. 2020 (see the module's docstring). Client state: v_k.

  Args:
    alpha: α in [0, 1].
    beta: β in [0, 1].

  Raises:
    UsageError: the task has no classes.
  """

  personal = True

  def __init__(self, alpha: float, beta: float):
    self._alpha = alpha
    self._beta = beta

  def bind(self, federation):
    federation.require_classes('fml', 'models learn what the other answers about')
    return super().bind(federation)

  def initial_client_state(self, weights):
    return list(weights)

  def work(self, client, message):
    meme = tuple(message)
    both = client.train(
      (*meme, *client.state),
      objective=Mutual(client.model, (self._beta, self._alpha)),
      sent=False,
    )
    meme_then, own = both.weights[: len(meme)], both.weights[len(meme) :]
    return Reply(subtract(meme_then, meme), list(own), both)

  def predictor(self, server, client):
    return self.predict(client.state)


def build(*, alpha: float, beta: float) -> Method:
  """The registry's entry point; the arguments are those of `FML`."""
  return FML(alpha, beta)
