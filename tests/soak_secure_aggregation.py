"""Plays random schedules of secure aggregation, many more than the test suite does.

    python -m tests.soak_secure_aggregation --schedules=10000

A schedule is a session of a few clients in which some fall silent at each step, and messages come
again, torn or from another round (`tests/secure_aggregation/schedules.py`). The first whose sum is
not exact, or that ends otherwise than it should, is shown as short as it can be made.
"""

import argparse
import time

import hypothesis
from hypothesis import strategies as st

from tests.secure_aggregation import schedules


def play(number: int) -> None:
  """Plays so many schedules; raises what the first one that goes wrong raises."""

  @hypothesis.settings(max_examples=number, deadline=None, database=None)
  @hypothesis.given(data=st.data())
  def each(data):
    schedules.Schedule(data.draw).play()

  each()


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--schedules', type=int, default=10_000)
  arguments = parser.parse_args()
  start = time.monotonic()
  play(arguments.schedules)
  print(
    f'{arguments.schedules} schedules in {time.monotonic() - start:.0f} s: all as they should be'
  )


if __name__ == '__main__':
  main()
