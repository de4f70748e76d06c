"""A mistake in a method's hook names the class and the hook, and what would be lost is refused."""

import numpy as np
import pytest
import tensorflow as tf

from fl_research import hooks, runtime
from fl_research.aggregation import stacked
from fl_research.algorithms.optimization import fed_avg
from fl_research.round import method
from tests.algorithms import harness


@pytest.fixture(autouse=True, scope='module')
def _runtime():
  with runtime.use_context('fused', chunks=1):
    yield


def replying(**changes):
  """FedAvg whose clients' replies have these changes: functions of the client and the reply."""

  class Mistaken(fed_avg.FedAvg):
    def work(self, client, message):
      reply = super().work(client, message)
      return reply._replace(**{name: change(client, reply) for name, change in changes.items()})

  return Mistaken()


def working(work):
  """FedAvg with other work."""
  return type('Mistaken', (fed_avg.FedAvg,), {'work': work})()


def finishing(finish):
  """FedAvg with another finish."""
  return type('Mistaken', (fed_avg.FedAvg,), {'finish': finish})()


def _with_state(initial, **changes):
  made = replying(**changes)
  type(made).initial_client_state = lambda self, weights: tf.zeros(initial)
  return made


def _variable(self, client, message):
  counter = tf.Variable(0.0)
  counter.assign_add(1.0)
  return fed_avg.FedAvg.work(self, client, message)


def _variable_in_a_loop(self, client, message):
  def body(i):
    tf.Variable(1.0)
    return i + 1

  tf.while_loop(lambda i: i < 3, body, [tf.constant(0)])
  return fed_avg.FedAvg.work(self, client, message)


class _OldVariable(fed_avg.FedAvg):
  """Made with the method, outside all computations."""

  def __init__(self):
    self._counter = tf.Variable(0.0)

  def work(self, client, message):
    reply = super().work(client, message)
    return reply._replace(measures={'count': self._counter.assign_add(1.0)})


_transposed = lambda client, reply: tuple(tf.transpose(u) for u in reply.update)

_OUTSIDE = tf.constant([1.0])

