"""What the console names of the installed package run: `fl-train` is `experiments.train`, …."""

from collections.abc import Callable
import functools
import runpy
from typing import Any


def _program(name: str) -> Callable[[], Any]:
  """Runs a module as `python -m experiments.<name>` does."""
  module = f'experiments.{name}'
  return functools.partial(runpy.run_module, module, run_name='__main__', alter_sys=True)


analyze = _program('analyze')
compare = _program('compare')
diff = _program('diff')
doctor = _program('doctor')
evaluate = _program('evaluate')
export = _program('export')
federation = _program('federation')
import_data = _program('import_data')
predict = _program('predict')
report = _program('report')
site = _program('site')
sweep = _program('sweep')
train = _program('train')
