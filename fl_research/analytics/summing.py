"""Sums over the clients of a round, in the clear, secure, or noisy: one TFF value from many."""

import tensorflow_federated as tff


def sum_at_server(
  factory: tff.aggregators.UnweightedAggregationFactory, value: tff.Value
) -> tff.Value:
  """The sum of clients' values: `{T}@CLIENTS` becomes `T@SERVER`.

  Args:
    factory: how it is taken, see `fl_research.aggregation.sums`; nothing is kept for other rounds.
    value: what clients send.
  """
  process = factory.create(value.type_signature.member)
  return process.next(process.initialize(), value).result
