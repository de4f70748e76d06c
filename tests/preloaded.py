"""Imports, and nothing more, what the programs that tests fork would import."""

from experiments import train  # noqa: F401
from fl_research.training import experiment  # noqa: F401
from tests.experiments import dying_train  # noqa: F401
