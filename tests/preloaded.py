"""Imports what the programs that tests fork would import, so that they need not."""

from experiments import train  # noqa: F401
from fl_research.training import experiment  # noqa: F401
from tests import graphs, memory
from tests.experiments import dying_train  # noqa: F401

graphs.leave_as_traced()
memory.keep_what_is_imported()
