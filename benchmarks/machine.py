"""What a figure was measured on: the machine, how busy it was, and the versions that matter."""

import importlib.metadata
import os
from typing import Any

from fl_research.training import provenance


def describe() -> dict[str, Any]:
  """The machine without its name, its load, and the versions of TensorFlow and TFF."""
  version = importlib.metadata.version
  return {
    **provenance.machine(),
    'load_before': round(os.getloadavg()[0], 2),
    'tensorflow': version('tensorflow'),
    'tensorflow_federated': version('tensorflow-federated'),
  }
