"""Some hundreds of random schedules; `tests.soak_secure_aggregation` plays as many as one likes."""

import hypothesis
from hypothesis import strategies as st

from tests.secure_aggregation import schedules


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(data=st.data())
def test_sums_are_exact_or_the_session_is_aborted(data):
  schedules.Schedule(data.draw).play()
