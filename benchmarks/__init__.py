"""Speed against TFF's own processes and against a plain TensorFlow loop; see README.md."""

from fl_research import environment  # noqa: F401  before TensorFlow
