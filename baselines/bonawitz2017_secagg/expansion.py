"""What secure aggregation adds to a user's traffic.

Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal, Seth 2017, "Practical Secure
Aggregation for Privacy-Preserving Machine Learning", section 7.
"""

import math

_KEY_BITS = 256
_SHARE_BITS = 256


def expansion(users: int, dimensions: int, input_bits: int) -> float:
  """Bits a user sends and receives, in units of sending its inputs in the clear.

  Sums of n vectors of m numbers of b bits need b + log2 n bits per number. Beside such a vector,
  masked, a user's messages to and from the server hold two keys per user, and 5 n - 4 times a share
  of a secret, keys and shares being of 256 bits:

      (m (b + log2 n) + 2 n · 256 + (5 n - 4) · 256) / (m b)

  Args:
    users: n.
    dimensions: m.
    input_bits: b.
  """
  payload = dimensions * (input_bits + math.log2(users))
  overhead = 2 * users * _KEY_BITS + (5 * users - 4) * _SHARE_BITS
  return (payload + overhead) / (dimensions * input_bits)
