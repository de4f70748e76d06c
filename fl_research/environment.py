"""The variables of a process: those of TensorFlow, which only count before it is imported.

Importing this module sets these, as defaults that a variable of the user's own overrides:

- oneDNN's kernels on (`TF_ENABLE_ONEDNN_OPTS=1`): a convolutional round takes about half the time.
- TensorFlow's own start-up chatter off (`TF_CPP_MIN_LOG_LEVEL=3`): without a GPU it announces,
  as errors, that CUDA's libraries register twice.

`fl_research/__init__.py` imports it, so any `import fl_research...` before TensorFlow suffices.
"""

import os
import pathlib

DEFAULTS = {
  'TF_ENABLE_ONEDNN_OPTS': '1',
  'TF_CPP_MIN_LOG_LEVEL': '3',
}


def set_defaults() -> None:
  """Sets every variable of `DEFAULTS` that the environment does not define."""
  for name, value in DEFAULTS.items():
    os.environ.setdefault(name, value)


def python_path() -> str:
  """`PYTHONPATH` for other processes: they find this project, in whatever folder they begin."""
  root = pathlib.Path(__file__).resolve().parents[1]
  given = [path for path in os.environ.get('PYTHONPATH', '').split(os.pathsep) if path]
  return os.pathsep.join([str(root), *given])


set_defaults()
