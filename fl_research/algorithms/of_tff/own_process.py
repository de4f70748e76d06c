"""A user's own `tff.learning.templates.LearningProcess`, trained as any method is.

`--algorithm=my_process.py:build` names a function, in a Python file, that is given the run's model
and optimisers,

    build(model, client_optimizer, server_optimizer) -> LearningProcess

model being a `tff.learning.models.FunctionalModel` and the others
`tff.learning.optimizers.Optimizer`. It may do with them, or leave out, what it likes; the process
it returns takes data sets of batches (x, y), as those of `tff.learning.algorithms` do, and trains
that model. So any `model_aggregator` of TFF's can be had, with distributed or tree-aggregated noise
too, any `model_distributor`, and any process put together of `tff.learning.templates`.
"""

import tensorflow_federated as tff

from fl_research import tff_private
from fl_research.aggregation import sums
from fl_research.models import own, own_model
from fl_research.registry import UsageError
from fl_research.round.from_learning_process import OfLearningProcess
from fl_research.round.parts import Parts


def build(name: str) -> OfLearningProcess:
  """The method that is the process of the function that `--algorithm` names.

  Raises:
    UsageError: there is no such file; one line.
  """
  in_memory = name.startswith(own.MEMORY)
  place = own.Place('', name) if in_memory else own.place(name, 'algorithm')
  flag = f'--algorithm={name}'
  tff_private.read_deep_messages()

  def process_of(parts: Parts) -> tff.learning.templates.LearningProcess:
    optimizers = (parts.client_optimizer, parts.server_optimizer)
    with sums.without_unused_assertions():
      made = own_model.call(flag, place, parts.model, *optimizers)
    if not isinstance(made, tff.learning.templates.LearningProcess):
      raise UsageError(
        f'{flag}: {place.function} returns {type(made).__name__}; accepted is a '
        'tff.learning.templates.LearningProcess'
      )
    return made

  return OfLearningProcess(process_of)
