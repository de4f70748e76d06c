"""Sums over clients, in the clear or such that the server learns nothing but the sum.

Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal, Seth 2017, "Practical Secure
Aggregation for Privacy-Preserving Machine Learning": the server learns Σ weight_k Δ_k and
Σ weight_k, and nothing of a single client. TFF expresses this by
`tff.federated_secure_sum_bitwidth`, of integers in a range that is known beforehand; the runtime
computes these sums in the clear, or has `fl_research.secure_aggregation` compute them, with the
same result. Either way they show the price of fixed range and integers
(`tff.aggregators.SecureSumFactory`): every entry of weight_k Δ_k is clipped to [-B, B] and
rounded to one of 2^32 levels, which moves the mean by at most n B 2^-32 / Σ weight_k. Weights are
rounded in the same way, from the range [0, 2^20 - 1] (as in `tff.learning.secure_aggregator`), in
which whole numbers stay what they are but for float32's own rounding. B → ∞ in exact arithmetic is
the sum in the clear.

An aggregator can be had this way when it is a sum over clients, of whatever each computes by
itself; one that looks at single updates (median, Krum) cannot: there are none to look at.

Differences from the paper:
1. Nobody falls silent in the middle of the protocol: a client that drops out does not begin it.
   Bytes are those of the masked numbers: n clients' sum of 32-bit integers needs a modulus of
   32 + ⌈log2 n⌉ bits, and so does every number sent. Keys and shares come on top; what a client
   sends and is sent in all is counted where the protocol is run.
2. What a simulation reports of single clients (training metrics, clients.csv) is not hidden.
"""

import contextlib
import dataclasses
import logging
import math

import tensorflow_federated as tff

from fl_research import tff_private

tff_private.trace_secure_sums_apart()

_LARGEST_WEIGHT = float(2**20 - 1)
_BITS = 32


class Sums:
  """Sums in the clear.

  Attributes:
    are_secure: whether the server sees nothing but the sum.
  """

  are_secure = False

  def mean(self) -> tff.aggregators.WeightedAggregationFactory:
    """The weighted mean of floats T, zero where all weights are zero.

    Its process: `next: (<S@SERVER, {T}@CLIENTS, {float32}@CLIENTS> -> <S, T, M>@SERVER)`.
    """
    return tff.aggregators.MeanFactory(no_nan_division=True)

  def count(self) -> tff.aggregators.UnweightedAggregationFactory:
    """The sum of integers T, 0 or 1: `next: (<S@SERVER, {T}@CLIENTS> -> <S, T, M>@SERVER)`."""
    return tff.aggregators.SumFactory()

  def unit_sum(self) -> tff.aggregators.UnweightedAggregationFactory:
    """The sum of floats T in [-1, 1]: `next: (<S@SERVER, {T}@CLIENTS> -> <S, T, M>@SERVER)`."""
    return tff.aggregators.SumFactory()

  def whole_sum(self, bound: int) -> tff.aggregators.UnweightedAggregationFactory:
    """The sum of integers T in [-bound, bound], bound < 2^31; the types are those of `count`."""
    del bound
    return tff.aggregators.SumFactory()

  def float_sum(self) -> tff.aggregators.UnweightedAggregationFactory:
    """The sum of floats T, where secure each cut to [-B, B]; the types are those of `unit_sum`."""
    return tff.aggregators.SumFactory()

  def num_bytes(self, numbers: int) -> int:
    """What so many float32 numbers of one client take on the wire."""
    return 4 * numbers


CLEAR = Sums()
"""Sums in the clear."""


@dataclasses.dataclass(frozen=True)
class SecureSums(Sums):
  """Sums that hide their terms from the server (see the module's docstring).

  Attributes:
    bound: B > 0.
    clients: n, the most clients that a sum may have.
  """

  bound: float
  clients: int

  are_secure = True

  def mean(self):
    return _Quiet(
      tff.aggregators.MeanFactory(
        value_sum_factory=tff.aggregators.SecureSumFactory(self.bound, -self.bound),
        weight_sum_factory=tff.aggregators.SecureSumFactory(_LARGEST_WEIGHT, 0.0),
        no_nan_division=True,
      )
    )

  def count(self):
    return _QuietSum(tff.aggregators.SecureSumFactory(1, 0))

  def unit_sum(self):
    return _QuietSum(tff.aggregators.SecureSumFactory(1.0, -1.0))

  def whole_sum(self, bound):
    return _QuietSum(tff.aggregators.SecureSumFactory(bound, -bound))

  def float_sum(self):
    return _QuietSum(tff.aggregators.SecureSumFactory(self.bound, -self.bound))

  def num_bytes(self, numbers):
    return math.ceil(numbers * (_BITS + math.ceil(math.log2(self.clients))) / 8)


class _Quiet(tff.aggregators.WeightedAggregationFactory):
  """A factory without what TensorFlow logs of assertions that nothing depends on.

  TFF's quantised sum makes one for every tensor, and each would be a dozen lines on the screen.
  """

  def __init__(self, factory: tff.aggregators.WeightedAggregationFactory):
    self._factory = factory

  def create(self, value_type, weight_type):
    with without_unused_assertions():
      return self._factory.create(value_type, weight_type)


class _QuietSum(tff.aggregators.UnweightedAggregationFactory):
  """The same of a factory of sums."""

  def __init__(self, factory: tff.aggregators.UnweightedAggregationFactory):
    self._factory = factory

  def create(self, value_type):
    with without_unused_assertions():
      return self._factory.create(value_type)


@contextlib.contextmanager
def without_unused_assertions():
  """Within this, TensorFlow logs nothing of those assertions."""
  logger = logging.getLogger('tensorflow')
  is_of_use = lambda record: 'Object was never used' not in record.getMessage()
  logger.addFilter(is_of_use)
  try:
    yield
  finally:
    logger.removeFilter(is_of_use)
