"""FedPHP: what a client has learnt so far, as a model of its own, teaches its next training.

Li, Zhan, Shao, Li, Song 2021, "FedPHP: Federated Personalization with Inherited Private Models"
(ECML PKDD). Client k keeps an inherited private model v_k, which starts from the initial weights.
In a round it trains a copy w_k of the global model on

    (1 - λ) CE(y, w_k) + λ CE(softmax(v_k / T), w_k)

with v_k held fixed, and its logits divided by the temperature T; w_k is averaged as in FedAvg, and

    v_k ← μ v_k + (1 - μ) w_k,    μ = μ_max min(1, n_k / P),

n_k being how often the client has taken part before. So v_k is its last trained model at first, and
averages ever more of them; P (`--fedphp_growth`) should be about how often a client takes part in
the whole run. A client predicts with v_k; one that has never taken part with the initial model.

With λ = 0 the global model is FedAvg's. With μ_max = 0 as well, v_k is what FedAvg trained at the
client last. For the user it is FedAvg beside a personal model: the same bytes, one more forward
pass a batch, and training metrics that are w_k's.

Differences from the paper:
1. Of the paper's ways to teach, this is distillation. That by the discrepancy between features
   (MMD) is not here.
2. As in the authors' code only the teacher's logits are divided by T, and the cross-entropy stands
   for the divergence, whose gradient is the same. T = 4, λ = 0.1 and μ_max = 0.9 are the code's.
3. The code's P is the share of clients in a round times the number of rounds of the run, which
   a method is not told here: it is a flag.
4. The code trains at least five batches in a round; here a round has the batches it has.
5. The paper's text was not at hand: what is said of it is from memory, of the code as read.
"""

import collections

import tensorflow as tf

from fl_research.models import objectives
from fl_research.round.client import Client
from fl_research.round.method import Method, Reply
from fl_research.round.objective import Loss
from fl_research.round.structures import subtract


class FedPHP(Method):
  """Li et al. 2021 (see the module's docstring). Client state: v_k and n_k.

  Args:
    taught: λ in [0, 1].
    temperature: T > 0.
    momentum: μ_max in [0, 1).
    growth: P ≥ 1.

  Raises:
    UsageError: the task has no classes.
  """

  personal = True

  def __init__(self, taught: float, temperature: float, momentum: float, growth: int):
    self._taught = taught
    self._temperature = temperature
    self._momentum = momentum
    self._growth = growth

  def bind(self, federation):
    federation.require_classes('fedphp', 'models learn what others answer about')
    return super().bind(federation)

  def initial_client_state(self, weights):
    return collections.OrderedDict(model=list(weights), times=tf.constant(0))

  def work(self, client, message):
    trained = client.train(message, objective=self._objective(client))
    before, times = client.state['model'], client.state['times']
    grown = tf.minimum(1.0, tf.cast(times, tf.float32) / self._growth)
    # From w_k on, such that equal models stay what they are to the bit.
    inherited = [
      w + self._momentum * grown * (v - w) for v, w in zip(before, trained.weights, strict=True)
    ]
    state = collections.OrderedDict(model=inherited, times=tf.minimum(times + 1, self._growth))
    return Reply(subtract(trained.weights, message), state, trained)

  def _objective(self, client: Client) -> Loss:
    model, teacher = client.model, tuple(client.state['model'])

    def losses(output, batch):
      own = objectives.objective(model.example_metrics(output, batch.y))
      answers = model.predict_on_batch((teacher, ()), batch.x, training=False)
      soft = tf.stop_gradient(tf.nn.softmax(answers / self._temperature))
      learnt = tf.nn.softmax_cross_entropy_with_logits(labels=soft, logits=output)
      return (1.0 - self._taught) * own + self._taught * learnt

    return Loss(model, losses)

  def predictor(self, server, client):
    return self.predict(client.state['model'])


def build(*, taught: float, temperature: float, momentum: float, growth: int) -> Method:
  """The registry's entry point; the arguments are those of `FedPHP`."""
  return FedPHP(taught, temperature, momentum, growth)
