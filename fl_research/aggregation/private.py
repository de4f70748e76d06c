"""Aggregators whose result is all that may be learnt of the clients, such as a noisy mean."""

import tensorflow_federated as tff


class PrivateAggregator(tff.aggregators.UnweightedAggregationFactory):
  """An aggregator that bounds what every client contributes and hides it in noise.

  Its guarantee would be void if anything else of the clients reached the server's step. The
  process therefore refuses methods that send more than their update (their `auxiliary`), and tells
  the server's step the number of clients that were to be expected instead of the true one. It also
  steps when nobody took part: that nobody did is private too, and the noise is still there.

  Attributes:
    expected_participants: the fixed number of clients by which sums are divided; public.
  """

  expected_participants: float
