"""Domains of numbers that many settings share: the check, and its words for messages.

Hyperparameter(0.9, 'momentum', **domains.BELOW_1)
"""

import math
from typing import Any

Domain = dict[str, Any]
"""The arguments `valid` and `domain` of a setting or hyperparameter."""

POSITIVE: Domain = {'valid': lambda v: 0 < v < math.inf, 'domain': 'a number above 0'}
FROM_0: Domain = {'valid': lambda v: 0 <= v < math.inf, 'domain': 'a number from 0 on'}
# The same in the words that optimisers, attacks, partitions and some aggregators have for it.
AT_LEAST_0: Domain = {**FROM_0, 'domain': 'a number of at least 0'}
BELOW_1: Domain = {'valid': lambda v: 0 <= v < 1, 'domain': 'a number in [0, 1)'}
ABOVE_0_TO_1: Domain = {'valid': lambda v: 0 < v <= 1, 'domain': 'a number in (0, 1]'}
SHARE: Domain = {'valid': lambda v: 0 <= v <= 1, 'domain': 'a number in [0, 1]'}
COUNT: Domain = {'valid': lambda v: v >= 1, 'domain': 'an integer of at least 1'}
COUNT_OR_0: Domain = {'valid': lambda v: v >= 0, 'domain': 'an integer of at least 0'}
