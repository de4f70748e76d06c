"""FedMD and DS-FL: clients exchange answers instead of models.

Li, Wang 2019, "FedMD: Heterogenous Federated Learning via Model Distillation", algorithm 1, and
Itahara, Nishio, Koda, Morikura, Yamamoto 2021, "Distillation-Based Semi-Supervised Federated
Learning for Communication-Efficient Collaborative Training with Non-IID Private Data" (DS-FL). All
know examples x without labels (`--server_examples`). Every client keeps a model of its own, and in
a round

    digests     descends KL(p(x) || softmax(f(x))), where p is what the last round agreed on
    revisits    trains on its own examples
    answers     sends its answers for all x,

and the server's next p is, with answers a_k of the round's clients,

    scores    softmax(mean_k a_k),          a_k = f_k(x)               FedMD
    era       softmax(mean_k a_k / T),      a_k = softmax(f_k(x))      DS-FL, entropy reduction

so that a small T makes it certain. In the first round there is nothing to digest. What a client
uses is its own model. Number of examples × classes go up, and as many down; models never travel.

Differences from the paper:
1. FedMD's models first train on labels of the common examples; here all begin with the run's
   initial weights, and those labels are not looked at.
2. FedMD's text averages scores; its code hands them on as they are, to be met by their squared
   distance. Here the divergence is descended, as DS-FL does.
3. DS-FL has its clients digest after the answers are agreed on, at the end of a round; here it is
   at the beginning of the next one that they take part in.
4. Clients' models are all of one shape here.
"""

import collections

import tensorflow as tf

from fl_research.algorithms.distillation import soft_labels
from fl_research.round.method import Method, Reply

SCORES, ERA = 'scores', 'era'


class FedMD(Method):
  """Li, Wang 2019 and Itahara et al. 2021 (see the module's docstring). Client state: its model.

  Args:
    agreement: `SCORES` or `ERA`.
    temperature: T > 0, of `ERA`.
    passes: over the common examples, when they are digested.
  """

  personal = True
  global_model = False

  def __init__(self, agreement: str, temperature: float, passes: int):
    self._agreement = agreement
    self._temperature = temperature
    self._passes = passes

  def bind(self, federation):
    soft_labels.check(federation, 'fedmd')
    return super().bind(federation)

  def shares(self, weight_names):
    return (False,) * len(weight_names)

  def initial_own(self, weights):
    known = soft_labels.known_to_all(self.federation)
    agreed = tf.zeros_like(soft_labels.answers(self.federation.model, weights, known))
    return collections.OrderedDict(agreed=agreed, rounds=tf.constant(0.0))

  def initial_client_state(self, weights):
    return collections.OrderedDict(model=list(weights))

  def message(self, server):
    return server.own

  def work(self, client, message):
    model, known = client.model, soft_labels.known_to_all(self.federation)
    # Before anything is agreed on there is nothing to digest.
    count = tf.where(message['rounds'] > 0.0, known['num_examples'], 0)
    common = collections.OrderedDict(known, num_examples=count)
    digested = client.train(
      client.state['model'],
      objective=soft_labels.Distillation(model),
      data=soft_labels.labelled(common, message['agreed']),
      passes=self._passes,
      sent=False,
    )
    trained = client.train(digested.weights, sent=False)
    answer = soft_labels.answers(model, trained.weights, known)
    if self._agreement == ERA:
      answer = tf.nn.softmax(answer)
    state = collections.OrderedDict(model=list(trained.weights))
    steps = digested.num_steps + trained.num_steps
    return Reply(answer, state, trained._replace(num_steps=steps))

  def finish(self, server, combined):
    temperature = self._temperature if self._agreement == ERA else 1.0
    agreed = tf.nn.softmax(combined.update / temperature)
    own = collections.OrderedDict(agreed=agreed, rounds=server.own['rounds'] + 1.0)
    return server._replace(own=own)

  def predictor(self, server, client):
    return self.predict(tuple(client.state['model']))


def build(*, agreement: str, temperature: float, passes: int) -> Method:
  """The registry's entry point; the arguments are those of `FedMD`."""
  return FedMD(agreement, temperature, passes)
