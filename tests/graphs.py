"""Whether TensorFlow rewrites a graph before it first runs it.

Most of the suite's graphs run once or twice, and rewriting one takes as long as running it: tests,
and what they fork, leave graphs as they were traced. The demo, Ray's actors and whatever begins as
`python -m` have theirs rewritten, as users have.
"""

from collections.abc import Iterator
import contextlib

import tensorflow as tf

from tests import memory


def _rewrite(wanted: bool) -> None:
  given = tf.config.optimizer.get_experimental_options()
  tf.config.optimizer.set_experimental_options({**given, 'disable_meta_optimizer': not wanted})


def leave_as_traced() -> None:
  """Spares a sixth of the suite's time."""
  _rewrite(False)


@contextlib.contextmanager
def rewritten() -> Iterator[None]:
  """For tests of what begins with rewriting, or of processes whose graphs are rewritten."""
  memory.forget()
  _rewrite(True)
  try:
    yield
  finally:
    memory.forget()
    leave_as_traced()
