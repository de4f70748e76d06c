"""What TensorFlow does with graphs beside running them.

Most of the suite's graphs run once or twice, and rewriting one takes as long as running it: tests,
and what they fork, leave graphs as they were traced. The demo, Ray's actors and whatever begins as
`python -m` have theirs rewritten, as users have.
"""

from collections.abc import Iterator
import contextlib

import tensorflow as tf
from tensorflow.python.util import tf_stack

from tests import memory


def _rewrite(wanted: bool) -> None:
  given = tf.config.optimizer.get_experimental_options()
  tf.config.optimizer.set_experimental_options({**given, 'disable_meta_optimizer': not wanted})


def leave_as_traced() -> None:
  """Spares a fifth of the suite's time: none is rewritten, and no operation knows who made it."""
  _rewrite(False)
  nobody = tf_stack.extract_stack()
  tf_stack.extract_stack = lambda stacklevel=1: nobody


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
