"""Seven ragged clients and the process that trains on them, for tests of aggregators."""

import collections
import functools

import numpy as np

from fl_research import client_data
from fl_research.algorithms.optimization import fed_avg
from tests.algorithms import harness
from tests.oracles import fed_avg as fed_avg_oracle
from tests.oracles import robust_aggregation as oracle
from tests.oracles import softmax_regression as problem

COUNT = 7


def cohorts(rounds=harness.ROUNDS, seed=7):
  """The D of all seven clients (9, 5, 14, 9, 5, 14 and 9 examples) for every round."""
  examples = [e for s in range(3) for e in problem.clients(s)][:COUNT]
  return [
    [
      client_data.client_data(
        e, batch_size=problem.BATCH, epochs=1, seed=seed, round_num=r, client=k
      )
      for k, e in enumerate(examples)
    ]
    for r in range(1, rounds + 1)
  ]


def build(aggregator, **parts):
  """FedAvg with that aggregator; the server has examples of its own, for those that ask."""
  parts = {'server_data': server_data(), **parts}
  return harness.build(fed_avg.build(), aggregator=aggregator, **parts)


def server_data():
  """The D of the server's own examples: another client's."""
  return client_data.client_data(
    problem.clients(3)[2], batch_size=problem.BATCH, epochs=1, seed=7, round_num=0, client=COUNT
  )


@functools.cache
def mean(client_weighting='num_examples'):
  """FedAvg with the mean, built once for all tests."""
  return build(None, client_weighting=client_weighting)


def expected(rule, rounds, attack=None, attackers=()):
  """What the oracle's rule makes of the rounds."""

  def update(weights, data):
    trained = fed_avg_oracle.local_sgd(weights, data, harness.RATE)
    return [new - old for new, old in zip(trained, weights)]

  return oracle.federated(
    harness.model().initial_weights[0], rounds, rule, update, attack, attackers
  )


def broken(data):
  """The same client with a NaN among its examples."""
  x = data['examples']['x'].copy()
  x[0, 0] = np.nan
  examples = collections.OrderedDict(x=x, y=data['examples']['y'])
  return collections.OrderedDict(data, examples=examples)