MISTAKES = {
  'no message': (
    type('Mistaken', (fed_avg.FedAvg,), {'message': lambda self, server: None})(),
    'message: message holds None, must be tensors',
  ),
  'a tensor made elsewhere': (
    type('Mistaken', (fed_avg.FedAvg,), {'initial_client_state': lambda self, w: _OUTSIDE})(),
    'initial_client_state: uses a tensor or tf.Variable that was made outside of it',
  ),
  'a state of the server that is no tensor': (
    type('Mistaken', (fed_avg.FedAvg,), {'initial_own': lambda self, w: {'x': None}})(),
    'initial: own holds None, must be tensors',
  ),
  'nothing': (working(lambda *_: None), 'work: returns None, must return a Reply'),
  'update alone': (
    working(lambda self, client, message: message),
    'work: returns a tuple, must return a Reply',
  ),
  'no training': (
    replying(trained=lambda *_: None),
    'work: trained is None, must be what client.train gives',
  ),
  'no metrics': (
    replying(trained=lambda _, reply: reply.trained._replace(sums={})),
    'work: trained.sums has no num',
  ),
  'text': (replying(update=lambda *_: ('a',)), 'work: update holds string, must be float tensors'),
  'integers': (
    replying(update=lambda *_: (tf.constant(1),)),
    'work: update holds int32, must be float tensors',
  ),
  'an object': (
    replying(update=lambda *_: (object(),)),
    'work: update holds a object, must be tensors',
  ),
  'wrong shape': (
    replying(update=_transposed),
    'step: direction is float32 [3, 4], float32 [3], must be float32 [4, 3], float32 [3], as the',
  ),
  'a weight dropped': (
    replying(update=lambda _, reply: reply.update[:1]),
    'step: direction is float32 [4, 3], must be float32 [4, 3], float32 [3], as the weights are',
  ),
  'two weights of a client': (
    replying(weight=lambda *_: tf.ones(2)),
    'work: weight is float32 [2], must be one number',
  ),
  'a measure for each example': (
    replying(measures=lambda *_: {'norm': tf.ones(3)}),
    "work: measures['norm'] is float32 [3], must be one number",
  ),
  'measures without names': (
    replying(measures=lambda *_: (1.0,)),
    'work: measures is a tuple, must be numbers by name',
  ),
  'a state that nobody keeps': (
    replying(client_state=lambda *_: tf.constant(1.0)),
    'work: returns a client_state, float32 [], that would be lost, since initial_client_state',
  ),
  'another state than the first': (
    _with_state([2], client_state=lambda *_: tf.zeros(3)),
    'work: client_state is float32 [3], must be float32 [2], as initial_client_state gives it',
  ),
  'a state forgotten': (
    _with_state([2], client_state=lambda *_: ()),
    'work: client_state is no tensors, must be float32 [2], as initial_client_state gives it',
  ),
  'a variable': (working(_variable), 'work: makes a tf.Variable, of which nothing is kept'),
  'a variable in a loop': (working(_variable_in_a_loop), 'work: makes a tf.Variable, of which'),
  'weights alone': (
    finishing(lambda self, server, combined: server.weights),
    'finish: returns a tuple, must return a Server',
  ),
  'a model cut': (
    finishing(lambda self, server, combined: server._replace(weights=server.weights[:1])),
    'finish: weights is float32 [4, 3], must be float32 [4, 3], float32 [3], as before the round',
  ),
  'a state of the server that grows': (
    finishing(lambda self, server, combined: server._replace(own=combined.update)),
    'finish: own is float32 [4, 3], float32 [3], must be no tensors, as before the round',
  ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_names_class_and_hook(name):
  mistaken, message = MISTAKES[name]
  with pytest.raises(hooks.HookError) as error:
    harness.build(mistaken)
  assert str(error.value).startswith(f'Mistaken.{message}')
  assert '\n' not in str(error.value)


def test_a_variable_of_the_method_itself():
  with pytest.raises(hooks.HookError, match=r'^_OldVariable\.work: uses a tensor or tf\.Variable'):
    harness.build(_OldVariable())


def test_numbers_of_python_are_as_good_as_tensors():
  odd = replying(weight=lambda *_: 2, measures=lambda *_: {'one': 1.0})
  plain = harness.build(fed_avg.build(), client_weighting='uniform')
  cohort = harness.cohorts(rounds=1)
  harness.assert_same(harness.run(harness.build(odd), cohort), harness.run(plain, cohort))


def test_what_every_hook_is_given_is_what_it_may_return():
  class Same(method.Method):
    def work(self, client, message):
      trained = client.train(message)
      return method.Reply([w * 0 for w in message], client.state, trained)

    def finish(self, server, combined):
      return server

  process = harness.build(Same())
  before = process.model_weights(process.initialize())
  for after in harness.run(process, harness.cohorts(rounds=1)):
    for u, v in zip(before, after):
      np.testing.assert_array_equal(u, v)


@pytest.mark.parametrize(
  'combine, message',
  [
    (
      lambda self, updates, weights: updates[0][0],
      'the combined update is float32 [4, 3], must be',
    ),
    (
      lambda self, updates, weights: updates,
      'the combined update is float32 [None, 4, 3], float32',
    ),
    (lambda self, updates, weights: None, 'the combined update holds None, must be tensors'),
  ],
)
def test_a_rules_mistake_names_the_rule(combine, message):
  rule = type('Mistaken', (stacked.StackedRule,), {'combine': combine})()
  with pytest.raises(hooks.HookError) as error:
    harness.build(fed_avg.build(), aggregator=rule)
  assert str(error.value).startswith(f'Mistaken.combine: {message}')
